//! A request body that can be sent again as long as nothing of it was read.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, timeout};

/// Most bytes of a refused body that are read, so that its client gets to see why.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest time for that.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A body that stays at hand while another task reads it: so that it can be sent to another instance if nothing
/// of it was read, and so that the rest of it can be read after an answer that did not wait for it.
#[derive(Clone)]
pub struct ReplayableBody {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    body: BoxBody<Bytes, io::Error>,
    touched: bool,
    broken: bool,
    last_read: Option<Instant>,
}

impl ReplayableBody {
    /// Keeps a body.
    #[must_use]
    pub fn new(body: BoxBody<Bytes, io::Error>) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { body, touched: false, broken: false, last_read: None })) }
    }

    /// Whether anything of it was read.
    #[must_use]
    pub fn was_touched(&self) -> bool {
        self.inner().touched
    }

    /// Whether it broke off: the fault of its sender.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.inner().broken
    }

    /// When the last of what has come of it so far was read.
    #[must_use]
    pub fn last_read(&self) -> Option<Instant> {
        self.inner().last_read
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

impl HttpBody for ReplayableBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut inner = self.inner();
        inner.touched = true;
        let frame = Pin::new(&mut inner.body).poll_frame(context);
        inner.broken |= matches!(frame, Poll::Ready(Some(Err(_))));
        if frame.is_ready() {
            inner.last_read = Some(Instant::now());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().body.size_hint()
    }
}
