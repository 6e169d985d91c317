//! Compressed bodies, read within limits.
//!
//! The input: a byte that selects the coding, the room, and whether the rest is the body or content to be compressed
//! here; a byte for the sizes of the pieces in which the body arrives; then the rest, the content with repetitions as in
//! [`expanded`]. Invariants:
//! * A body never exceeds the body limit or the available room, and all room is returned.
//! * A valid body is decoded exactly, unless it is too large.
//! * A truncated body, or one with trailing bytes, is never accepted as complete.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use adapter_http::BodyBudget;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http_body_util::combinators::BoxBody;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_ENCODING, HeaderValue};

use crate::input::{Script, expanded};

/// The contract's limit of a body, before and after decompression.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum content that is compressed here: more than the small room, so that most inputs are fast.
const CONTENT_BYTES_MAX: usize = 1_500_000;
const SMALL_ROOM_BYTES: usize = 1_000_000;
const LARGE_ROOM_BYTES: usize = 40_000_000;
/// Bytes that decoding may reserve beyond the decoded ones.
const SLACK_BYTES: usize = 200_000;

const CODINGS: [&str; 8] = ["gzip", "deflate", "zstd", "deflate", "identity", "x-gzip", "br", ""];
/// The second `deflate` of them: without zlib's header and checksum, as some clients send it.
const BARE_DEFLATE: usize = 3;

/// The target.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.byte();
    let coding = usize::from(flags % 8);
    let room = if flags & 8 == 0 { SMALL_ROOM_BYTES } else { LARGE_ROOM_BYTES };
    let pieces = script.byte();
    if flags & 16 == 0 {
        let body = script.rest();
        let whole = read(coding, room, 0, body);
        assert!(read(coding, room, pieces, body) == whole, "a body differs when it arrives in pieces");
        return;
    }
    let damage = script.byte();
    let extent = usize::from(script.byte());
    let content = expanded(script.rest(), CONTENT_BYTES_MAX);
    let body = compressed(coding, &content);
    match damage % 3 {
        0 => {
            let whole = read(coding, room, pieces, &body);
            if coding < 6 && body.len() + content.len() + SLACK_BYTES <= room {
                assert!(whole.is_some(), "a body that fits is read");
            }
            if let Some(read) = whole {
                assert!(read == *content, "a body is decoded exactly");
            }
        }
        1 => {
            let cut = &body[..body.len().saturating_sub(1 + extent)];
            let read = read(coding, room, pieces, cut);
            // An empty body is the empty text, and plain text cannot be truncated.
            assert!(
                read.is_none_or(|read| read.is_empty() && cut.is_empty() || coding == 4),
                "a truncated body is accepted"
            );
        }
        _ => {
            let suffix = &content[content.len().saturating_sub(1 + extent)..];
            let longer = [&body, suffix].concat();
            let read = read(coding, room, pieces, &longer);
            assert!(
                suffix.is_empty() || read.is_none_or(|read| read.len() > content.len()),
                "trailing bytes are ignored"
            );
        }
    }
}

/// Reads a body; `None` if it was refused.
fn read(coding: usize, room: usize, pieces: u8, body: &[u8]) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(CODINGS[coding]));
    let budget = BodyBudget::new(room);
    let in_pieces = Pieces { rest: Bytes::copy_from_slice(body), bytes: usize::from(pieces) * usize::from(pieces) };
    let reading = budget.read(&headers, BoxBody::new(in_pieces).into());
    let kept = block_on(reading).ok().map(|read| {
        assert!(read.bytes.len() <= BODY_BYTES_MAX, "a body is larger than it may be");
        assert!(read.bytes.len() <= budget.used_bytes(), "a body exceeds the room that it reserved");
        assert!(budget.used_bytes() <= room, "bodies exceed the available room");
        read.bytes.clone()
    });
    assert_eq!(budget.used_bytes(), 0, "room is not returned");
    kept
}

fn compressed(coding: usize, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let level = Compression::fast();
    match (CODINGS[coding], coding) {
        ("gzip" | "x-gzip", _) => GzEncoder::new(content, level).read_to_end(&mut bytes).map(drop),
        (_, BARE_DEFLATE) => DeflateEncoder::new(content, level).read_to_end(&mut bytes).map(drop),
        ("deflate", _) => ZlibEncoder::new(content, level).read_to_end(&mut bytes).map(drop),
        ("zstd", _) => zstd::stream::copy_encode(content, &mut bytes, 1),
        _ => return content.to_vec(),
    }
    .expect("compressing in memory does not fail");
    bytes
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A body that arrives in pieces of this size, or at once, without a Content-Length.
struct Pieces {
    rest: Bytes,
    bytes: usize,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = if self.bytes == 0 { self.rest.len() } else { self.bytes.min(self.rest.len()) };
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(bytes)))))
    }
}
