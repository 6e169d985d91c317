//! From process start to the first 202.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use e2e::{Http, Process};
use tokio::time::{Instant, interval};

use crate::report::Row;
use crate::test_cluster::TestCluster;

const EVENT: &str = r#"{"source":"bench","level":"ERROR","message":"first"}"#;
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts `spillway` with an empty directory, and posts until it gets an answer.
pub async fn start(test_cluster: &TestCluster) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory");
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let (gateway, producer): (SocketAddr, SocketAddr) = (free(), free());
    let (at_gateway, at_producer) = (gateway.to_string(), producer.to_string());
    let variables =
        [("SPILLWAY_GATEWAY__LISTEN", at_gateway.as_str()), ("SPILLWAY_PRODUCER__LISTEN", at_producer.as_str())];
    let began = Instant::now();
    let process = Process::spawn(test_cluster.spillway(), "all", directory.path(), &variables);
    let http = Http::to(gateway);
    let mut tries = interval(Duration::from_millis(1));
    loop {
        let answer = http.try_send("POST", "/api/logs", &[("content-type", "application/json")], EVENT).await;
        if answer.is_some_and(|answer| answer.status == 202) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the program does not start");
        tries.tick().await;
    }
    let took = began.elapsed();
    process.terminate().await;
    vec![Row::new("ERROR, acknowledged, through the gateway").with("ms", took.as_secs_f64() * 1e3)]
}
