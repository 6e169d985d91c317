//! Decompresses an input while it is read.
//!
//! * Memory is bounded by the window of the format, 128 MiB at most (zstd), and by [`CHUNK_BYTES`].
//! * Concatenated members and frames are one input. What is decompressed before damage is passed on first.

use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::bufread::MultiGzDecoder;
use tokio::io::{AsyncRead, ReadBuf};

/// Compressed bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Largest window of a zstd frame, as a power of two: the limit of the program `zstd` without further options.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The decompressed bytes of a compressed input.
pub struct Decompressed<R> {
    compressed: R,
    decoder: Decoder,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Chunk>>),
    Zstd(zstd::Decoder<'static, Chunk>),
}

impl<R> Decompressed<R> {
    /// Decompresses gzip.
    #[must_use]
    pub fn gzip(compressed: R) -> Self {
        Self { compressed, decoder: Decoder::Gzip(Box::new(MultiGzDecoder::new(Chunk::default()))) }
    }

    /// Decompresses zstd.
    ///
    /// # Errors
    /// There is no memory for the decoder.
    pub fn zstd(compressed: R) -> io::Result<Self> {
        let mut decoder = zstd::Decoder::with_buffer(Chunk::default())?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(Self { compressed, decoder: Decoder::Zstd(decoder) })
    }
}

impl Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    fn chunk(&mut self) -> &mut Chunk {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Decompressed<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match this.decoder.read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(this.decoder.chunk().poll_fill(Pin::new(&mut this.compressed), context))?;
                }
                Err(error) => {
                    let reason = format!("its {} data is damaged or cut off ({error})", this.decoder.name());
                    return Poll::Ready(Err(io::Error::new(error.kind(), reason)));
                }
            }
        }
    }
}

/// A chunk of the compressed input. A read of a used-up chunk fails with [`io::ErrorKind::WouldBlock`], which the
/// decoders pass on without losing their state.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Bytes that the decoder has used.
    used: usize,
    /// Whether the input has ended.
    ended: bool,
}

impl Chunk {
    /// Replaces a used-up chunk by the next one.
    fn poll_fill(
        &mut self,
        compressed: Pin<&mut (impl AsyncRead + ?Sized)>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.bytes.resize(CHUNK_BYTES, 0);
        self.used = CHUNK_BYTES;
        let mut buffer = ReadBuf::new(&mut self.bytes);
        ready!(compressed.poll_read(context, &mut buffer))?;
        let length = buffer.filled().len();
        self.bytes.truncate(length);
        (self.used, self.ended) = (0, length == 0);
        Poll::Ready(Ok(()))
    }
}

impl BufRead for Chunk {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.bytes.get(self.used..).unwrap_or_default();
        if left.is_empty() && !self.ended { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(left) }
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for Chunk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Each coding with a function that compresses.
    type Encode = fn(&[u8]) -> Vec<u8>;

    const CODINGS: [(&str, Encode); 2] = [("gzip", gzipped), ("zstd", zstandard)];

    fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstandard(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 1).unwrap()
    }

    /// Everything that is decompressed from pieces of this length, and whether the end was reached.
    async fn decompress(coding: &str, compressed: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut writer, reader) = tokio::io::duplex(piece);
        let mut decompressed = match coding {
            "gzip" => Decompressed::gzip(reader),
            _ => Decompressed::zstd(reader).unwrap(),
        };
        let mut text = Vec::new();
        let read = async {
            let complete = decompressed.read_to_end(&mut text).await.is_ok();
            drop(decompressed);
            complete
        };
        let write = async move {
            // The reader is gone after an error.
            let _ = writer.write_all(compressed).await;
        };
        let (complete, ()) = tokio::join!(read, write);
        (text, complete)
    }

    #[tokio::test]
    async fn members_and_frames_are_joined_whatever_the_pieces() {
        let long = "2024-01-15 10:30:00 INFO a line\n".repeat(20_000);
        for (coding, compress) in CODINGS {
            let compressed = [compress(b"one\n"), compress(b""), compress(long.as_bytes())].concat();
            for piece in [1, 7, 4_096, 1 << 20] {
                let (text, complete) = decompress(coding, &compressed, piece).await;
                assert!(complete && text == ["one\n", &long].concat().as_bytes(), "{coding} in pieces of {piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_precedes_damage_is_passed_on() {
        for (coding, compress) in CODINGS {
            let (first, second) = (compress(b"one\n"), compress(b"two\n"));
            let cut = [&first[..], &second[..second.len() - 5]].concat();
            let followed = [&first[..], b"no compressed data"].concat();
            for damaged in [cut, followed] {
                let (text, complete) = decompress(coding, &damaged, 64).await;
                assert!(!complete && text.starts_with(b"one\n"), "{coding}: {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn damage_of_any_kind_ends(coding in 0usize..2, position in 0usize..200, byte in any::<u8>()) {
            let text = "a line that is not like another one: 0123456789\n".repeat(20);
            let (coding, compress) = CODINGS[coding];
            let mut compressed = compress(text.as_bytes());
            let index = position % compressed.len();
            compressed[index] = byte;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, _) = runtime.block_on(decompress(coding, &compressed, 16));
        }
    }
}
