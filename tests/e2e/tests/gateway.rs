//! The gateway as a role of its own, built and run in this process on port 0.

#![cfg(test)]

use bootstrap::settings::{List, Settings};
use bootstrap::{App, Role};
use e2e::{Http, Program, dead_address, wait_until};
use tokio::sync::oneshot;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"s","level":"ERROR","message":"m"}"#;

/// A gateway in front of these producers and consumers; it stops when the sender is dropped.
async fn gateway(
    producers: &[&str],
    consumers: &[&str],
) -> (Http, oneshot::Sender<()>, tokio::task::JoinHandle<usize>) {
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
async fn instances_that_cannot_be_reached_cost_no_request() {
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
    assert_eq!(running.await.expect("it ends by itself"), 0);
    assert!(gateway.try_send("GET", "/actuator/health", &[], "").await.is_none(), "nobody listens any more");
}

#[tokio::test]
async fn without_any_instance_nothing_is_sent_and_the_answer_says_when_to_come_back() {
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
