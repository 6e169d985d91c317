//! Syslog over TCP.
//!
//! Invariant: the incomplete frames of all connections have at most [`INCOMPLETE_BYTES_MAX`] together, beside the first
//! [`INCOMPLETE_BYTES_FREE`] of each and one read. Beyond that a frame is taken in pieces, as one that is too long.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use application::connections::ConnectionLimit;
use application::ingest::RefusalReason;
use domain::ports::Client;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Secure;
use crate::frames::Frames;
use crate::intake::Intake;
use crate::other_protocol::is_of_other_protocol;

/// Most connections at a time; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 1_000;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes of incomplete frames of all connections.
const INCOMPLETE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of an incomplete frame that do not count: common messages must not suffer from connections with long ones.
const INCOMPLETE_BYTES_FREE: usize = 8 * 1024;
/// How long to wait for room before the next try.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);
/// Silence after which a peer is asked whether it is still there, how often it is asked again, and how many questions may
/// stay unanswered.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES_MAX: u32 = 4;
/// How long to wait when the operating system cannot accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` says so, and lets each finish the messages that it has read.
pub async fn run(
    listener: TcpListener,
    secure: Option<Secure>,
    limit: ConnectionLimit,
    intake: Intake,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let incomplete = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            // Tasks that are done are not kept.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            // Closed at once.
            Ok((_, peer, _)) if !intake.allows(peer.ip()) => {
                tracing::debug!(%peer, "a sender of syslog is not allowed")
            }
            Ok((stream, peer, permit)) => {
                let Some(counted) = limit.admit(peer.ip()) else { continue };
                let (secure, intake, stop) = (secure.clone(), intake.clone(), stop.clone());
                let incomplete = Incomplete { bytes: 0, of_all: Arc::clone(&incomplete) };
                connections.spawn(async move {
                    let served = match secure {
                        Some(secure) => serve_secured(stream, secure, peer, &intake, incomplete, stop).await,
                        None => serve(stream, peer, &intake, incomplete, stop).await,
                    };
                    if let Err(error) = served {
                        tracing::debug!(%error, %peer, "a connection for syslog ended");
                    }
                    drop((permit, counted));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for syslog");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

pub async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    keep_alive(&stream)?;
    Ok((stream, peer, permit))
}

/// Lets the operating system close a connection whose peer is gone without a word. Silence alone says nothing: some devices log
/// once a day.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, PROBES_MAX)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// Serves a connection once it is encrypted.
async fn serve_secured(
    stream: TcpStream,
    secure: Secure,
    peer: SocketAddr,
    intake: &Intake,
    incomplete: Incomplete,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let secured = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        secured = secure(stream) => secured?,
    };
    serve(secured, peer, intake, incomplete, stop).await
}

async fn serve(
    mut stream: impl AsyncRead + Send + Unpin,
    peer: SocketAddr,
    intake: &Intake,
    mut incomplete: Incomplete,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let client = Client::from(peer.ip());
    let (mut frames, mut buffer) = (Frames::default(), vec![0; READ_BYTES]);
    let mut has_begun = false;
    loop {
        while !intake.may_send(client) && !*stop.borrow() {
            sleep(ROOM_INTERVAL).await;
        }
        let read = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => 0,
            read = stream.read(&mut buffer) => read?,
        };
        // Keys may be required by now.
        if !intake.allows(peer.ip()) {
            return Ok(());
        }
        let mut found: Vec<Range<usize>> = Vec::new();
        frames.push(buffer.get(..read).unwrap_or_default());
        found.extend(std::iter::from_fn(|| frames.next_frame()));
        if read == 0 {
            found.extend(frames.rest());
        } else if !incomplete.may_hold(frames.incomplete_bytes()) {
            found.extend(frames.cut());
        }
        incomplete.may_hold(frames.incomplete_bytes());
        if let Some(first) = found.first() {
            if !has_begun && is_of_other_protocol(frames.bytes(first.clone())) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the sender speaks another protocol"));
            }
            has_begun = true;
            take(&frames, found, client, intake).await;
        }
        frames.forget_found();
        if read == 0 {
            return Ok(());
        }
    }
}

/// What a connection holds of a frame whose end has not come yet, as a part of what all may hold.
struct Incomplete {
    bytes: usize,
    of_all: Arc<AtomicUsize>,
}

impl Incomplete {
    /// Notes that so much is held, and says whether it may be.
    fn may_hold(&mut self, bytes: usize) -> bool {
        let counted = bytes.saturating_sub(INCOMPLETE_BYTES_FREE);
        let before = std::mem::replace(&mut self.bytes, counted);
        if counted <= before {
            self.of_all.fetch_sub(before - counted, Ordering::AcqRel);
            return true;
        }
        let more = counted - before;
        self.of_all.fetch_add(more, Ordering::AcqRel) + more <= INCOMPLETE_BYTES_MAX
    }
}

impl Drop for Incomplete {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Takes messages in as soon as there is room. Until then the sender is not read, and keeps what it has.
async fn take(frames: &Frames, mut found: Vec<Range<usize>>, client: Client, intake: &Intake) {
    while let Err(left) = intake.take(client, found.iter().map(|frame| frames.bytes(frame.clone()))).await {
        // A delivery that is closed has no room ever again.
        if left.reason == RefusalReason::Draining {
            intake.dropped(&left.reason, left.places.len());
            return;
        }
        // Only those: the others would be stored again, as other events.
        found = left.places.iter().filter_map(|place| found.get(*place).cloned()).collect();
        sleep(ROOM_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_frames_of_all_connections_have_a_bound_and_short_ones_are_free() {
        let of_all = Arc::new(AtomicUsize::new(0));
        let connection = || Incomplete { bytes: 0, of_all: Arc::clone(&of_all) };
        let long = INCOMPLETE_BYTES_MAX / 2 + INCOMPLETE_BYTES_FREE;
        let (mut first, mut second, mut third) = (connection(), connection(), connection());
        assert!(first.may_hold(long) && second.may_hold(long));
        assert!(!third.may_hold(INCOMPLETE_BYTES_FREE + 1), "one byte too many");
        assert!(third.may_hold(INCOMPLETE_BYTES_FREE), "it gave the byte back");
        drop(first);
        assert!(third.may_hold(long));
        drop((second, third));
        assert_eq!(of_all.load(Ordering::Acquire), 0);
    }
}
