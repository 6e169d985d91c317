//! A TCP proxy that can simulate a bad network at any moment.
//!
//! Constraints and invariants:
//! * Buffering is bounded: one chunk being moved, plus the delayed chunks, per direction and connection. Senders of more
//!   data experience backpressure, as on a slow network.
//! * Bytes keep their order, and none is added or dropped: a connection is complete, or it is reset.
//! * A mode takes effect immediately, for existing and new connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// Maximum bytes moved at once.
const CHUNK_BYTES: usize = 16 * 1_024;
/// Maximum number of delayed chunks per direction.
const CHUNKS_MAX: usize = 64;
/// Interval in which a throttled direction moves its share.
const THROTTLE_STEP: Duration = Duration::from_millis(20);
/// Maximum wait until a released port can be bound again.
const REBIND_DEADLINE: Duration = Duration::from_secs(10);

/// State of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Connections stay open, and new ones are accepted, but no byte moves.
    Stall,
    /// Connections are reset, and new ones refused, whichever direction it is set for.
    Cut,
    /// Everything passes with this delay.
    Delay(Duration),
    /// Maximum bytes per second, per connection.
    Throttle(u32),
}

/// Direction of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

#[derive(Clone, Copy, Debug)]
struct Modes {
    to_server: Mode,
    to_client: Mode,
    /// Number of cuts: a task that starts late must not miss one.
    cuts: u64,
}

impl Modes {
    fn of(self, direction: Direction) -> Mode {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }

    fn is_cut(self) -> bool {
        self.to_server == Mode::Cut || self.to_client == Mode::Cut
    }
}

/// A proxy in front of one server. It ends, with its connections, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    modes: watch::Sender<Modes>,
    target: watch::Sender<Option<SocketAddr>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that already listens, at its own port; connections wait until its target is set.
    ///
    /// # Errors
    /// No port is available.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?)).await?;
        let address = listener.local_addr()?;
        let (modes, seen_modes) = watch::channel(Modes { to_server: Mode::Pass, to_client: Mode::Pass, cuts: 0 });
        let (target, seen_target) = watch::channel(None);
        let accepting = tokio::spawn(accept(listener, address, seen_modes, seen_target));
        Ok(Self { address, modes, target, accepting })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the server for new connections.
    pub fn forward_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    /// Sets the mode of both directions.
    pub fn set(&self, mode: Mode) {
        self.change(|modes| (modes.to_server, modes.to_client) = (mode, mode));
    }

    /// Sets the mode of one direction.
    pub fn set_direction(&self, direction: Direction, mode: Mode) {
        self.change(|modes| match direction {
            Direction::ToServer => modes.to_server = mode,
            Direction::ToClient => modes.to_client = mode,
        });
    }

    fn change(&self, change: impl FnOnce(&mut Modes)) {
        self.modes.send_modify(|modes| {
            change(modes);
            modes.cuts += u64::from(modes.is_cut());
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A free port below the kernel's range for outgoing connections: one of those could take the port while it is not bound.
///
/// # Errors
/// No port is free.
pub fn free_port() -> io::Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Processes that search at the same time begin at different ports.
    let begin = (u64::from(std::process::id()) * 7_919 % u64::from(COUNT)) as u16;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..COUNT {
        let port = FIRST + begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    mut modes: watch::Receiver<Modes>,
    target: watch::Receiver<Option<SocketAddr>>,
) {
    let mut listener = Some(listener);
    // Connections that are aborted when this is dropped.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        if modes.borrow_and_update().is_cut() {
            // Only an unbound port refuses connections.
            listener = None;
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            listener = listen_again(address).await;
        }
        let Some(listening) = &listener else { return };
        tokio::select! {
            accepted = listening.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(serve(client, target.clone(), modes.clone()));
            },
            changed = modes.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    let bound = timeout(REBIND_DEADLINE, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Ok(listener) = TcpListener::bind(address).await {
                return listener;
            }
        }
    });
    bound.await.ok()
}

/// Serves one connection until it ends or is cut.
async fn serve(mut client: TcpStream, mut target: watch::Receiver<Option<SocketAddr>>, modes: watch::Receiver<Modes>) {
    let cuts = modes.borrow().cuts;
    let Ok(address) = target.wait_for(Option::is_some).await.map(|target| *target) else { return };
    let Some(address) = address else { return };
    let Ok(mut server) = TcpStream::connect(address).await else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut seen = modes.clone();
    let whole = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                direct(from_client, to_server, Direction::ToServer, modes.clone()),
                direct(from_server, to_client, Direction::ToClient, modes),
            )
        };
        tokio::select! {
            done = both => done.is_ok(),
            _ = seen.wait_for(|modes| modes.cuts != cuts) => false,
        }
    };
    if !whole {
        reset(&client);
        reset(&server);
    }
}

/// Makes closing this socket send a reset.
fn reset(stream: &TcpStream) {
    // A socket that is already closed needs no reset.
    let _ = stream.set_zero_linger();
}

/// Moves one direction until its end.
async fn direct(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    modes: watch::Receiver<Modes>,
) -> io::Result<()> {
    let (waiting, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let mut reading = modes.clone();
    let read = async move {
        loop {
            until_moving(&mut reading, direction).await?;
            let mode = reading.borrow().of(direction);
            let mut chunk = vec![0; chunk_bytes(mode)];
            // A mode set while no data arrives applies to the next data.
            let read = tokio::select! {
                read = from.read(&mut chunk) => read?,
                changed = reading.changed() => { changed.map_err(|_| ended())?; continue }
            };
            chunk.truncate(read);
            let delay = if let Mode::Delay(delay) = mode { delay } else { Duration::ZERO };
            if read == 0 || waiting.send((Instant::now() + delay, chunk)).await.is_err() {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let mut writing = modes;
    let write = async move {
        while let Some((at, chunk)) = due.recv().await {
            sleep_until(at).await;
            until_moving(&mut writing, direction).await?;
            to.write_all(&chunk).await?;
            let mode = writing.borrow_and_update().of(direction);
            if let Mode::Throttle(bytes) = mode {
                let taken = Duration::from_secs_f64(chunk.len() as f64 / f64::from(bytes.max(1)));
                // A mode change takes effect without waiting.
                let _ = timeout(taken, writing.changed()).await;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Waits while bytes must not move.
async fn until_moving(modes: &mut watch::Receiver<Modes>, direction: Direction) -> io::Result<()> {
    let moving = |modes: &Modes| !matches!(modes.of(direction), Mode::Stall | Mode::Cut);
    modes.wait_for(moving).await.map(|_| ()).map_err(|_| ended())
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the proxy has ended")
}

fn chunk_bytes(mode: Mode) -> usize {
    let Mode::Throttle(bytes) = mode else { return CHUNK_BYTES };
    let step = f64::from(bytes) * THROTTLE_STEP.as_secs_f64();
    (step as usize).clamp(1, CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held data would have arrived within this time.
    const NOTHING: Duration = Duration::from_millis(200);
    const DEADLINE: Duration = Duration::from_secs(20);

    /// An echo server.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = connection.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn in_front_of(target: SocketAddr) -> Proxy {
        let proxy = Proxy::listen().await.expect("a proxy");
        proxy.forward_to(target);
        proxy
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.expect("a connection")
    }

    async fn exchange(connection: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
        connection.write_all(bytes).await.expect("the bytes are sent");
        received(connection, bytes.len()).await
    }

    async fn received(connection: &mut TcpStream, length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        timeout(DEADLINE, connection.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        answer
    }

    #[tokio::test]
    async fn data_and_its_end_pass_completely() {
        let proxy = in_front_of(echo().await).await;
        let mut connection = connected(&proxy).await;
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let (mut from, mut to) = connection.split();
        let mut answer = Vec::new();
        let send = async {
            to.write_all(&bytes).await?;
            to.shutdown().await
        };
        let both = async { tokio::try_join!(send, from.read_to_end(&mut answer)) };
        timeout(DEADLINE, both).await.expect("in time").expect("both ways");
        assert!(answer == bytes);
    }

    #[tokio::test]
    async fn connections_wait_for_a_target() {
        let proxy = Proxy::listen().await.expect("a proxy");
        let mut connection = connected(&proxy).await;
        connection.write_all(b"early").await.expect("the bytes are sent");
        proxy.forward_to(echo().await);
        assert_eq!(received(&mut connection, 5).await, b"early");
    }

    #[tokio::test]
    async fn a_stalled_direction_holds_everything_and_the_other_does_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let proxy = in_front_of(listener.local_addr().expect("an address")).await;
        let mut client = connected(&proxy).await;
        let (mut server, _) = listener.accept().await.expect("a connection");
        proxy.set_direction(Direction::ToClient, Mode::Stall);
        client.write_all(b"there").await.expect("sent");
        assert_eq!(received(&mut server, 5).await, b"there");
        server.write_all(b"back").await.expect("sent");
        let mut byte = [0];
        assert!(timeout(NOTHING, client.read(&mut byte)).await.is_err(), "no data arrives");
        // New connections are accepted, and stall as well.
        let mut other = connected(&proxy).await;
        let (mut of_other, _) = listener.accept().await.expect("a connection");
        of_other.write_all(b"hello").await.expect("sent");
        assert!(timeout(NOTHING, other.read(&mut byte)).await.is_err());
        proxy.set(Mode::Pass);
        assert_eq!(received(&mut client, 4).await, b"back");
        assert_eq!(received(&mut other, 5).await, b"hello");
    }

    #[tokio::test]
    async fn a_stalled_proxy_has_bounded_buffers() {
        const FAR_TOO_MUCH: usize = 64 << 20;
        let proxy = in_front_of(echo().await).await;
        let mut connection = connected(&proxy).await;
        exchange(&mut connection, b"x").await;
        proxy.set(Mode::Stall);
        let (chunk, mut taken) = (vec![0; 64 * 1_024], 0);
        while taken < FAR_TOO_MUCH {
            match timeout(NOTHING, connection.write(&chunk)).await {
                Ok(written) => taken += written.expect("the bytes are sent"),
                Err(_) => return,
            }
        }
        panic!("it accepts unlimited data");
    }

    #[tokio::test]
    async fn a_cut_resets_and_refuses_connections_until_it_ends() {
        let proxy = in_front_of(echo().await).await;
        let mut connection = connected(&proxy).await;
        assert_eq!(exchange(&mut connection, b"before").await, b"before");
        proxy.set_direction(Direction::ToServer, Mode::Cut);
        let broken = timeout(DEADLINE, connection.read(&mut [0])).await.expect("in time");
        assert_eq!(broken.expect_err("not a clean end").kind(), io::ErrorKind::ConnectionReset);
        // The listener is closed at about the same time.
        let refused = async {
            while TcpStream::connect(proxy.address()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, refused).await.expect("connections are refused");
        proxy.set(Mode::Pass);
        let connect = async {
            loop {
                if let Ok(connection) = TcpStream::connect(proxy.address()).await {
                    return connection;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut connection = timeout(DEADLINE, connect).await.expect("connections are accepted");
        assert_eq!(exchange(&mut connection, b"after").await, b"after");
    }

    #[tokio::test]
    async fn a_delay_adds_latency_without_limiting_throughput() {
        const LATENCY: Duration = Duration::from_millis(100);
        let proxy = in_front_of(echo().await).await;
        let mut connection = connected(&proxy).await;
        exchange(&mut connection, b"x").await;
        proxy.set(Mode::Delay(LATENCY));
        let began = Instant::now();
        exchange(&mut connection, b"there and back").await;
        assert!(began.elapsed() >= LATENCY * 2);
        // One hundred in a row: if each were delayed by the previous one, it would take 20 s.
        let began = Instant::now();
        for n in 0..100_u8 {
            connection.write_all(&[n]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        assert_eq!(received(&mut connection, 100).await, (0..100).collect::<Vec<u8>>());
        assert!(began.elapsed() < LATENCY * 50, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_throttled_direction_keeps_to_its_rate_until_it_passes() {
        const RATE: u32 = 100_000;
        let proxy = in_front_of(echo().await).await;
        let mut connection = connected(&proxy).await;
        proxy.set_direction(Direction::ToServer, Mode::Throttle(RATE));
        let began = Instant::now();
        exchange(&mut connection, &vec![7; RATE as usize / 2]).await;
        // The last chunk is not waited for.
        assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
        proxy.set(Mode::Throttle(1));
        connection.write_all(b"slowly").await.expect("sent");
        let mut come = Vec::new();
        let all = async |connection: &mut TcpStream, come: &mut Vec<u8>| {
            while come.len() < 6 {
                connection.read_buf(come).await.expect("the stream continues");
            }
        };
        assert!(timeout(NOTHING, all(&mut connection, &mut come)).await.is_err());
        proxy.set(Mode::Pass);
        timeout(DEADLINE, all(&mut connection, &mut come)).await.expect("at once");
        assert_eq!(come, b"slowly");
    }
}
