//! Messages in a stream of bytes (RFC 6587): each with its length in front of it, or with a line feed or a NUL behind
//! it. Senders mix up neither within a connection, but each message is looked at for itself.
//!
//! Invariants:
//! * At most [`FRAME_BYTES_MAX`] and one read are in memory. A longer frame comes in pieces.
//! * A frame with a length ends where that says, also if it comes in pieces: what it contains is not taken for other frames.

use std::ops::Range;

/// Longest frame: a message of an event, and a header.
pub const FRAME_BYTES_MAX: usize = 260 * 1024;
/// Memory that is kept though it is not used.
const SPARE_BYTES_MAX: usize = 16 * 1024;
/// Most digits of a length.
const LENGTH_DIGITS_MAX: usize = 7;

/// The bytes of a stream that are not taken yet.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// Up to where its end was looked for without success.
    searched: usize,
    /// Bytes of a frame with a length that are still to come behind the pieces of it that were taken.
    left: usize,
}

/// How the frame at the front ends.
enum Framing {
    /// Its bytes begin so far behind the front, and are so many.
    Counted { head: usize, length: usize },
    /// At a line feed or a NUL.
    Delimited,
    /// More bytes will tell.
    Unknown,
}

impl Frames {
    /// Adds bytes of the stream. Frames that were found before are gone then.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.searched -= self.at;
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the frames that were found, and returns the memory that a long one took.
    pub fn forget_found(&mut self) {
        self.push(&[]);
        if self.bytes.capacity() > SPARE_BYTES_MAX && self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    /// Bytes of a frame whose end has not come yet.
    pub fn incomplete_bytes(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The place of the next whole frame, which is not empty.
    pub fn next_frame(&mut self) -> Option<Range<usize>> {
        loop {
            let begin = self.at;
            let frame = match self.framing() {
                Framing::Unknown => return None,
                Framing::Counted { head, length } => {
                    let (from, end) = (begin + head, begin + head + length);
                    let to = end.min(begin + FRAME_BYTES_MAX);
                    if to > self.bytes.len() {
                        return None;
                    }
                    self.take_to(to, 0);
                    self.left = end - to;
                    from..to
                }
                Framing::Delimited => {
                    let rest = self.bytes.get(self.searched..).unwrap_or_default();
                    let found = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
                    match found.map(|found| self.searched + found).filter(|end| end - begin <= FRAME_BYTES_MAX) {
                        Some(end) => {
                            self.take_to(end, 1);
                            begin..end
                        }
                        None if self.bytes.len() - begin > FRAME_BYTES_MAX => {
                            self.take_to(begin + FRAME_BYTES_MAX, 0);
                            begin..begin + FRAME_BYTES_MAX
                        }
                        None => {
                            self.searched = self.bytes.len();
                            return None;
                        }
                    }
                }
            };
            if self.has_text(&frame) {
                return Some(frame);
            }
        }
    }

    /// What is there of the frame at the front, because no more of it may be held. The rest of it comes as further frames.
    pub fn cut(&mut self) -> Option<Range<usize>> {
        let end = self.bytes.len();
        let from = match self.framing() {
            // A few bytes, which will tell.
            Framing::Unknown => return None,
            Framing::Counted { head, length } => {
                let from = self.at + head;
                self.left = (from + length).saturating_sub(end);
                from
            }
            Framing::Delimited => self.at,
        };
        self.take_to(end, 0);
        (from < end).then_some(from..end)
    }

    /// The rest of the stream as a frame, without its length if it has one, because the stream has ended; `None` if it is empty.
    pub fn rest(&mut self) -> Option<Range<usize>> {
        let (head, end) = match self.framing() {
            Framing::Counted { head, .. } => (head, self.bytes.len()),
            Framing::Delimited | Framing::Unknown => (0, self.bytes.len()),
        };
        let frame = self.at + head..end;
        self.take_to(end, 0);
        self.has_text(&frame).then_some(frame)
    }

    /// Whether a frame is more than blanks and NULs.
    fn has_text(&self, frame: &Range<usize>) -> bool {
        self.bytes(frame.clone()).iter().any(|byte| !byte.is_ascii_whitespace() && *byte != 0)
    }

    /// The bytes of a frame that was found since the last [`Frames::push`].
    pub fn bytes(&self, frame: Range<usize>) -> &[u8] {
        self.bytes.get(frame).unwrap_or_default()
    }

    fn take_to(&mut self, end: usize, delimiter: usize) {
        self.at = end + delimiter;
        self.searched = self.at;
    }

    /// A length is digits and a space in front of a message, which begins with `<`.
    fn framing(&self) -> Framing {
        if self.left > 0 {
            return Framing::Counted { head: 0, length: self.left };
        }
        let front = self.bytes.get(self.at..).unwrap_or_default();
        let digits = front.iter().take(LENGTH_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let begins_with_zero = front.first() == Some(&b'0');
        if digits == 0 || digits > LENGTH_DIGITS_MAX || begins_with_zero {
            return if front.is_empty() { Framing::Unknown } else { Framing::Delimited };
        }
        match (front.get(digits), front.get(digits + 1)) {
            (None, _) | (Some(b' '), None) => Framing::Unknown,
            (Some(b' '), Some(b'<')) => {
                let number = front.iter().take(digits).fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
                Framing::Counted { head: digits + 1, length: number }
            }
            _ => Framing::Delimited,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The frames of a stream that comes in these pieces.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut frames, mut read) = (Frames::default(), Vec::new());
        let mut note = |frames: &Frames, frame| read.push(String::from_utf8_lossy(frames.bytes(frame)).into_owned());
        for piece in pieces {
            frames.push(piece);
            while let Some(frame) = frames.next_frame() {
                note(&frames, frame);
            }
        }
        if let Some(frame) = frames.rest() {
            note(&frames, frame);
        }
        read
    }

    #[test]
    fn lengths_line_feeds_and_nuls_end_frames() {
        for (stream, expected) in [
            ("5 <1>a\n7 <2>b\nc\n", vec!["<1>a\n", "<2>b\nc\n"]),
            ("<1>a\n<2>b\n\n<3>c", vec!["<1>a", "<2>b", "<3>c"]),
            ("<1>a\0<2>b\0", vec!["<1>a", "<2>b"]),
            ("<1>a\n\r", vec!["<1>a"]),
            ("<1>a\n  ", vec!["<1>a"]),
            ("3 blind mice\n12 <1>x", vec!["3 blind mice", "<1>x"]),
            ("20 <14>abc", vec!["<14>abc"]),
            ("20 ", vec!["20 "]),
            ("0 <1>a\n12345678 <1>b\n7", vec!["0 <1>a", "12345678 <1>b", "7"]),
        ] {
            assert_eq!(read([stream.as_bytes()]), expected, "{stream:?}");
            assert_eq!(read(stream.as_bytes().chunks(1)), expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_comes_in_pieces() {
        let long = "x".repeat(FRAME_BYTES_MAX + 10);
        let line = format!("{long}\n<1>a\n");
        let frames: Vec<_> = read(line.as_bytes().chunks(60_000)).iter().map(String::len).collect();
        assert_eq!(frames, [FRAME_BYTES_MAX, 10, 4]);
        let counted = format!("{} <1>{long}5 <2>bc", long.len() + 3);
        let frames = read(counted.as_bytes().chunks(60_000));
        assert_eq!(frames.iter().map(String::len).collect::<Vec<_>>(), [FRAME_BYTES_MAX - "266253 ".len(), 20, 5]);
        assert_eq!(frames.last().map(String::as_str), Some("<2>bc"));
    }

    #[test]
    fn a_frame_with_a_length_that_is_cut_ends_where_that_says() {
        let mut frames = Frames::default();
        frames.push(b"13 <1>a\nb");
        assert_eq!(frames.next_frame(), None);
        let piece = frames.cut().expect("a piece");
        assert_eq!(frames.bytes(piece), b"<1>a\nb");
        frames.push(b"c\n7 <2>4 <3>d");
        for expected in [&b"c\n7 <2>"[..], b"<3>d"] {
            let frame = frames.next_frame().expect("a frame");
            assert_eq!(frames.bytes(frame), expected);
        }
        frames.push(b"12");
        assert_eq!((frames.next_frame(), frames.cut()), (None, None), "it may be a length");
    }

    #[test]
    fn memory_of_a_long_frame_is_returned() {
        let mut frames = Frames::default();
        frames.push(format!("{}\n<1>b", "x".repeat(200_000)).as_bytes());
        assert!(frames.next_frame().is_some() && frames.next_frame().is_none());
        assert_eq!(frames.incomplete_bytes(), 4);
        frames.forget_found();
        assert!(frames.bytes.capacity() <= SPARE_BYTES_MAX, "{}", frames.bytes.capacity());
        frames.push(b"c\n");
        let frame = frames.next_frame().expect("a frame");
        assert_eq!((frames.bytes(frame), frames.incomplete_bytes()), (&b"<1>bc"[..], 0));
    }

    proptest! {
        #[test]
        fn frames_with_a_length_are_read_to_their_ends_wherever_they_are_cut(
            texts in prop::collection::vec("[0-9 <>a\n]{0,30}", 1..9),
            pieces in prop::collection::vec((1_usize..9, any::<bool>()), 1..200),
        ) {
            let messages: Vec<String> = texts.iter().map(|text| format!("<1>{text}")).collect();
            let stream: String = messages.iter().map(|message| format!("{} {message}", message.len())).collect();
            let (mut frames, mut read, mut rest) = (Frames::default(), String::new(), stream.as_bytes());
            for (bytes, is_cut) in pieces.into_iter().chain(std::iter::once((stream.len(), false))) {
                let (piece, behind) = rest.split_at(bytes.min(rest.len()));
                rest = behind;
                frames.push(piece);
                let mut found: Vec<_> = std::iter::from_fn(|| frames.next_frame()).collect();
                if is_cut {
                    found.extend(frames.cut());
                }
                found.into_iter().for_each(|frame| read.push_str(&String::from_utf8_lossy(frames.bytes(frame))));
            }
            let without_blanks = |text: &str| text.replace([' ', '\n'], "");
            prop_assert_eq!(without_blanks(&read), without_blanks(&messages.concat()));
            prop_assert_eq!(frames.incomplete_bytes(), 0);
        }

        #[test]
        fn frames_do_not_depend_on_the_pieces(stream in "([0-9 <>a\n\0]|12 <1>abcdefgh){0,40}", size in 1_usize..9) {
            let whole = read([stream.as_bytes()]);
            let pieces = read(stream.as_bytes().chunks(size));
            prop_assert_eq!(&pieces, &whole);
            let letters = |text: &str| text.matches('a').count();
            prop_assert_eq!(whole.iter().map(|frame| letters(frame)).sum::<usize>(), letters(&stream));
        }
    }
}
