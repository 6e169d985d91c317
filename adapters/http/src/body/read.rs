//! Reading request bodies within bounds: of bytes as they arrive and again as they are decoded, of time, and of memory for all
//! bodies in work together.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as HttpBody;
use poem::Body;
use poem::http::HeaderMap;
use tokio::time::timeout;

use crate::body::budget::BodyBudget;
use crate::body::decompress::Coding;
use crate::body::request_body::{REQUEST_BYTES_MAX, ReadBody, too_large};
use crate::error::ApiError;

/// Longest time that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

impl BodyBudget {
    /// Reads and decodes a whole body.
    ///
    /// # Errors
    /// It is too large, too slow or broken off, has a coding that is unknown or not what it says, or there is no room
    /// for it now.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReadBody, ApiError> {
        self.read_coded(Coding::of(headers)?, body).await
    }

    /// Reads and decodes a whole body of this coding.
    ///
    /// # Errors
    /// It is too large, too slow, incomplete or not in its content coding, or the memory for bodies is used up.
    pub async fn read_coded(&self, coding: Coding, body: Body) -> Result<ReadBody, ApiError> {
        let read = timeout(BODY_TIMEOUT, self.collect(body.into())).await.unwrap_or(Err(ApiError::BodyTimeout))?;
        coding.decode(self, read)
    }

    async fn collect(&self, mut body: BoxBody<Bytes, io::Error>) -> Result<ReadBody, ApiError> {
        if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let promised = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
        let mut lease = self.lease();
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::broken_off())?;
            let Ok(data) = frame.into_data() else { continue };
            if lease.bytes + data.len() > REQUEST_BYTES_MAX {
                return Err(too_large());
            }
            lease.grow(data.len())?;
            // A body that came in one piece is not copied.
            if first.is_empty() && joined.is_empty() {
                first = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                // Once a quarter of the promised length is there, for all of it: doubling on would end up with twice as much,
                // and hold the body one and a half times on the way.
                let missing = promised.saturating_sub(joined.len());
                if joined.capacity() - joined.len() < data.len() && missing <= 3 * lease.bytes {
                    joined.reserve(missing);
                }
                joined.extend_from_slice(&data);
            }
        }
        let bytes = if joined.is_empty() { first } else { joined.freeze() };
        Ok(ReadBody { bytes, lease })
    }
}
