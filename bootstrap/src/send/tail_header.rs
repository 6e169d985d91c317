//! The headers that `tail` writes between the lines of several files: `==> /var/log/app.log <==`.
//!
//! The first header is the first line of a pipe, or follows an empty line. Behind it, a header is one wherever it is:
//! `tail` begins a new line for it, and a file may end without one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Finds headers among the lines of a pipe.
#[derive(Debug)]
pub struct TailHeaders {
    /// Whether the next line may be a header.
    is_expected: bool,
    /// Whether there was one.
    is_known: bool,
}

impl TailHeaders {
    /// No line was read.
    #[must_use]
    pub fn new() -> Self {
        Self { is_expected: true, is_known: false }
    }

    /// The path of the file whose lines follow, if this line is a header.
    pub fn file<'a>(&mut self, line: &'a [u8]) -> Option<&'a Path> {
        let may_be = std::mem::replace(&mut self.is_expected, line.is_empty());
        let name = line.strip_prefix(b"==> ").and_then(|rest| rest.strip_suffix(b" <=="));
        let name = name.filter(|name| !name.is_empty() && (may_be || self.is_known))?;
        self.is_known = true;
        Some(Path::new(OsStr::from_bytes(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_at_the_begin_or_behind_an_empty_line_and_then_anywhere() {
        let headers = |lines: &[&'static str]| {
            let mut headers = TailHeaders::new();
            lines.iter().filter_map(|line| headers.file(line.as_bytes())?.to_str()).collect::<Vec<_>>()
        };
        assert_eq!(
            headers(&["==> a b.log <==", "x", "", "==> /b <==", "half", "==> a b.log <=="]),
            ["a b.log", "/b", "a b.log"]
        );
        assert_eq!(headers(&["x", "==> a <==", "", "==> b <=="]), ["b"]);
        assert_eq!(headers(&["==>  <==", "", "==> a", "", "==> <==", "", " ==> a <=="]), [" "; 0]);
    }
}
