//! Writes the table of the files in `dist/` and of the runbooks, so that they become part of the program.
//!
//! Constraints: it needs neither Node nor a network, and the same files give the same table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A folder whose files are in the table.
struct Folder {
    /// Where it is, from the folder of this crate.
    place: &'static str,
    /// Where its files are in the table: empty, or a name and `/`.
    below: &'static str,
}

const FOLDERS: [&Folder; 2] =
    [&Folder { place: "dist", below: "" }, &Folder { place: "../../docs/runbooks", below: "runbooks/" }];

/// Media types by the extension of a file.
const MEDIA_TYPES: [(&str, &str); 12] = [
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("webmanifest", "application/manifest+json"),
    ("woff2", "font/woff2"),
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = String::from("&[\n");
    for folder in FOLDERS {
        let root = directory("CARGO_MANIFEST_DIR")?.join(folder.place);
        let mut files = Vec::new();
        collect(&root, &mut files)?;
        // Directories are listed in any order.
        files.sort();
        for file in &files {
            table.push_str(&entry(folder, &root, file)?);
        }
    }
    table.push_str("]\n");
    fs::write(directory("OUT_DIR")?.join("files.rs"), table)
}

fn directory(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("{variable} is not set")))
}

/// All files below a directory.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", directory.display());
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}

/// The line of a file in the table.
fn entry(folder: &Folder, root: &Path, file: &Path) -> io::Result<String> {
    let below = file.strip_prefix(root).map_err(io::Error::other)?;
    let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str().filter(|part| is_plain(part))).collect();
    let wrong = |what: &str| io::Error::other(format!("{}: {what}", file.display()));
    let path = parts.ok_or_else(|| wrong("a name has letters, digits, '-', '_' and '.' only"))?.join("/");
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let media_type = MEDIA_TYPES.iter().find(|(of, _)| *of == extension).map(|(_, media_type)| *media_type);
    let media_type = media_type.ok_or_else(|| wrong("this extension has no media type: add it to build.rs"))?;
    let tag = tag_of(&fs::read(file)?);
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        line,
        "    File {{ path: {:?}, media_type: {media_type:?}, tag: \"{tag:016x}\", \
         content: include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})) }},",
        format!("{}{path}", folder.below),
        format!("/{}/{path}", folder.place),
    );
    Ok(line)
}

/// Whether a name is the same in a file system, in a URL and in a string of Rust.
fn is_plain(name: &str) -> bool {
    name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

/// FNV-1a with 64 bits: the same on every machine, and without a dependency. It tells versions of a file apart; nobody but
/// who builds the program chooses the content.
fn tag_of(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
