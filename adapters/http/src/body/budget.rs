//! The memory that bodies and answers take, in bytes, over all requests in work.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use poem::Body;

/// Largest answer that takes no room.
pub(super) const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Room for all request bodies in work, reserved as their bytes arrive.
#[derive(Clone)]
pub struct BodyBudget {
    pub(super) room: Arc<Room>,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) used: AtomicUsize,
    bytes_max: usize,
}

/// The bodies in work leave no room for so much more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Room that is taken. Dropping it frees the room.
#[derive(Debug)]
pub struct Lease {
    room: Arc<Room>,
    pub(super) bytes: usize,
}

impl BodyBudget {
    /// Room for `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { room: Arc::new(Room { used: AtomicUsize::new(0), bytes_max }) }
    }

    /// Bytes of all bodies in work.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.room.used.load(Ordering::Acquire)
    }

    /// Whether there is room for so much more now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used_bytes().saturating_add(bytes) <= self.room.bytes_max
    }

    /// A body to send, which takes room until it is sent.
    ///
    /// # Errors
    /// There is no room for it now.
    pub fn hold(&self, bytes: Bytes) -> Result<Body, NoRoom> {
        let mut lease = self.lease();
        lease.grow(bytes.len())?;
        Ok(lease.hold(bytes))
    }

    /// Room that nothing was taken of yet.
    pub(super) fn lease(&self) -> Lease {
        Lease { room: Arc::clone(&self.room), bytes: 0 }
    }
}

impl Lease {
    /// Takes as much room as `bytes` need, and frees what it has beyond that.
    ///
    /// # Errors
    /// The room that is left is smaller than this.
    pub fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more),
            None => {
                self.settle(bytes);
                Ok(())
            }
        }
    }

    /// An answer to send, which keeps its room until it is sent. It has to be given, so that it is counted even if there is
    /// no room for it: then other requests are refused. A small one is not counted.
    pub fn hold_answer(self, bytes: Vec<u8>) -> Body {
        if bytes.len() <= SMALL_ANSWER_BYTES_MAX { bytes.into() } else { self.hold(bytes.into()) }
    }

    fn hold(mut self, bytes: Bytes) -> Body {
        self.settle(bytes.len());
        Body::from(BoxBody::new(HeldBody { body: Full::new(bytes), _lease: self }))
    }

    /// Has so much room from now on, be it there or not.
    fn settle(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let used = &self.room.used;
        match bytes.checked_sub(before) {
            Some(more) => used.fetch_add(more, Ordering::AcqRel),
            None => used.fetch_sub(before - bytes, Ordering::AcqRel),
        };
    }

    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let grown = self.room.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.room.bytes_max)
        });
        grown.map_err(|_| NoRoom)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A body to send; frees its room when it is dropped, sent or not.
struct HeldBody {
    body: Full<Bytes>,
    _lease: Lease,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(|never| match never {})
    }

    /// Never said beforehand: hyper would drop the body, and with it the room, as soon as it has queued the bytes, and not
    /// once the client has taken them.
    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
