//! Syslog over TCP, UDP and TLS, from devices and daemons that can send nothing else.
//!
//! Constraints and invariants:
//! * Nothing answers a sender, so over TCP nothing more is read while there is no room: the sender notices and keeps
//!   its messages. Over UDP what has no room is dropped and counted.
//! * Frames, connections of each client and of all, and everything in memory are bounded.
//! * Every frame becomes an event: what has no header of syslog is a line of text. Only a connection or a datagram that begins as
//!   another protocol does is not heard: browsers send any page's requests to any port of their machine.
//! * Syslog carries no keys: once they are required, only listed networks are heard, also on connections that exist.

mod allowed;
mod datagrams;
mod frames;
mod intake;
mod message;
mod other_protocol;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use application::connections::ConnectionLimit;
use application::ingest::Ingest;
use domain::ports::{AgentLimiter, BoxFuture, KeyRing, Telemetry};
use ipnet::IpNet;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use crate::allowed::AllowedSenders;
use crate::intake::Intake;

pub use message::entry;

/// What a sender says on a connection that is encrypted.
pub type SecureStream = Box<dyn AsyncRead + Send + Unpin>;
/// Encrypts a connection, within a time of its own. The error says why the sender gets none.
pub type Secure = Arc<dyn Fn(TcpStream) -> BoxFuture<io::Result<SecureStream>> + Send + Sync>;

/// Sockets that listen for syslog at one address, not yet served.
pub struct SyslogServer {
    listener: TcpListener,
    /// `None` where connections are encrypted.
    socket: Option<UdpSocket>,
    secure: Option<Secure>,
    allowed: AllowedSenders,
    limit: ConnectionLimit,
}

impl SyslogServer {
    /// Listens at an address, over TCP and UDP. The limit applies to connections over TCP.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(address: SocketAddr, limit: ConnectionLimit) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        // The same port, also if the one asked for was 0.
        let socket = UdpSocket::bind(listener.local_addr()?).await?;
        Ok(Self { listener, socket: Some(socket), secure: None, allowed: AllowedSenders::default(), limit })
    }

    /// Listens at an address, over TLS only (RFC 5425).
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind_secured(address: SocketAddr, secure: Secure, limit: ConnectionLimit) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, socket: None, secure: Some(secure), allowed: AllowedSenders::default(), limit })
    }

    /// The same for senders in these networks only; for all, if there are none. Syslog carries no keys.
    #[must_use]
    pub fn allowing(self, networks: Vec<IpNet>) -> Self {
        Self { allowed: self.allowed.in_networks(networks), ..self }
    }

    /// The same for a listener that hears only senders in listed networks once these keys are required.
    #[must_use]
    pub fn until_required(self, keys: Option<Arc<dyn KeyRing>>) -> Self {
        Self { allowed: self.allowed.until_required(keys), ..self }
    }

    /// The address that it got: the port, if the one asked for was 0.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes messages in until `stop` says so.
    pub async fn run(
        self,
        ingest: Arc<Ingest>,
        limiter: Arc<dyn AgentLimiter>,
        telemetry: Arc<dyn Telemetry>,
        stop: watch::Receiver<bool>,
    ) {
        let intake = Intake::new(ingest, limiter, telemetry, self.allowed);
        let streams = streams::run(self.listener, self.secure, self.limit, intake.clone(), stop.clone());
        match self.socket {
            Some(socket) => _ = tokio::join!(streams, datagrams::run(socket, intake, stop)),
            None => streams.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use application::delivery::Delivery;
    use domain::Uuid;
    use domain::admission::Usage;
    use domain::delivery::{DeliveryPolicy, Durability};
    use domain::partition::{Partitioner, PriorityLane};
    use domain::ports::{MockAgentLimiter, MockIdSource, MockKeyRing, MockRecordPublisher, PublishError, Receipt};
    use domain::record::RecordBatch;
    use serde_json::Value;
    use testkit::{NoTelemetry, clock_at};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
    const DEADLINE: Duration = Duration::from_secs(30);

    /// A limit of connections for each client.
    fn connections(max: Option<NonZeroU32>) -> ConnectionLimit {
        ConnectionLimit::new("syslog", max)
    }

    /// A server whose bus has so much in use, of a million bytes, and the messages that it gets.
    async fn server(used_bytes: Arc<Mutex<u64>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>, watch::Sender<bool>) {
        let listening = SyslogServer::bind(ANY_PORT.into(), connections(None)).await.expect("an address");
        serve(listening, used_bytes).await
    }

    /// The same with these sockets.
    async fn serve(
        server: SyslogServer,
        used_bytes: Arc<Mutex<u64>>,
    ) -> (SocketAddr, mpsc::UnboundedReceiver<String>, watch::Sender<bool>) {
        let (published, messages) = mpsc::unbounded_channel();
        let mut bus = bus(used_bytes);
        bus.expect_publish().returning(move |batch| publish(&batch, &published));
        let (address, stop) = serve_over(server, bus).await;
        (address, messages, stop)
    }

    /// A bus of one partition with so much in use, of a million bytes.
    fn bus(used_bytes: Arc<Mutex<u64>>) -> MockRecordPublisher {
        let mut bus = MockRecordPublisher::new();
        bus.expect_partition_count().return_const(NonZeroU32::MIN);
        let used = move |_| Usage { used_bytes: *used_bytes.lock().expect("lock"), bytes_max: 1_000_000 };
        bus.expect_usage().returning(used);
        bus
    }

    /// Takes a batch, and sends its messages on.
    fn publish(batch: &RecordBatch, published: &mpsc::UnboundedSender<String>) -> Result<Receipt, PublishError> {
        for message in messages_of(batch) {
            let _ = published.send(message);
        }
        let promised = Box::pin(std::future::ready(Ok(Durability::Buffered)));
        Ok(Receipt { promised, settled: Box::pin(std::future::ready(Ok(()))) })
    }

    fn messages_of(batch: &RecordBatch) -> Vec<String> {
        let events = batch.records.iter().map(|record| serde_json::from_slice::<Value>(record.value).expect("JSON"));
        events.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Serves with these sockets to this bus.
    async fn serve_over(server: SyslogServer, bus: MockRecordPublisher) -> (SocketAddr, watch::Sender<bool>) {
        let mut ids = MockIdSource::new();
        ids.expect_new_id().returning(|_| Uuid::from_u128(7));
        let ingest = Ingest::new(
            Arc::new(Delivery::new(Arc::new(bus), Arc::new(NoTelemetry))),
            Arc::new(clock_at("2026-11-29T08:05:00Z")),
            Arc::new(ids),
            Arc::new(NoTelemetry),
            DeliveryPolicy::default(),
            Partitioner::new(PriorityLane::Shared, NonZeroU32::MIN).expect("valid"),
        );
        let mut limiter = MockAgentLimiter::new();
        limiter.expect_wait().return_const(None::<Duration>);
        limiter.expect_charge().return_const(());
        let address = server.address().expect("an address");
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(Arc::new(ingest), Arc::new(limiter), Arc::new(NoTelemetry), stopped));
        (address, stop)
    }

    #[tokio::test]
    async fn messages_come_over_tcp_in_any_framing_and_over_udp() {
        let (address, mut messages, _stop) = server(Arc::default()).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        for piece in ["<14>a: 1\n12 ", "<14>a: 2 3 4", "<14>a: 5\0<14>a: 6"] {
            stream.write_all(piece.as_bytes()).await.expect("sent");
        }
        stream.shutdown().await.expect("closed");
        for expected in ["1", "2 3 4", "5", "6"] {
            assert_eq!(messages.recv().await.as_deref(), Some(expected));
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.send_to(b"<14>a: datagram", address).await.expect("sent");
        assert_eq!(messages.recv().await.as_deref(), Some("datagram"));
    }

    #[tokio::test]
    async fn a_connection_is_heard_only_once_it_is_encrypted_and_datagrams_are_not_heard() {
        // Stands for a handshake: what begins with another byte gets no connection.
        let secure: Secure = Arc::new(|mut stream: TcpStream| -> BoxFuture<io::Result<SecureStream>> {
            Box::pin(async move {
                let mut first = [0];
                stream.read_exact(&mut first).await?;
                if first != *b"!" {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok::<SecureStream, io::Error>(Box::new(stream))
            })
        });
        let bound = SyslogServer::bind_secured(ANY_PORT.into(), secure, connections(None)).await;
        let listening = bound.expect("an address");
        let (address, mut messages, _stop) = serve(listening, Arc::default()).await;
        for (sent, heard) in [("<14>a: plain\n", None), ("!12 <14>a: hello", Some("hello"))] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(sent.as_bytes()).await.expect("sent");
            stream.shutdown().await.expect("closed");
            let mut rest = Vec::new();
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut rest).await;
            assert_eq!(messages.try_recv().ok().as_deref(), heard, "{sent}");
        }
        assert!(UdpSocket::bind(address).await.is_ok(), "nobody listens over UDP");
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_of_its_client_is_closed_also_before_it_is_encrypted() {
        // A handshake without an end.
        let secure: Secure =
            Arc::new(|_: TcpStream| -> BoxFuture<io::Result<SecureStream>> { Box::pin(std::future::pending()) });
        let one = || connections(Some(NonZeroU32::MIN));
        let plain = SyslogServer::bind(ANY_PORT.into(), one()).await.expect("an address");
        let secured = SyslogServer::bind_secured(ANY_PORT.into(), secure, one()).await.expect("an address");
        for listening in [plain, secured] {
            let (address, _messages, _stop) = serve(listening, Arc::default()).await;
            // The system keeps the order of connections.
            let _first = TcpStream::connect(address).await.expect("a connection");
            let mut second = TcpStream::connect(address).await.expect("a connection");
            let closed = tokio::time::timeout(DEADLINE, second.read(&mut [0])).await.expect("it is closed");
            assert_eq!(closed.ok(), Some(0), "without a word");
        }
    }

    #[tokio::test]
    async fn the_place_of_a_connection_is_free_once_it_has_ended() {
        let listening = SyslogServer::bind(ANY_PORT.into(), connections(Some(NonZeroU32::MIN))).await;
        let (address, mut messages, _stop) = serve(listening.expect("an address"), Arc::default()).await;
        let all = async {
            let mut heard = 0;
            while heard < 5 {
                let mut stream = TcpStream::connect(address).await.expect("a connection");
                // The place may not be free yet: then the server closes this connection, perhaps while this writes.
                let _ = stream.write_all(b"<14>a: m\n").await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0]).await;
                heard += usize::from(messages.try_recv().is_ok());
            }
        };
        tokio::time::timeout(DEADLINE, all).await.expect("each place becomes free");
    }

    #[tokio::test]
    async fn over_tcp_messages_wait_for_room() {
        let used_bytes = Arc::new(Mutex::new(990_000));
        let (address, mut messages, _stop) = server(Arc::clone(&used_bytes)).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"<14>a: waits\n").await.expect("sent");
        assert!(tokio::time::timeout(Duration::from_millis(300), messages.recv()).await.is_err());
        *used_bytes.lock().expect("lock") = 0;
        assert_eq!(messages.recv().await.as_deref(), Some("waits"));
    }

    #[tokio::test]
    async fn of_messages_that_came_together_those_without_room_wait_and_the_others_are_taken_once() {
        let (published, mut messages) = mpsc::unbounded_channel();
        let (mut bus, mut refusals) = (bus(Arc::default()), 2);
        bus.expect_publish().returning(move |batch| {
            if refusals > 0 && messages_of(&batch) == ["waits"] {
                refusals -= 1;
                return Err(PublishError::Full);
            }
            publish(&batch, &published)
        });
        let listening = SyslogServer::bind(ANY_PORT.into(), connections(None)).await.expect("an address");
        let (address, _stop) = serve_over(listening, bus).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"<11>a: error\n<14>a: waits\n").await.expect("sent");
        stream.shutdown().await.expect("closed");
        let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0])).await.expect("it is closed");
        assert_eq!(closed.ok(), Some(0));
        let heard: Vec<String> = std::iter::from_fn(|| messages.try_recv().ok()).collect();
        assert_eq!(heard, ["error", "waits"]);
    }

    #[tokio::test]
    async fn a_connection_is_probed_while_it_is_silent() {
        let listener = TcpListener::bind(SocketAddr::from(ANY_PORT)).await.expect("an address");
        let _client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (stream, _, _permit) =
            streams::accept(&listener, &Arc::new(Semaphore::new(1))).await.expect("the connection");
        assert_eq!(rustix::net::sockopt::socket_keepalive(&stream).ok(), Some(true));
    }

    #[tokio::test]
    async fn once_keys_are_required_a_connection_that_exists_is_closed_and_its_message_is_not_taken() {
        let required = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&required);
        let mut keys = MockKeyRing::new();
        keys.expect_requires_keys().returning(move || now.load(Ordering::Acquire));
        let bound = SyslogServer::bind(ANY_PORT.into(), connections(None)).await.expect("an address");
        let (address, mut messages, _stop) = serve(bound.until_required(Some(Arc::new(keys))), Arc::default()).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"<14>a: before\n").await.expect("sent");
        assert_eq!(messages.recv().await.as_deref(), Some("before"));
        required.store(true, Ordering::Release);
        stream.write_all(b"<14>a: after\n").await.expect("sent");
        let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0])).await.expect("it is closed");
        // A reset is an end, too.
        assert_eq!(closed.unwrap_or_default(), 0);
        assert!(messages.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_begins_as_another_protocol_is_not_heard() {
        let (address, mut messages, _stop) = server(Arc::default()).await;
        let request = &b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n<14>a: planted\n"[..];
        for sent in [request, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\n"] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(sent).await.expect("sent");
            let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0])).await.expect("it is closed");
            // A reset is an end, too.
            assert_eq!(closed.unwrap_or_default(), 0);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        for sent in [&b"\0\x01\0\x08!\x12\xa4Bplanted"[..], b"<14>a: datagram"] {
            socket.send_to(sent, address).await.expect("sent");
        }
        assert_eq!(messages.recv().await.as_deref(), Some("datagram"), "the first that is heard");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"<14>a: first\nPOST / HTTP/1.1\n").await.expect("sent");
        assert_eq!(messages.recv().await.as_deref(), Some("first"));
        assert!(messages.recv().await.is_some(), "a later line may be anything");
    }

    #[tokio::test]
    async fn a_stop_ends_the_server() {
        let (address, mut messages, stop) = server(Arc::default()).await;
        let _idle = TcpStream::connect(address).await.expect("a connection");
        stop.send_replace(true);
        assert_eq!(messages.recv().await, None, "the server and its bus are gone");
    }
}
