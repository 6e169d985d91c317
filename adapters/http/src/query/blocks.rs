//! Bodies that a task sends block by block.
//!
//! Constraints and invariants:
//! * A block is handed over no sooner than the connection has taken the one before: a slow client holds up nobody and fills
//!   no memory.
//! * A body whose sender panics breaks off: its client sees that it is not whole.
//! * A body is never silent for longer than [`SILENCE_MAX`]. A client may close its side and wait, so only a write finds out
//!   that it is gone; the work for it ends then.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest silence of a body.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A body, and its sender, which breaks a silence with `filler`.
pub fn blocks(filler: &'static str) -> (BlockSender, Blocks) {
    let (sender, blocks) = mpsc::channel(1);
    let panicked = Arc::new(AtomicBool::new(false));
    (BlockSender { sender, filler, panicked: Arc::clone(&panicked) }, Blocks { blocks, panicked })
}

/// Sends the blocks of a body.
pub struct BlockSender {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// What says nothing in the format of the body.
    filler: &'static str,
    panicked: Arc<AtomicBool>,
}

impl Drop for BlockSender {
    /// Before the channel closes, which would otherwise be the end of a whole body.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.store(true, Ordering::Release);
        }
    }
}

impl BlockSender {
    /// Waits for what comes next, and breaks the silence meanwhile. `None`: the client is gone.
    pub async fn wait_for<T>(&self, next: impl Future<Output = T>) -> Option<T> {
        let mut next = pin!(next);
        loop {
            let waited = tokio::select! {
                () = self.sender.closed() => return None,
                waited = timeout(SILENCE_MAX, next.as_mut()) => waited,
            };
            match waited {
                Ok(outcome) => return Some(outcome),
                Err(_) => self.send(Ok(Bytes::from_static(self.filler.as_bytes()))).await?,
            }
        }
    }

    /// Sends a block, or the error that breaks the body off. `None`: the client is gone.
    pub async fn send(&self, block: io::Result<Bytes>) -> Option<()> {
        self.sender.send(block).await.ok()
    }
}

/// The body.
pub struct Blocks {
    blocks: mpsc::Receiver<io::Result<Bytes>>,
    /// The sender has panicked, and the error for that was not returned yet.
    panicked: Arc<AtomicBool>,
}

impl HttpBody for Blocks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let block = ready!(self.blocks.poll_recv(context));
        let broken =
            || self.panicked.swap(false, Ordering::AcqRel).then(|| Err(io::Error::other("its task has panicked")));
        Poll::Ready(block.map(|block| block.map(Frame::data)).or_else(broken))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_broken_until_the_client_is_gone() {
        let (sender, mut body) = blocks("\n");
        let waiting = tokio::spawn(async move { sender.wait_for(std::future::pending::<()>()).await });
        for _ in 0..3 {
            let frame = timeout(SILENCE_MAX * 2, body.frame()).await.expect("it is not silent").expect("a frame");
            assert_eq!(frame.expect("no error").into_data().ok(), Some(Bytes::from_static(b"\n")));
        }
        drop(body);
        let ended = timeout(SILENCE_MAX, waiting).await.expect("it ends").expect("no panic");
        assert_eq!(ended, None);
    }

    #[tokio::test]
    async fn a_body_whose_sender_panics_is_not_whole() {
        for panics in [false, true] {
            let (sender, mut body) = blocks("\n");
            let sending = tokio::spawn(async move {
                sender.send(Ok(Bytes::from_static(b"a"))).await.expect("a reader");
                assert!(!panics, "of the test");
            });
            assert!(body.frame().await.expect("a block").is_ok());
            assert_eq!(body.frame().await.is_some_and(|end| end.is_err()), panics);
            assert!(body.frame().await.is_none());
            assert_eq!(sending.await.is_err(), panics);
        }
    }
}
