//! What an input contains, by its first bytes.
//!
//! * Text is the rule: whatever has no signature of another kind is read as lines, also with NUL and with bytes that
//!   are not UTF-8, unless most of it is not text.
//! * Only the first [`HEAD_BYTES_MAX`] bytes decide, and of a pipe only those that come at once. Nothing that follows
//!   later ends a pipe.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Maximum bytes that are read to recognise the content.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Minimum bytes from which it is said that most of them are not text.
const SAMPLE_BYTES_MIN: usize = 512;
/// Where the signature of a tar archive is (POSIX, `ustar`), behind the name and the attributes of the first file.
const TAR_OFFSET: usize = 257;
const TAR_SIGNATURE: &[u8] = b"ustar";

/// How an input can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Lines.
    Text,
    /// Lines, compressed with gzip (RFC 1952).
    Gzip,
    /// Lines, compressed with zstd (RFC 8878).
    Zstd,
    /// Something else.
    Foreign(&'static Foreign),
    /// Most of it is not UTF-8 text.
    Binary,
}

/// Content whose lines would be garbage.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is.
    pub name: &'static str,
    /// The command that prints its lines, if there is one; the name of the file follows.
    pub converter: Option<&'static str>,
}

const UTF_16: Content = Content::Foreign(&Foreign { name: "UTF-16 text", converter: Some("iconv -f UTF-16 -t UTF-8") });

const TAR: Content = Content::Foreign(&Foreign { name: "a tar archive", converter: Some("tar xOf") });

/// The signatures of contents other than plain text. None is the beginning of another.
const SIGNATURES: &[(&[u8], Content)] = &[
    (b"\x1F\x8B\x08", Content::Gzip),
    (b"\x28\xB5\x2F\xFD", Content::Zstd),
    // A skippable frame, with which parallel compressors begin.
    (b"\x50\x2A\x4D\x18", Content::Zstd),
    (b"\xFF\xFE", UTF_16),
    (b"\xFE\xFF", UTF_16),
    (b"\xFD7zXZ\0", Content::Foreign(&Foreign { name: "compressed with xz", converter: Some("xzcat") })),
    (b"BZh91AY&SY", Content::Foreign(&Foreign { name: "compressed with bzip2", converter: Some("bzcat") })),
    (b"\x04\x22\x4D\x18", Content::Foreign(&Foreign { name: "compressed with lz4", converter: Some("lz4cat") })),
    (b"\x1F\x9D", Content::Foreign(&Foreign { name: "compressed with compress", converter: Some("zcat") })),
    (b"PK\x03\x04", Content::Foreign(&Foreign { name: "a ZIP archive", converter: Some("unzip -p") })),
    (
        b"LPKSHHRH",
        Content::Foreign(&Foreign { name: "a journal of systemd", converter: Some("journalctl -o json --file") }),
    ),
    (b"\x7FELF", Content::Foreign(&Foreign { name: "a program", converter: None })),
    (b"SQLite format 3\0", Content::Foreign(&Foreign { name: "a database of SQLite", converter: None })),
];

/// The beginning of an input.
#[derive(Debug)]
pub struct Head {
    /// The content of the input.
    pub content: Content,
    /// The bytes that were read.
    pub bytes: Vec<u8>,
    /// What ended the reading behind them, if anything did.
    pub failure: Option<io::Error>,
}

/// Reads the beginning of an input until its content is certain. Of a pipe, which is not a file, nothing is awaited
/// that is not necessary for a signature.
///
/// # Errors
/// Not even one byte can be read.
pub async fn recognize(input: &mut (impl AsyncRead + Unpin), is_file: bool) -> io::Result<Head> {
    let mut bytes = Vec::new();
    loop {
        if let Some((_, content)) = SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)) {
            return Ok(Head { content: *content, bytes, failure: None });
        }
        let is_open = is_file || SIGNATURES.iter().any(|(signature, _)| signature.starts_with(&bytes));
        let missing = HEAD_BYTES_MAX.saturating_sub(bytes.len());
        let read = if is_open && missing > 0 { read_some(input, missing, &mut bytes).await } else { Ok(0) };
        let failure = match read {
            Ok(0) => None,
            Ok(_) => continue,
            Err(error) if bytes.is_empty() => return Err(error),
            Err(error) => Some(error),
        };
        return Ok(Head { content: without_signature(&bytes), bytes, failure });
    }
}

/// Appends up to `bytes_max` bytes that come at once.
async fn read_some(input: &mut (impl AsyncRead + Unpin), bytes_max: usize, head: &mut Vec<u8>) -> io::Result<usize> {
    head.reserve(bytes_max);
    input.take(bytes_max as u64).read_buf(head).await
}

/// The content of an input that does not begin with a signature.
fn without_signature(head: &[u8]) -> Content {
    if head.get(TAR_OFFSET..).is_some_and(|rest| rest.starts_with(TAR_SIGNATURE)) {
        TAR
    } else if is_binary(head) {
        Content::Binary
    } else {
        Content::Text
    }
}

/// Whether most bytes, without NULs, are not text: bytes that are not UTF-8, and control characters that no terminal
/// needs. Western text in Latin-1 is mostly ASCII, and messages of the FIX protocol have one control character in ten
/// bytes; neither is meant. Random bytes are hardly more than half not text, but have both kinds.
fn is_binary(head: &[u8]) -> bool {
    let (mut bytes, mut foreign_bytes, mut control_bytes) = (0, 0, 0);
    for chunk in head.utf8_chunks() {
        let nuls = chunk.valid().bytes().filter(|byte| *byte == 0).count();
        let controls = chunk.valid().bytes().filter(|byte| is_foreign_control(*byte)).count();
        bytes += chunk.valid().len() + chunk.invalid().len() - nuls;
        foreign_bytes += controls + chunk.invalid().len();
        control_bytes += controls;
    }
    let is_foreign = foreign_bytes * 2 > bytes || (foreign_bytes * 4 > bytes && control_bytes * 20 > bytes);
    bytes >= SAMPLE_BYTES_MIN && is_foreign
}

fn is_foreign_control(byte: u8) -> bool {
    byte != 0 && byte.is_ascii_control() && !b"\t\n\r\x0B\x0C\x08\x07\x1B".contains(&byte)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn content(mut input: &[u8]) -> (Content, usize) {
        let head = recognize(&mut input, true).await.unwrap();
        assert!(head.failure.is_none());
        (head.content, head.bytes.len() + input.len())
    }

    fn latin_1(text: &str) -> Vec<u8> {
        text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
    }

    /// Bytes as random as those of a compressed file.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[tokio::test]
    async fn most_of_the_beginning_decides_about_content_without_a_signature() {
        let tar = [&b"logs/app.log"[..], &[0; 245], b"ustar\x0000", &[0; 248], b"INFO one\n"].concat();
        assert_eq!(content(&tar).await, (TAR, tar.len()));
        let random = noise(2 * HEAD_BYTES_MAX);
        assert_eq!(content(&random).await, (Content::Binary, random.len()));
        assert_eq!(content(&random[..2 * SAMPLE_BYTES_MIN]).await.0, Content::Binary);
        let german =
            latin_1("2024-01-15 10:30:00 WARN Gr\u{f6}\u{df}e \u{fc}berschritten: \u{fc}\u{df}\u{e4}\n").repeat(50);
        let coloured = "\x1b[31mERROR\x1b[0m \u{43e}\u{448}\u{438}\u{431}\u{43a}\u{430}\n".repeat(50).into_bytes();
        let behind_a_hole = [&[0; 60_000][..], b"INFO one\n"].concat();
        let late = [&b"INFO one\n".repeat(HEAD_BYTES_MAX / 9 + 1)[..], &random].concat();
        let fix = "8=FIX.4.4\u{1}9=65\u{1}35=A\u{1}49=A\u{1}56=B\u{1}\n".repeat(50).into_bytes();
        for text in [german, coloured, fix, behind_a_hole, late, noise(SAMPLE_BYTES_MIN / 2)] {
            assert_eq!(content(&text).await, (Content::Text, text.len()), "{:?}", &text[..20]);
        }
    }

    #[tokio::test]
    async fn of_a_pipe_only_what_comes_at_once_decides() {
        let (mut writer, mut reader) = tokio::io::duplex(HEAD_BYTES_MAX);
        writer.write_all(b"INFO one\n").await.unwrap();
        let head = recognize(&mut reader, false).await.unwrap();
        assert_eq!((head.content, &head.bytes[..]), (Content::Text, &b"INFO one\n"[..]));
    }

    #[tokio::test]
    async fn what_precedes_a_failure_is_kept() {
        /// An input that cannot be read.
        struct Failing;

        impl AsyncRead for Failing {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _context: &mut std::task::Context<'_>,
                _buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }

        let head = recognize(&mut (&b"INFO one\n"[..]).chain(Failing), true).await.unwrap();
        assert_eq!((head.content, &head.bytes[..], head.failure.is_some()), (Content::Text, &b"INFO one\n"[..], true));
        assert_eq!(recognize(&mut Failing, true).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn signatures_decide_and_no_byte_is_lost() {
        for (signature, expected) in SIGNATURES {
            let whole = [*signature, b" and the rest of the input"].concat();
            assert_eq!(content(&whole).await, (*expected, whole.len()), "{signature:?}");
            let part = &signature[..signature.len() - 1];
            assert_eq!(content(part).await, (Content::Text, part.len()), "{part:?}");
            let other = [part, b"\n, which is text"].concat();
            assert_eq!(content(&other).await, (Content::Text, other.len()), "{other:?}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_text() {
        for text in
            [&b""[..], b"\0\0\0\0ERROR x\n", b"2024-01-15 x\n", b"\xEF\xBB\xBFx\n", b"\x80\x81\n", b"BZh\n", b"PK\n"]
        {
            assert_eq!(content(text).await, (Content::Text, text.len()), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_signature_may_arrive_byte_by_byte() {
        let (mut writer, mut reader) = tokio::io::duplex(1);
        let write = async { writer.write_all(b"\x28\xB5\x2F\xFD").await.unwrap() };
        let (recognized, ()) = tokio::join!(recognize(&mut reader, false), write);
        assert_eq!(recognized.unwrap().content, Content::Zstd);
    }
}
