//! A connection that gives up a client which does not take what it asked for, and that knows when the client has sent all.
//!
//! hyper bounds how long a request may take to come, but not how long an answer may take to go: a client that reads
//! nothing would hold its answer in memory, and its connection, without limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// Whether a client has closed its side of the connection. It may still read (RFC 9112, section 8), so its request is
/// answered; but an answer without an end ends then, because a client that is gone looks the same.
#[derive(Clone, Debug)]
pub struct ClientClosed(watch::Receiver<bool>);

impl ClientClosed {
    /// Waits until the client has closed its side.
    pub async fn wait(mut self) {
        if self.0.wait_for(|closed| *closed).await.is_err() {
            // The connection has ended, and its answers are dropped with it.
            std::future::pending::<()>().await;
        }
    }
}

/// Ends with an error when writing makes no progress within a time.
pub struct WriteTimeoutStream<S> {
    stream: S,
    timeout: Duration,
    /// When the time is up; only looked at while writing waits.
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
    closed: watch::Sender<bool>,
}

impl<S> WriteTimeoutStream<S> {
    /// Gives up writing after `timeout` without progress.
    pub fn new(stream: S, timeout: Duration) -> Self {
        let deadline = Box::pin(sleep_until(Instant::now()));
        Self { stream, timeout, deadline, waiting: false, closed: watch::Sender::new(false) }
    }

    /// Tells when the client closes its side.
    pub fn client_closed(&self) -> ClientClosed {
        ClientClosed(self.closed.subscribe())
    }

    /// Passes on what a write came to, unless it has waited too long.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !self.waiting {
            self.waiting = true;
            self.deadline.as_mut().reset(Instant::now() + self.timeout);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && room > 0 && buffer.filled().len() == before {
            self.closed.send_replace(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (server, mut client) = duplex(10);
        let mut server = WriteTimeoutStream::new(server, TIMEOUT);
        let began = Instant::now();
        let writing = async {
            server.write_all(&[1; 100]).await.expect("the client reads");
            server.write_all(&[2; 11]).await
        };
        let reading = async {
            let mut pace = tokio::time::interval(TIMEOUT - Duration::from_secs(1));
            let mut bytes = [0; 10];
            for _ in 0..10 {
                pace.tick().await;
                client.read_exact(&mut bytes).await.expect("the server writes");
            }
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            written = writing => written.expect_err("nobody reads"),
            () = reading => unreachable!(),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), 9 * (TIMEOUT - Duration::from_secs(1)) + TIMEOUT);
    }
}
