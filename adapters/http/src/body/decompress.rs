//! Content codings of request bodies.

use std::io::{self, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use poem::http::{HeaderMap, header};

use crate::body::budget::BodyBudget;
use crate::body::request_body::{REQUEST_BYTES_MAX, ReadBody, too_large};
use crate::error::ApiError;

/// Bytes that are decoded at once.
const DECODE_BYTES: usize = 64 * 1024;
/// Largest window of a zstd frame, as a power of two: what RFC 9659 allows in HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The chunk that snappy's frames begin with.
const SNAPPY_FRAMES: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// How a body is encoded (RFC 9110, section 8.4.1, and RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// None.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 alone.
    Deflate,
    /// RFC 8878.
    Zstd,
    /// Snappy, as a block or in frames (github.com/google/snappy, `format_description.txt` and `framing_format.txt`).
    /// No coding of HTTP: for agents only.
    Snappy,
}

impl Coding {
    /// The one coding of a body. Several at once are refused: no client needs them, and they multiply what a few bytes can
    /// become.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(name) = codings.next() else { return Ok(Self::Identity) };
        let name = name.as_bytes().trim_ascii();
        let is = |coding: &str| name.eq_ignore_ascii_case(coding.as_bytes());
        let coding = if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else if is("zstd") {
            Some(Self::Zstd)
        } else {
            is("identity").then_some(Self::Identity)
        };
        coding.filter(|_| codings.next().is_none()).ok_or_else(|| ApiError::UnsupportedMediaType {
            detail: "Content-Encoding must be one of gzip, zstd and deflate, or absent".to_owned(),
        })
    }

    /// The coding of a body of an agent: any of [`Coding::of`], or snappy.
    ///
    /// # Errors
    /// The coding is another one, or there are several.
    pub fn of_agent(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let name = codings.next().map(|name| name.as_bytes().trim_ascii());
        let is = |coding: &str| name.is_some_and(|name| name.eq_ignore_ascii_case(coding.as_bytes()));
        let is_snappy = is("snappy") || is("x-snappy-framed");
        if is_snappy && codings.next().is_none() { Ok(Self::Snappy) } else { Self::of(headers) }
    }

    /// Decodes a body that was read.
    ///
    /// # Errors
    /// It is not what the coding says, is too large once it is decoded, or there is no room for it now.
    pub fn decode(self, budget: &BodyBudget, read: ReadBody) -> Result<ReadBody, ApiError> {
        match self {
            Self::Identity => Ok(read),
            Self::Gzip => decode(budget, &mut MultiGzDecoder::new(read.bytes.as_ref())),
            Self::Deflate if is_zlib(&read.bytes) => {
                let mut decoder = ZlibDecoder::new(read.bytes.as_ref());
                decode(budget, &mut decoder).and_then(|decoded| whole(decoded, decoder.get_ref()))
            }
            Self::Deflate => {
                let mut decoder = DeflateDecoder::new(read.bytes.as_ref());
                decode(budget, &mut decoder).and_then(|decoded| whole(decoded, decoder.get_ref()))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(read.bytes.as_ref()).map_err(|error| broken(&error))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| broken(&error))?;
                decode(budget, &mut decoder)
            }
            Self::Snappy if read.bytes.starts_with(SNAPPY_FRAMES) => {
                decode(budget, &mut snap::read::FrameDecoder::new(read.bytes.as_ref()))
            }
            Self::Snappy => decode_snappy_block(budget, &read.bytes),
        }
    }
}

/// Decodes a block, whose head says how long the result is.
fn decode_snappy_block(budget: &BodyBudget, block: &[u8]) -> Result<ReadBody, ApiError> {
    let not_snappy = |error: snap::Error| broken(&io::Error::other(error));
    let bytes = snap::raw::decompress_len(block).map_err(not_snappy)?;
    if bytes > REQUEST_BYTES_MAX {
        return Err(too_large());
    }
    let mut lease = budget.lease();
    lease.grow(bytes)?;
    let mut decoded = vec![0; bytes];
    let written = snap::raw::Decoder::new().decompress(block, &mut decoded).map_err(not_snappy)?;
    decoded.truncate(written);
    Ok(ReadBody { bytes: decoded.into(), lease })
}

/// Decodes within the limit of a body and the room for all. Without a pause, so that no more decoders, with the
/// windows that they hold, are at work than the machine has threads for requests.
fn decode(budget: &BodyBudget, decoder: &mut impl Read) -> Result<ReadBody, ApiError> {
    let mut lease = budget.lease();
    let mut decoded = Vec::new();
    loop {
        let before = decoded.len();
        lease.grow(DECODE_BYTES)?;
        decoder.by_ref().take(DECODE_BYTES as u64).read_to_end(&mut decoded).map_err(|error| broken(&error))?;
        if decoded.len() > REQUEST_BYTES_MAX {
            return Err(too_large());
        }
        if decoded.len() == before {
            return Ok(ReadBody { bytes: decoded.into(), lease });
        }
    }
}

/// Whether a body begins as RFC 1950 says. `deflate` means that format, and some clients send what is inside it.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

/// What was decoded, if it came of the whole body. The other codings go on with what follows; `deflate` is one stream, and
/// events behind it must not be passed over.
fn whole(decoded: ReadBody, rest: &[u8]) -> Result<ReadBody, ApiError> {
    if rest.is_empty() { Ok(decoded) } else { Err(broken(&io::Error::other("something follows its end"))) }
}

fn broken(error: &io::Error) -> ApiError {
    ApiError::Undecodable {
        detail: format!("the body is not what its Content-Encoding says, nothing was accepted: {error}"),
    }
}
