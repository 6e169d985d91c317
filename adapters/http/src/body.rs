//! Reading request bodies within bounds.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::time::timeout;

use crate::problem::Failure;

/// Most bytes of a request body.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest time that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a refused body that are read, so that its client gets to see why.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest time for that.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Room for all request bodies in work, reserved as their bytes arrive.
#[derive(Clone)]
pub struct BodyBudget {
    room: Arc<Room>,
}

struct Room {
    used: AtomicUsize,
    bytes_max: usize,
}

/// A body in memory; gives its room back when it is dropped.
pub struct ReadBody {
    /// All of it.
    pub bytes: Bytes,
    _lease: Lease,
}

struct Lease {
    room: Arc<Room>,
    bytes: usize,
}

impl BodyBudget {
    /// Room for `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { room: Arc::new(Room { used: AtomicUsize::new(0), bytes_max }) }
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// It is too large, too slow or broken off, is encoded, or there is no room for it now.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReadBody, Failure> {
        if let Some(coding) = headers.get(header::CONTENT_ENCODING)
            && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(Failure::UnsupportedMediaType {
                detail: "this content coding is not supported: send the body as it is".to_owned(),
            });
        }
        timeout(BODY_TIMEOUT, self.collect(body.into())).await.unwrap_or(Err(Failure::BodyTimeout))
    }

    async fn collect(&self, mut body: BoxBody<Bytes, io::Error>) -> Result<ReadBody, Failure> {
        let too_large = || Failure::TooLarge {
            detail: format!("a body has at most {REQUEST_BYTES_MAX} bytes; nothing was accepted"),
        };
        if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let mut lease = Lease { room: Arc::clone(&self.room), bytes: 0 };
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::Undecodable { detail: "the body broke off".to_owned() })?;
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
                joined.extend_from_slice(&data);
            }
        }
        let bytes = if joined.is_empty() { first } else { joined.freeze() };
        Ok(ReadBody { bytes, _lease: lease })
    }
}

impl Lease {
    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let grown = self.room.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.room.bytes_max)
        });
        grown.map_err(|_| Failure::NoCapacity { code: "no_capacity" })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A body that stays at hand while somebody else reads it: so that it can be sent to another instance if nothing
/// of it was read, and so that the rest of it can be read after an answer that did not wait for it.
#[derive(Clone)]
pub struct KeptBody {
    body: Arc<Mutex<(BoxBody<Bytes, io::Error>, bool)>>,
}

impl KeptBody {
    /// Keeps a body.
    #[must_use]
    pub fn new(body: BoxBody<Bytes, io::Error>) -> Self {
        Self { body: Arc::new(Mutex::new((body, false))) }
    }

    /// Whether anything of it was read.
    #[must_use]
    pub fn was_touched(&self) -> bool {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl KeptBody {
    /// Reads on without keeping anything, for as long as that is cheap: a client that is still sending when the
    /// connection closes may never see its answer.
    pub async fn discard(mut self) {
        let read_on = async {
            let mut discarded = 0;
            while discarded < DISCARD_BYTES_MAX
                && let Some(Ok(frame)) = self.frame().await
            {
                discarded += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        let _ = timeout(DISCARD_TIMEOUT, read_on).await;
    }
}

impl HttpBody for KeptBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut kept = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1 = true;
        Pin::new(&mut kept.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(budget: &BodyBudget, body: Vec<u8>) -> Result<ReadBody, Failure> {
        budget.read(&HeaderMap::new(), body.into()).await
    }

    #[tokio::test]
    async fn room_is_held_while_a_body_is_in_work_and_given_back_after() {
        let budget = BodyBudget::new(100);
        let held = read(&budget, vec![b'x'; 60]).await.expect("room for it");
        assert!(matches!(read(&budget, vec![b'x'; 41]).await, Err(Failure::NoCapacity { .. })));
        assert_eq!(read(&budget, vec![b'x'; 40]).await.expect("room for it").bytes.len(), 40);
        drop(held);
        assert!(read(&budget, vec![b'x'; 100]).await.is_ok());
        assert_eq!(budget.room.used.load(Ordering::Acquire), 0);
    }

    /// A body that does not say how long it is.
    struct Pieces(Vec<usize>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop().map(|len| Ok(Frame::data(Bytes::from(vec![b'x'; len])))))
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_say_its_length_is_counted_as_it_comes() {
        let budget = BodyBudget::new(usize::MAX);
        let read = |pieces| async { budget.read(&HeaderMap::new(), BoxBody::new(Pieces(pieces)).into()).await };
        assert_eq!(read(vec![1, REQUEST_BYTES_MAX - 2, 1]).await.expect("at the limit").bytes.len(), REQUEST_BYTES_MAX);
        assert!(matches!(read(vec![1, REQUEST_BYTES_MAX - 1, 1]).await, Err(Failure::TooLarge { .. })));
        assert_eq!(budget.room.used.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_and_so_is_a_coding() {
        let budget = BodyBudget::new(usize::MAX);
        assert!(read(&budget, vec![b'x'; REQUEST_BYTES_MAX]).await.is_ok());
        assert!(matches!(read(&budget, vec![b'x'; REQUEST_BYTES_MAX + 1]).await, Err(Failure::TooLarge { .. })));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a header"));
        assert!(matches!(budget.read(&headers, Body::empty()).await, Err(Failure::UnsupportedMediaType { .. })));
    }
}
