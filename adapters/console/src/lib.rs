//! The files of the console: what a browser loads to show it.
//!
//! Constraints and invariants:
//! * The files in `dist/` are part of the program. They are built from `web/` and committed, so that building the program needs
//!   neither Node nor a network.
//! * The runbooks (`docs/runbooks`) are files of it too, below `runbooks/`: an alert leads to its runbook also where nothing but
//!   Spillway can be reached.
//! * The table is made at build time from whatever is in these folders; nothing is read at run time.
//! * How they are served is not decided here: the gateway does that, with the headers that they need.

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below `dist/`, or `runbooks/` and its name; with `/` between folders.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// A hash of its content, in hexadecimal digits.
    pub tag: &'static str,
    /// Its content.
    pub content: &'static [u8],
}

/// All files, ordered by path.
pub static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_table_with_its_content() {
        let mut found = BTreeSet::new();
        for (place, prefix) in [("dist", ""), ("../../docs/runbooks", "runbooks/")] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
            let mut directories = vec![root.clone()];
            while let Some(directory) = directories.pop() {
                for entry in std::fs::read_dir(directory).expect("a directory") {
                    let path = entry.expect("an entry").path();
                    if path.is_dir() {
                        directories.push(path);
                        continue;
                    }
                    let below = path.strip_prefix(&root).expect("below").to_str().expect("text").replace('\\', "/");
                    let below = format!("{prefix}{below}");
                    let file = FILES.iter().find(|file| file.path == below).expect("it is in the table");
                    assert!(file.content == std::fs::read(&path).expect("a file"), "{below} has another content");
                    found.insert(below);
                }
            }
        }
        let listed: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(listed, found);
        assert!(listed.contains("index.html") && listed.contains("runbooks/breaker_open.md"));
    }

    #[test]
    fn files_that_differ_have_different_tags() {
        let tags: BTreeSet<&str> = FILES.iter().map(|file| file.tag).collect();
        let contents: BTreeSet<&[u8]> = FILES.iter().map(|file| file.content).collect();
        assert_eq!(tags.len(), contents.len());
        for file in FILES {
            assert!(file.tag.len() == 16 && file.tag.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", file.path);
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_has_no_script_or_style_of_its_own() {
        let page = FILES.iter().find(|file| file.path == "index.html").expect("the page");
        let text = std::str::from_utf8(page.content).expect("text");
        assert_eq!(page.media_type, "text/html; charset=utf-8");
        for forbidden in ["http://", "https://", "<style", " style=", " onclick=", " onload=", "javascript:"] {
            assert!(!text.contains(forbidden), "{forbidden} is refused by the policy of the page");
        }
        for script in text.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap_or_default();
            assert!(tag.contains(" src="), "<script{tag}> is refused by the policy of the page");
        }
    }
}
