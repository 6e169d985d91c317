//! A client that takes all connections that it can get, at every listener for agents that keeps connections open.

#![cfg(test)]

use std::net::SocketAddr;

use e2e::http2::{PREFACE, settings};
use e2e::{DEADLINE, Program, dead_address, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/http/tests/localhost.pem");
/// Connections of a client at a listener.
const CONNECTIONS_MAX: usize = 3;
/// Two clients, as the listeners see them.
const GREEDY: [u8; 4] = [127, 0, 0, 1];
const MODEST: [u8; 4] = [127, 0, 0, 2];

async fn connect(client: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((client, 0).into()).expect("an address of this machine");
    socket.connect(address).await.expect("a connection")
}

/// Begins HTTP/2. Says whether the server begins, too; otherwise it has closed the connection.
async fn begins(stream: &mut TcpStream) -> bool {
    // A connection that is refused may be closed while this writes.
    let _ = stream.write_all(&[PREFACE, &settings(&[])].concat()).await;
    timeout(DEADLINE, stream.read_exact(&mut [0; 9])).await.expect("in time").is_ok()
}

/// Waits until the server has closed a connection.
async fn is_closed(stream: &mut TcpStream) {
    // A reset is an end, too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await.expect("the server closes the connection");
}

#[tokio::test]
async fn a_client_cannot_take_the_connections_of_others() {
    let (grpc, syslog, secured) = (dead_address(), dead_address(), dead_address());
    let [listen_grpc, listen_syslog, listen_secured] = [grpc, syslog, secured].map(|address| address.to_string());
    let connections_max = CONNECTIONS_MAX.to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let variables = [
        ("SPILLWAY_OTLP__GRPC_LISTEN", listen_grpc.as_str()),
        ("SPILLWAY_SYSLOG__LISTEN", listen_syslog.as_str()),
        ("SPILLWAY_SYSLOG__TLS_LISTEN", listen_secured.as_str()),
        ("SPILLWAY_SYSLOG__TLS_CERTIFICATE", CERTIFICATE),
        ("SPILLWAY_SYSLOG__TLS_KEY", CERTIFICATE),
        ("SPILLWAY_RATE_LIMIT__AGENT_CONNECTIONS_MAX", connections_max.as_str()),
    ];
    let program = Program::start(BINARY, directory.path(), &variables).await;

    let mut calls = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = connect(GREEDY, grpc).await;
        assert!(begins(&mut stream).await, "the client may have as many");
        calls.push(stream);
    }
    assert!(!begins(&mut connect(GREEDY, grpc).await).await, "one too many");
    assert!(begins(&mut connect(MODEST, grpc).await).await, "a connection of another client");
    calls.pop();
    wait_until("its place is free", || async { begins(&mut connect(GREEDY, grpc).await).await }).await;

    let mut senders = Vec::new();
    for n in 0..CONNECTIONS_MAX {
        let mut stream = connect(GREEDY, syslog).await;
        stream.write_all(format!("<11>greedy: {n}\n").as_bytes()).await.expect("sent");
        senders.push(stream);
    }
    is_closed(&mut connect(GREEDY, syslog).await).await;
    let mut modest = connect(MODEST, syslog).await;
    modest.write_all(b"<11>modest: from another client\n").await.expect("sent");
    for (source, events) in [("greedy", CONNECTIONS_MAX), ("modest", 1)] {
        let query = format!("source={source}");
        let stored = || async { program.gateway.all_events(&query, 10).await.len() == events };
        wait_until("what the connections said is stored", stored).await;
    }

    let mut handshakes = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        handshakes.push(connect(GREEDY, secured).await);
    }
    is_closed(&mut connect(GREEDY, secured).await).await;
    // A handshake that does not begin is given up as well, so the log says why.
    for listener in ["otlp grpc", "syslog", "syslog tls"] {
        let line = format!("listener=\"{listener}\"");
        wait_until("the log names the listener", || async { program.has_said(&line) }).await;
    }
    drop((calls, senders, modest, handshakes));
    assert_eq!(program.terminate().await, Some(0));
}
