//! Bodies that a task sends block by block.
//!
//! Constraints and invariants:
//! * A block is handed over no sooner than the connection has taken the one before: a slow client holds up nobody and fills
//!   no memory.
//! * A body is never silent for longer than [`SILENCE_MAX`]. A client may close its side and wait, so only a write finds out
//!   that it is gone; the work for it ends then.

use std::io;
use std::pin::{Pin, pin};
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
    (BlockSender { sender, filler }, Blocks(blocks))
}

/// Sends the blocks of a body.
pub struct BlockSender {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// What says nothing in the format of the body.
    filler: &'static str,
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
pub struct Blocks(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Blocks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(ready!(self.0.poll_recv(context)).map(|block| block.map(Frame::data)))
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
}
