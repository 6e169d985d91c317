//! Reads the lines of a log.
//!
//! * At most [`LINE_BYTES_MAX`] bytes of a line are kept, however long it is.
//! * A cancelled read loses nothing: the next one continues where it ended.
//! * An input that looks like a compressed file or UTF-16, with a NUL in its first [`PROBE_BYTES`], is not read: its
//!   lines would be garbage. A UTF-8 byte order mark is not part of a line.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Maximum length of a line that is kept.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read at once; more than [`PROBE_BYTES`], so that a file is checked before its first line is kept.
const READ_BYTES: usize = 64 * 1024;
/// Bytes at the beginning of an input that must not contain NUL.
const PROBE_BYTES: u64 = 8 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines of one input.
pub struct Lines<R> {
    reader: BufReader<R>,
    /// The line so far.
    text: Vec<u8>,
    too_long: bool,
    number: u64,
    bytes: u64,
    /// Bytes of the lines before this one.
    bytes_before: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its text without the line end, or nothing if it was longer than [`LINE_BYTES_MAX`].
    pub text: Option<Vec<u8>>,
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes in the input, with the line end.
    pub bytes: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of `reader`.
    pub fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        Self { reader, text: Vec::new(), too_long: false, number: 0, bytes: 0, bytes_before: 0 }
    }

    /// The next line, or `None` at the end. The future may be dropped at any time.
    ///
    /// # Errors
    /// The input cannot be read further; it is not text if the kind is [`io::ErrorKind::InvalidData`].
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.reader.fill_buf().await?;
            let probe_left = PROBE_BYTES.saturating_sub(self.bytes_before + self.bytes);
            let probe_left = usize::try_from(probe_left).unwrap_or(usize::MAX);
            if available.iter().take(probe_left).any(|byte| *byte == 0) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is binary or UTF-16"));
            }
            let end_of_input = available.is_empty();
            let end_of_line = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..end_of_line.unwrap_or(available.len())).unwrap_or_default();
            self.too_long |= self.text.len() + part.len() > LINE_BYTES_MAX;
            if self.too_long {
                self.text = Vec::new();
            } else {
                self.text.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end_of_line.is_some());
            self.reader.consume(used);
            self.bytes += used as u64;
            if end_of_input && self.bytes == 0 {
                return Ok(None);
            }
            if end_of_input || end_of_line.is_some() {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn finish(&mut self) -> Line {
        self.number += 1;
        let mut text = std::mem::take(&mut self.text);
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        if self.number == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        self.bytes_before += self.bytes;
        let text = (!std::mem::take(&mut self.too_long)).then_some(text);
        Line { text, number: self.number, bytes: std::mem::take(&mut self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn read(input: &[u8]) -> Vec<(Option<usize>, u64)> {
        let (mut lines, mut read) = (Lines::new(input), Vec::new());
        while let Some(line) = lines.next().await.unwrap() {
            read.push((line.text.map(|text| text.len()), line.bytes));
        }
        read
    }

    #[tokio::test]
    async fn lines_end_with_either_line_end_or_the_input() {
        assert_eq!(read(b"").await, []);
        assert_eq!(read(b"a\r\n\nbcd").await, [(Some(1), 3), (Some(0), 1), (Some(3), 3)]);
        assert_eq!(read(b"a\n").await, [(Some(1), 2)]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        let input = [&longest[..], b"\n", &longest, b"y\n", b"ok"].concat();
        let length = LINE_BYTES_MAX as u64;
        assert_eq!(read(&input).await, [(Some(LINE_BYTES_MAX), length + 1), (None, length + 2), (Some(2), 2)]);
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_not_part_of_a_line() {
        assert_eq!(read(b"\xEF\xBB\xBFa\n\xEF\xBB\xBFb").await, [(Some(1), 5), (Some(4), 4)]);
    }

    #[tokio::test]
    async fn an_input_with_a_nul_in_its_beginning_is_not_text() {
        for beginning in ["", "a\n", &"x\n".repeat(4095), &"x".repeat(8191)] {
            let input = [beginning.as_bytes(), b"\0"].concat();
            let error = Lines::new(&input[..]).next().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{}", beginning.len());
        }
        let later = ["x\n".repeat(4096).as_bytes(), b"\0\n"].concat();
        assert_eq!(read(&later).await.len(), 4097);
    }

    #[tokio::test]
    async fn a_late_nul_in_a_pipe_is_detected_too() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = Lines::new(reader);
        writer.write_all(b"a\n").await.unwrap();
        assert!(lines.next().await.unwrap().is_some());
        writer.write_all(b"b\0").await.unwrap();
        assert!(lines.next().await.is_err());
    }

    #[tokio::test]
    async fn a_cancelled_read_loses_nothing() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = Lines::new(reader);
        writer.write_all(b"half ").await.unwrap();
        tokio::select! {
            biased;
            line = lines.next() => panic!("{line:?}"),
            () = std::future::ready(()) => {}
        }
        writer.write_all(b"a line\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().text.as_deref(), Some(&b"half a line"[..]));
    }
}
