//! Reads the lines of a log.
//!
//! * At most [`LINE_BYTES_MAX`] bytes of a line are kept, however long it is; the rest is counted.
//! * A cancelled read loses nothing: the next one continues where it ended. After a failure, what was read of a line is
//!   passed on first.
//! * NULs at the beginning of a line are skipped, and at least [`HOLE_BYTES_MIN`] of them end a line: they are a hole
//!   in the file, as `copytruncate` of logrotate and power cuts leave them. Other NULs are text.
//! * A UTF-8 byte order mark is not part of a line. Any other bytes are: nothing in an input ends the reading.
//! * The last line of a file that is being written may not be complete yet: the rest of it is awaited.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::{Instant, sleep_until};

/// Maximum length of a line that is kept.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Minimum number of NULs in a row that are a hole and not text.
const HOLE_BYTES_MIN: usize = 16;
/// How often a file is read again while the end of its last line is awaited.
const GROWTH_CHECK: Duration = Duration::from_millis(50);
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines of one input.
pub struct Lines<R> {
    reader: BufReader<R>,
    /// How long the end of the last line is awaited, if the input may grow.
    growth_wait: Option<Duration>,
    /// Until when it is awaited.
    growth_until: Option<Instant>,
    partial: Partial,
    /// Number of the line that is being read.
    number: u64,
    /// Where it begins.
    begin: u64,
    /// Bytes read so far.
    position: u64,
    /// What ends the input after the line that precedes it.
    failure: Option<io::Error>,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its text without the line end.
    pub text: Vec<u8>,
    /// Its number, from 1.
    pub number: u64,
    /// Where it begins in the input, in bytes.
    pub offset: u64,
    /// How many bytes were cut from its end.
    pub cut_bytes: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of `reader`. If the input may grow, the end of its last line is awaited for `growth_wait`.
    pub fn new(reader: R, growth_wait: Option<Duration>) -> Self {
        Self {
            reader: BufReader::with_capacity(READ_BYTES, reader),
            growth_wait,
            growth_until: None,
            partial: Partial::default(),
            number: 1,
            begin: 0,
            position: 0,
            failure: None,
        }
    }

    /// The next line, or `None` at the end. The future may be dropped at any time.
    ///
    /// # Errors
    /// The input cannot be read further.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        loop {
            let available = match self.reader.fill_buf().await {
                Ok(available) => available,
                Err(error) if self.partial.is_empty() => return Err(error),
                Err(error) => {
                    self.failure = Some(error);
                    return Ok(Some(self.finish()));
                }
            };
            if available.is_empty() {
                if self.partial.is_empty() {
                    return Ok(None);
                }
                if self.await_growth().await {
                    continue;
                }
                return Ok(Some(self.finish()));
            }
            self.growth_until = None;
            let taken = self.partial.take_line(available);
            if let Some(line) = self.taken(taken) {
                return Ok(Some(line));
            }
        }
    }

    /// The next line of what was read already; nothing more is read. The last one may be the beginning of a line.
    pub fn next_read(&mut self) -> Option<Line> {
        while !self.reader.buffer().is_empty() {
            let taken = self.partial.take_line(self.reader.buffer());
            if let Some(line) = self.taken(taken) {
                return Some(line);
            }
        }
        (!self.partial.is_empty()).then(|| self.finish())
    }

    /// Bytes were taken: the line, if they end it.
    fn taken(&mut self, taken: Taken) -> Option<Line> {
        self.reader.consume(taken.bytes);
        self.position += taken.bytes as u64;
        let end = taken.end?;
        let line = self.finish();
        self.number += u64::from(end == End::LineFeed);
        Some(line)
    }

    /// Waits until it is worthwhile to read again. Returns whether the end of the line is still awaited.
    async fn await_growth(&mut self) -> bool {
        let Some(wait) = self.growth_wait else { return false };
        let now = Instant::now();
        let until = *self.growth_until.get_or_insert(now + wait);
        if now < until {
            sleep_until(until.min(now + GROWTH_CHECK)).await;
        }
        now < until
    }

    fn finish(&mut self) -> Line {
        let Partial { mut text, cut_bytes, .. } = self.partial.finish();
        if text.last() == Some(&b'\r') && cut_bytes == 0 {
            text.pop();
        }
        if self.begin == 0 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        let offset = std::mem::replace(&mut self.begin, self.position);
        Line { text, number: self.number, offset, cut_bytes }
    }
}

/// The part of a line that was read.
#[derive(Default)]
struct Partial {
    text: Vec<u8>,
    /// NULs that were read behind the text.
    nuls: usize,
    cut_bytes: u64,
}

/// What was taken of the bytes that were read.
struct Taken {
    /// How many, with the line feed.
    bytes: usize,
    /// What ends the line, if anything does.
    end: Option<End>,
}

/// What ends a line.
#[derive(PartialEq, Eq)]
enum End {
    LineFeed,
    Hole,
}

impl Partial {
    /// Whether it has no text.
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes what belongs to the line from the bytes that were read.
    fn take_line(&mut self, available: &[u8]) -> Taken {
        let line_feed = available.iter().position(|byte| *byte == b'\n');
        let part = available.get(..line_feed.unwrap_or(available.len())).unwrap_or_default();
        let bytes = self.take(part);
        if bytes < part.len() {
            return Taken { bytes, end: Some(End::Hole) };
        }
        match line_feed {
            Some(_) => Taken { bytes: bytes + 1, end: Some(End::LineFeed) },
            None => Taken { bytes, end: None },
        }
    }

    /// Takes bytes of the line. Returns their number: there are more if a hole ends the line.
    fn take(&mut self, part: &[u8]) -> usize {
        if self.nuls == 0 && !part.contains(&0) {
            self.keep(part);
            return part.len();
        }
        let mut rest = part;
        while !rest.is_empty() {
            let nuls = rest.iter().take_while(|byte| **byte == 0).count();
            self.nuls += nuls;
            rest = rest.get(nuls..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            if self.nuls >= HOLE_BYTES_MIN && !self.is_empty() {
                return part.len() - rest.len();
            }
            self.keep_nuls();
            let (text, behind) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
            self.keep(text);
            rest = behind;
        }
        part.len()
    }

    /// The whole line. The next one is empty.
    fn finish(&mut self) -> Self {
        if self.nuls < HOLE_BYTES_MIN {
            self.keep_nuls();
        }
        std::mem::take(self)
    }

    /// NULs between other bytes are text, but not those at the beginning.
    fn keep_nuls(&mut self) {
        let nuls = std::mem::take(&mut self.nuls);
        if !self.is_empty() {
            self.keep(&vec![0; nuls]);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.text.len());
        let kept = part.get(..room).unwrap_or(part);
        self.text.extend_from_slice(kept);
        self.cut_bytes += (part.len() - kept.len()) as u64;
    }
}

#[cfg(test)]
mod tests;
