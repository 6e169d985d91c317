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

/// How a body is encoded (RFC 9110, section 8.4.1, and RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
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
        }
    }
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
