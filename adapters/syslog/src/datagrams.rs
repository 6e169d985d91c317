//! Syslog over UDP: one message a datagram (RFC 5426).

use std::net::SocketAddr;
use std::time::Duration;

use domain::ports::Client;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::intake::Intake;
use crate::other_protocol::is_of_other_protocol;

/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// Most datagrams that are taken in together.
const TOGETHER_MAX: usize = 256;
/// Most bytes of them.
const TOGETHER_BYTES_MAX: usize = 1024 * 1024;
/// How long to wait when the operating system reports an error, such as one of an earlier answer.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Takes datagrams in until `stop` says so. Those of one sender that wait together are one request.
pub async fn run(socket: UdpSocket, intake: Intake, mut stop: watch::Receiver<bool>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => Ok(Some(first)),
            None => tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                received = socket.recv_from(&mut buffer) => received.map(|received| datagram(&intake, &buffer, received)),
            },
        };
        let (client, first) = match first {
            Ok(Some(first)) => first,
            Ok(None) => continue,
            Err(_) => {
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let mut messages = vec![first];
        let mut bytes = messages.iter().map(Vec::len).sum::<usize>();
        while messages.len() < TOGETHER_MAX && bytes < TOGETHER_BYTES_MAX {
            let Ok(received) = socket.try_recv_from(&mut buffer) else { break };
            let Some((of, message)) = datagram(&intake, &buffer, received) else { break };
            if of != client {
                next = Some((of, message));
                break;
            }
            bytes += message.len();
            messages.push(message);
        }
        if !intake.may_send(client) {
            intake.dropped_over_limit(messages.len());
        } else if let Err(left) = intake.take(client, messages.iter().map(Vec::as_slice)).await {
            intake.dropped(&left.reason, left.places.len());
        }
    }
}

/// The sender and the message of a datagram; `None` if the sender is not heard, or speaks another protocol.
fn datagram(intake: &Intake, buffer: &[u8], (bytes, peer): (usize, SocketAddr)) -> Option<(Client, Vec<u8>)> {
    let message = buffer.get(..bytes).unwrap_or_default();
    let is_heard = intake.allows(peer.ip()) && !is_of_other_protocol(message);
    is_heard.then(|| (Client::from(peer.ip()), message.to_vec()))
}
