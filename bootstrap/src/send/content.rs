//! What an input contains, by its first bytes.
//!
//! * Text is the rule: whatever has no signature of another kind is read as lines, also with NUL and with bytes that
//!   are not UTF-8.
//! * Only the first [`HEAD_BYTES_MAX`] bytes decide. Nothing that follows later ends a pipe.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Maximum bytes that are read to recognise the content: the longest signature.
const HEAD_BYTES_MAX: usize = 16;

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

/// Reads the beginning of an input until its content is certain. Returns the content and the bytes that were read.
///
/// # Errors
/// The input cannot be read.
pub async fn recognize(input: &mut (impl AsyncRead + Unpin)) -> io::Result<(Content, Vec<u8>)> {
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    loop {
        if let Some((_, content)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
            return Ok((*content, head));
        }
        let is_open = SIGNATURES.iter().any(|(signature, _)| signature.starts_with(&head));
        let missing = HEAD_BYTES_MAX.saturating_sub(head.len());
        if !is_open || missing == 0 || (&mut *input).take(missing as u64).read_buf(&mut head).await? == 0 {
            return Ok((Content::Text, head));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn content(mut input: &[u8]) -> (Content, usize) {
        let (content, head) = recognize(&mut input).await.unwrap();
        (content, head.len() + input.len())
    }

    #[tokio::test]
    async fn signatures_decide_and_no_byte_is_lost() {
        for (signature, expected) in SIGNATURES {
            assert!(signature.len() <= HEAD_BYTES_MAX);
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
        let (recognized, ()) = tokio::join!(recognize(&mut reader), write);
        assert_eq!(recognized.unwrap().0, Content::Zstd);
    }
}
