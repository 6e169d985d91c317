//! The gateway as a separate role, built and run in this process on port 0.

#![cfg(test)]

use bootstrap::settings::{List, Settings};
use bootstrap::{App, Role};
use e2e::{Http, Program, dead_address, wait_until};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"s","level":"ERROR","message":"m"}"#;

/// A gateway in front of these producers and consumers; it stops when the sender is dropped.
async fn gateway(
    producers: &[&str],
    consumers: &[&str],
) -> (Http, oneshot::Sender<()>, tokio::task::JoinHandle<Result<usize, bootstrap::TaskEnded>>) {
    let mut settings = Settings::default();
    settings.gateway.listen = "127.0.0.1:0".parse().expect("an address");
    settings.gateway.producers = List(producers.iter().map(|url| url.parse().expect("a URL")).collect());
    settings.gateway.consumers = List(consumers.iter().map(|url| url.parse().expect("a URL")).collect());
    let app = App::build(Role::Gateway, &settings).await.expect("a gateway");
    let http = Http::to(app.addresses().gateway.expect("its address"));
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    (http, stop, running)
}

#[tokio::test]
async fn unreachable_instances_fail_no_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let dead = format!("http://{}", dead_address());
    let (gateway, stop, running) = gateway(&[&dead, program.producer.base()], &[program.consumer.base(), &dead]).await;
    for _ in 0..10 {
        assert_eq!(gateway.post("/api/logs", EVENT).await.status, 202);
        assert_eq!(gateway.get("/api/logs?limit=1").await.status, 200);
    }
    wait_until("all are stored", || async { gateway.all_events("", 3).await.len() == 10 }).await;
    assert_eq!(gateway.get("/actuator/health").await.status, 200);
    drop(stop);
    assert_eq!(running.await.expect("it ends by itself"), Ok(0));
    assert!(gateway.try_send("GET", "/actuator/health", &[], "").await.is_none(), "the listener is closed");
}

/// An instance that reports ready, but reads only the head and the beginning of the body of each other request, and
/// closes the connection without an answer. The channel has what it read.
async fn breaking_instance() -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let (sender, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut read = vec![0; 65_536];
            let len = connection.read(&mut read).await.expect("a request");
            let request = String::from_utf8_lossy(&read[..len]).into_owned();
            if request.starts_with("GET /actuator/health/readiness ") {
                connection
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await
                    .expect("it listens");
            } else {
                sender.send(request).expect("the test listens");
            }
        }
    });
    (url, heads)
}

#[tokio::test]
async fn a_query_is_retried_after_a_broken_connection_and_an_event_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let (breaking, mut requests) = breaking_instance().await;
    let (gateway, _stop, _running) = gateway(&[&breaking], &[&breaking, program.consumer.base()]).await;
    let mut asked = None;
    // One of two, at random.
    for _ in 0..100 {
        assert_eq!(gateway.get("/api/logs?limit=1").await.status, 200);
        asked = asked.or(requests.try_recv().ok());
    }
    assert!(asked.expect("the instance received it").starts_with("GET /api/logs?limit=1 HTTP/1.1\r\n"));
    while requests.try_recv().is_ok() {}

    let headers = [
        ("content-type", "application/json"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-request-id", "my-1"),
        ("connection", "x-private"),
        ("x-private", "1"),
    ];
    let answer = gateway.send("POST", "/api/logs", &headers, EVENT).await;
    assert_eq!((answer.status, &answer.json()["code"]), (502, &"upstream_failed".into()));
    assert!(answer.json()["detail"].as_str().expect("text").contains("with the same eventIds"), "{answer:?}");
    let request = requests.recv().await.expect("the instance received it");
    for line in [
        "POST /api/logs HTTP/1.1",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-request-id: my-1",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(request.lines().any(|sent| sent.eq_ignore_ascii_case(line)), "{line} is missing in\n{request}");
    }
    assert!(!request.contains("x-private"), "{request}");
    assert!(requests.try_recv().is_err(), "an event is never sent twice");
}

#[tokio::test]
async fn a_query_whose_body_was_read_in_part_is_not_sent_again() {
    let (one, mut of_one) = breaking_instance().await;
    let (other, mut of_other) = breaking_instance().await;
    let (gateway, _stop, _running) = gateway(&[&one], &[&one, &other]).await;
    // More than an instance reads before it closes the connection.
    let body = "0".repeat(1_000_000);
    let answer = gateway.send("GET", "/api/logs?limit=1", &[], body).await;
    assert_eq!((answer.status, &answer.json()["code"]), (502, &"upstream_failed".into()));
    assert_eq!(answer.json()["detail"], "an instance broke off: send the request again");
    let received = [of_one.try_recv(), of_other.try_recv()];
    assert_eq!(received.iter().filter(|request| request.is_ok()).count(), 1, "{received:?}");
}

#[tokio::test]
async fn health_shows_each_instance() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let dead = dead_address();
    let producers = [program.producer.base(), &format!("http://{dead}")];
    let (gateway, _stop, _running) = gateway(&producers, &[program.consumer.base()]).await;
    let states = async || {
        let health = gateway.get("/actuator/health").await.json();
        let instances = health["components"]["upstreams"]["instances"].as_array().cloned().unwrap_or_default();
        let state = |instance: Value| (instance["address"].as_str().map(str::to_owned), instance["state"].clone());
        instances.into_iter().map(state).collect::<Vec<_>>()
    };
    let expected =
        [(program.producer.address(), "available"), (dead, "ejected"), (program.consumer.address(), "available")];
    wait_until("all were checked", || async {
        let states = states().await;
        states.len() == 3
            && expected.iter().all(|(address, state)| states.contains(&(Some(address.to_string()), (*state).into())))
    })
    .await;
    let names = gateway.get("/actuator/prometheus").await.body;
    let text = String::from_utf8_lossy(&names).into_owned();
    assert!(text.contains("spillway_upstream_instances{role=\"producer\",state=\"ejected\"} 1"), "{text}");
    assert!(text.contains("spillway_component_up{component=\"upstreams\"} "), "{text}");
}

#[tokio::test]
async fn the_log_filter_can_only_be_changed_over_loopback() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let filter = async || program.producer.get("/actuator/log").await.json()["filter"].clone();
    let before = filter().await;
    let put = async |filter: &str, headers: &[(&str, &str)]| {
        program.producer.send("PUT", &format!("/actuator/log?filter={filter}"), headers, "").await
    };
    let own = ("x-spillway", "1");
    // Through a proxy, from a page of another site, by a name that resolves to this machine.
    for (headers, code) in [
        (&[own, ("x-forwarded-for", "127.0.0.1")][..], "loopback_only"),
        (&[own, ("forwarded", "for=127.0.0.1")], "loopback_only"),
        (&[], "loopback_only"),
        (&[own, ("host", "logs.example.com")], "host_not_allowed"),
        (&[own, ("host", "logs.example.com:8081")], "host_not_allowed"),
        (&[own, ("origin", "http://evil.test")], "cross_origin"),
    ] {
        let refused = put("debug", headers).await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &code.into()));
    }
    assert_eq!(put("loud", &[own]).await.status, 400);
    assert_eq!(filter().await, before);
    let changed = put("info,adapter_http=debug", &[own]).await;
    assert_eq!((changed.status, &changed.json()["filter"]), (200, &"info,adapter_http=debug".into()));
    assert_eq!(filter().await, "info,adapter_http=debug");
}

#[tokio::test]
async fn without_instances_the_answer_says_when_to_retry() {
    let dead = format!("http://{}", dead_address());
    let (gateway, _stop, _running) = gateway(&[&dead], &[&dead]).await;
    for answer in [gateway.post("/api/logs", EVENT).await, gateway.get("/api/logs").await] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.json()["code"], "upstream_unreachable");
    }
    let health = gateway.get("/actuator/health").await;
    assert_eq!((health.status, &health.json()["components"]["upstreams"]["status"]), (503, &"DOWN".into()));
    assert_eq!(gateway.get("/actuator/health/liveness").await.status, 200);
}
