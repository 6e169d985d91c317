//! The lines of a stack trace.
//!
//! Invariant: at most [`HEAD_BYTES_MAX`] bytes of the beginning and [`TAIL_BYTES_MAX`] bytes of the end are held, and a
//! note stands between them if lines are missing: the cause of a failure stands at the end.

use std::collections::VecDeque;

use domain::event::TEXT_BYTES_MAX;

use crate::limits::CUT_NOTE;

/// Most bytes of the beginning.
const HEAD_BYTES_MAX: usize = TEXT_BYTES_MAX / 2 - 64;
/// Most bytes of the end, with a byte for each line.
const TAIL_BYTES_MAX: usize = TEXT_BYTES_MAX / 2 - 64;

/// A stack trace that grows line by line.
#[derive(Debug, Default)]
pub struct Trace {
    head: String,
    /// The last lines, if the beginning is full.
    tail: VecDeque<String>,
    tail_bytes: usize,
    /// Whether lines between the two are missing.
    is_cut: bool,
}

impl Trace {
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.tail_bytes
    }

    /// The beginning.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Whether lines are missing.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Puts a line before all others.
    pub fn push_front(&mut self, line: &str) {
        if self.is_empty() {
            self.push(line);
        } else {
            let head = std::mem::take(&mut self.head);
            self.push_to_head(line);
            self.head.push('\n');
            self.head.push_str(&head);
        }
    }

    /// Adds a line.
    pub fn push(&mut self, line: &str) {
        if self.tail.is_empty() && !self.is_cut && self.head.len() + line.len() < HEAD_BYTES_MAX {
            if !self.head.is_empty() {
                self.head.push('\n');
            }
            self.head.push_str(line);
            return;
        }
        if self.is_empty() {
            self.push_to_head(line);
            return;
        }
        let kept = line.get(..line.floor_char_boundary(TAIL_BYTES_MAX / 2)).unwrap_or_default();
        self.is_cut |= kept.len() < line.len();
        self.tail_bytes += kept.len() + 1;
        self.tail.push_back(kept.to_owned());
        while self.tail_bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.len() + 1;
            self.is_cut = true;
        }
    }

    /// Adds the beginning of a line to the head.
    fn push_to_head(&mut self, line: &str) {
        let kept = line.get(..line.floor_char_boundary(HEAD_BYTES_MAX)).unwrap_or_default();
        self.is_cut |= kept.len() < line.len();
        self.head.push_str(kept);
    }

    /// All lines that are held, and a note where lines are missing.
    pub fn into_text(self) -> String {
        let mut text = self.head;
        if self.is_cut {
            text.push('\n');
            text.push_str(CUT_NOTE);
        }
        for line in self.tail {
            text.push('\n');
            text.push_str(&line);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut trace = Trace::default();
        trace.push("a.B: x");
        trace.push_front("heading");
        for number in 0..40_000 {
            trace.push(&format!("\tat a.B.c(B.java:{number})"));
            assert!(trace.bytes() <= TEXT_BYTES_MAX);
        }
        assert!(trace.is_cut() && !trace.is_empty() && trace.head().starts_with("heading\na.B: x\n"));
        trace.push("Caused by: y");
        let text = trace.into_text();
        assert!(text.len() <= TEXT_BYTES_MAX && text.len() > TEXT_BYTES_MAX - 512, "{}", text.len());
        assert!(text.contains(&format!("\n{CUT_NOTE}\n")) && text.ends_with("\nCaused by: y"));
    }

    #[test]
    fn long_lines_are_cut() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        let mut trace = Trace::default();
        for _ in 0..3 {
            trace.push(&long);
        }
        assert!(trace.is_cut() && trace.into_text().len() <= TEXT_BYTES_MAX);
        let mut trace = Trace::default();
        trace.push("one");
        trace.push("two");
        assert_eq!((trace.is_cut(), trace.into_text().as_str()), (false, "one\ntwo"));
    }
}
