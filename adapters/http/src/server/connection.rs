//! A connection that gives up a client which does not take what it asked for, or does not begin.
//!
//! hyper bounds how long a request of HTTP/1 may take to come, but not how long an answer may take to go: a client that reads
//! nothing would hold its answer in memory, and its connection, without limit. Of HTTP/2 it does not bound how long the first
//! bytes may take: a client that sends none would hold its connection without limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Ends with an error when writing makes no progress for a while, or when the first bytes take too long.
pub struct TimeoutStream<S> {
    stream: S,
    timeout: Duration,
    /// `None` once the client has begun.
    opening: Option<Opening>,
    /// When the time is up; only looked at while writing waits.
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

/// The first bytes of a client, which have not all arrived.
struct Opening {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> TimeoutStream<S> {
    /// Gives up writing after `timeout` without progress.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, opening: None, deadline: Box::pin(sleep_until(Instant::now())), waiting: false }
    }

    /// The same for a client that must send this many bytes within `timeout` from now.
    pub fn opening_with(self, bytes: usize, timeout: Duration) -> Self {
        let deadline = Box::pin(sleep_until(Instant::now() + timeout));
        Self { opening: Some(Opening { missing: bytes, deadline }), ..self }
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

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(opening) = &mut self.opening else { return read };
        if read.is_pending() {
            ready!(opening.deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not begin")));
        }
        opening.missing = opening.missing.saturating_sub(buffer.filled().len() - before);
        if opening.missing == 0 {
            self.opening = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
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
        let mut server = TimeoutStream::new(server, TIMEOUT);
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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_begin_is_given_up_and_one_that_has_begun_may_be_silent() {
        const SILENCE: Duration = Duration::from_secs(3_600);
        let (server, mut client) = duplex(100);
        let mut server = TimeoutStream::new(server, TIMEOUT).opening_with(10, TIMEOUT);
        let (began, mut bytes) = (Instant::now(), [0; 10]);
        client.write_all(&[1; 9]).await.expect("it is read");
        let error = server.read_exact(&mut bytes).await.expect_err("one is missing");
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, TIMEOUT));
        let (server, mut client) = duplex(100);
        let mut server = TimeoutStream::new(server, TIMEOUT).opening_with(10, TIMEOUT);
        client.write_all(&[1; 10]).await.expect("it is read");
        server.read_exact(&mut bytes).await.expect("all of them");
        let read = tokio::time::timeout(SILENCE, server.read_exact(&mut bytes)).await;
        assert!(read.is_err(), "it waits");
    }
}
