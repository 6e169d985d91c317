//! No two files of a crate import each other, directly or through others: a reader can start at one end.
//!
//! Only `use` items of this crate count. A parent that re-exports its own children does not import them.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The path of a module, such as `["ingest", "accept"]`.
type Module = Vec<String>;

/// The modules of a crate with their source, without their tests.
fn modules(source: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut directories = vec![source.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let below = path.strip_prefix(source).expect("below").with_extension("");
            let mut module: Module =
                below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            let last = module.last().cloned().unwrap_or_default();
            if last.ends_with("tests") || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            if matches!(last.as_str(), "mod" | "lib" | "main") {
                module.pop();
            }
            let text = std::fs::read_to_string(&path).expect("text");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            modules.insert(module, code);
        }
    }
    modules
}

/// The paths of a tree of imports, such as `crate::a::{b, c::d}`.
fn paths(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut items) = (0, vec![String::new()]);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        items.last_mut().expect("there is one").push(letter);
    }
    let items = items.into_iter().filter(|item| !item.is_empty());
    items.flat_map(|item| paths(&format!("{before}{item}"))).collect()
}

/// The modules that a module imports.
fn imports(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut imports = BTreeSet::new();
    for item in code.split(';') {
        let Some(start) = item.rfind("use ") else { continue };
        let (before, tree) = item.split_at(start);
        let visibility = before.lines().last().unwrap_or_default().trim();
        if !visibility.is_empty() && !visibility.starts_with("pub") {
            continue;
        }
        let tree: String = tree["use ".len()..].split_whitespace().collect();
        for path in paths(&tree) {
            let mut segments: Vec<String> = path.split("::").map(str::to_owned).collect();
            let mut target: Module = match segments.first().map(String::as_str) {
                Some("crate") => Vec::new(),
                Some("self") => module.clone(),
                Some("super") => module[..module.len().saturating_sub(1)].to_vec(),
                _ => continue,
            };
            segments.remove(0);
            while segments.first().is_some_and(|segment| segment == "super") {
                target.pop();
                segments.remove(0);
            }
            target.extend(segments);
            while !modules.contains_key(&target) && target.pop().is_some() {}
            let own_child = visibility.starts_with("pub") && target.starts_with(module);
            if target != *module && modules.contains_key(&target) && !own_child {
                imports.insert(target);
            }
        }
    }
    imports
}

/// A way from `from` back to `to`, if there is one.
fn way_back<'m>(
    graph: &'m BTreeMap<Module, BTreeSet<Module>>,
    from: &'m Module,
    to: &Module,
    seen: &mut BTreeSet<&'m Module>,
) -> Option<Vec<&'m Module>> {
    if from == to {
        return Some(vec![from]);
    }
    if !seen.insert(from) {
        return None;
    }
    graph[from].iter().find_map(|next| {
        let mut way = way_back(graph, next, to, seen)?;
        way.push(from);
        Some(way)
    })
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let adapters = std::fs::read_dir(root.join("adapters")).expect("adapters").map(|entry| entry.expect("one").path());
    let crates = ["domain", "application", "bootstrap"].map(|name| root.join(name)).into_iter().chain(adapters);
    let mut edges = 0;
    for path in crates {
        let modules = modules(&path.join("src"));
        let graph: BTreeMap<Module, BTreeSet<Module>> =
            modules.iter().map(|(module, code)| (module.clone(), imports(module, code, &modules))).collect();
        for (module, imported) in &graph {
            for first in imported {
                edges += 1;
                let circle = way_back(&graph, first, module, &mut BTreeSet::new());
                assert!(circle.is_none(), "{}: {circle:?}", path.display());
            }
        }
    }
    assert!(edges > 100, "imports are found: {edges}");
}

#[test]
fn trees_of_imports_are_taken_apart() {
    assert_eq!(paths("crate::a::{b,c::{d,e},f}"), ["crate::a::b", "crate::a::c::d", "crate::a::c::e", "crate::a::f"]);
}
