//! Syslog over TCP.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use application::ingest::RefusalReason;
use domain::ports::Client;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Secure;
use crate::frames::Frames;
use crate::intake::Intake;

/// Most connections at a time; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 1_000;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long to wait for room before the next try.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait when the operating system cannot accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` says so, and lets each finish the messages that it has read.
pub async fn run(listener: TcpListener, secure: Option<Secure>, intake: Intake, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
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
                let (secure, intake, stop) = (secure.clone(), intake.clone(), stop.clone());
                connections.spawn(async move {
                    let served = match secure {
                        Some(secure) => serve_secured(stream, secure, peer, &intake, stop).await,
                        None => serve(stream, peer, &intake, stop).await,
                    };
                    if let Err(error) = served {
                        tracing::debug!(%error, %peer, "a connection for syslog ended");
                    }
                    drop(permit);
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

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Serves a connection once it is encrypted.
async fn serve_secured(
    stream: TcpStream,
    secure: Secure,
    peer: SocketAddr,
    intake: &Intake,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let secured = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        secured = secure(stream) => secured?,
    };
    serve(secured, peer, intake, stop).await
}

async fn serve(
    mut stream: impl AsyncRead + Send + Unpin,
    peer: SocketAddr,
    intake: &Intake,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let client = Client::from(peer.ip());
    let (mut frames, mut buffer) = (Frames::default(), vec![0; READ_BYTES]);
    loop {
        while !intake.may_send(client) && !*stop.borrow() {
            sleep(ROOM_INTERVAL).await;
        }
        let read = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => 0,
            read = stream.read(&mut buffer) => read?,
        };
        let mut found: Vec<Range<usize>> = Vec::new();
        frames.push(buffer.get(..read).unwrap_or_default());
        found.extend(std::iter::from_fn(|| frames.next_frame()));
        if read == 0 {
            found.extend(frames.rest());
        }
        if !found.is_empty() {
            take(&frames, &found, client, intake).await;
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// Takes messages in as soon as there is room. Until then the sender is not read, and keeps what it has.
async fn take(frames: &Frames, found: &[Range<usize>], client: Client, intake: &Intake) {
    while let Err(reason) = intake.take(client, found.iter().map(|frame| frames.bytes(frame.clone()))).await {
        // A delivery that is closed has no room ever again.
        if reason == RefusalReason::Draining {
            intake.dropped(&reason, found.len());
            return;
        }
        sleep(ROOM_INTERVAL).await;
    }
}
