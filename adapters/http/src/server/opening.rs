//! A connection that gives up a client which does not begin.
//!
//! hyper pings an HTTP/2 connection, and closes it without an answer, only once the client has sent the preface (RFC
//! 9113, section 3.4). A client that sends nothing, or a byte now and then, would occupy its connection without limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Ends with an error unless a number of bytes is read within a time. After that it passes everything on.
pub struct OpeningTimeoutStream<S> {
    stream: S,
    deadline: Pin<Box<Sleep>>,
    /// Bytes that are still to come before the deadline.
    missing: usize,
}

impl<S> OpeningTimeoutStream<S> {
    /// Gives up unless `bytes` bytes are read within `timeout`.
    pub fn new(stream: S, bytes: usize, timeout: Duration) -> Self {
        Self { stream, deadline: Box::pin(sleep_until(Instant::now() + timeout)), missing: bytes }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OpeningTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.missing == 0 {
            return read;
        }
        self.missing = self.missing.saturating_sub(buffer.filled().len().saturating_sub(before));
        if self.missing > 0 && self.deadline.as_mut().poll(context).is_ready() {
            let late = io::Error::new(io::ErrorKind::TimedOut, "the client does not begin");
            return Poll::Ready(Err(late));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OpeningTimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_too_little_is_given_up() {
        for sent in [&b""[..], b"abc"] {
            let (server, mut client) = duplex(100);
            let mut server = OpeningTimeoutStream::new(server, 4, TIMEOUT);
            client.write_all(sent).await.expect("there is room");
            let began = Instant::now();
            let error = server.read_exact(&mut [0; 4]).await.expect_err("a byte is missing");
            assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, TIMEOUT), "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_begun_has_all_the_time() {
        let (server, mut client) = duplex(100);
        let mut server = OpeningTimeoutStream::new(server, 4, TIMEOUT);
        client.write_all(b"abcd").await.expect("there is room");
        server.read_exact(&mut [0; 4]).await.expect("they are there");
        tokio::time::advance(2 * TIMEOUT).await;
        client.write_all(b"e").await.expect("there is room");
        server.read_exact(&mut [0; 1]).await.expect("it is there");
    }
}
