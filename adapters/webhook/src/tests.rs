use domain::alert::{AlertKind, AlertState};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use testkit::clock_at;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Certificate and key of `localhost`, for tests.
const LOCALHOST: &[u8] = include_bytes!("../tests/localhost.pem");
/// More than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// How a request is met.
#[derive(Clone)]
enum Reply {
    /// With this status.
    Status(u16),
    /// With 200, once there is a permit.
    Held(Arc<Notify>),
    /// With nothing, ever.
    Silence,
    /// With the end of the connection.
    HangUp,
}

struct Seen {
    head: String,
    body: String,
}

/// A webhook that meets requests as it was told to, and keeps to the last way.
struct Receiver {
    address: String,
    seen: UnboundedReceiver<Seen>,
}

impl Receiver {
    async fn start(replies: Vec<Reply>) -> Self {
        Self::listen(replies, None).await
    }

    async fn listen(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (tell, seen) = unbounded_channel();
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (tell, replies, tls) = (tell.clone(), Arc::clone(&replies), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, tell, replies).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, tell, replies).await,
                            // A client that does not trust the certificate goes away.
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, seen }
    }

    async fn next(&mut self) -> Seen {
        timeout(LONG, self.seen.recv()).await.expect("a request in time").expect("the server runs")
    }

    /// The `new` of each request that came so far, and that comes until there are so many.
    async fn counts(&mut self, requests: usize) -> Vec<String> {
        let mut counts = Vec::new();
        while counts.len() < requests || !self.seen.is_empty() {
            let body: Value = serde_json::from_str(&self.next().await.body).expect("JSON");
            counts.push(body["details"]["number"].as_str().expect("a number").to_owned());
        }
        counts
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tell: UnboundedSender<Seen>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let mut body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        tell.send(Seen { head, body: String::from_utf8(body).ok()? }).ok()?;
        let reply = {
            let mut replies = replies.lock().expect("lock");
            if replies.len() > 1 { replies.pop_front()? } else { replies.front()?.clone() }
        };
        let status = match reply {
            Reply::Status(status) => status,
            Reply::Held(permit) => {
                permit.notified().await;
                200
            }
            Reply::Silence => std::future::pending().await,
            Reply::HangUp => return None,
        };
        stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

type Outcomes = UnboundedReceiver<(&'static str, AlertOutcome)>;

/// A webhook at this URL that tries quickly.
fn webhook(url: &str, try_timeout: Duration, trusted: RootCertStore) -> (Webhook, Outcomes) {
    let options = WebhookOptions {
        url: url.parse().expect("a URL"),
        timeout: try_timeout,
        instance: "web-1:8081".to_owned(),
        role: "producer",
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = versions.expect("versions").with_root_certificates(trusted).with_no_client_auth();
    let (tell, outcomes) = unbounded_channel();
    let observer: AlertObserver = Arc::new(move |name, outcome| {
        let _ = tell.send((name, outcome));
    });
    (
        Webhook::with(
            options,
            Arc::new(clock_at("2024-01-15T12:00:00.5Z")),
            observer,
            tls,
            Duration::from_millis(1),
            tokio::spawn,
        ),
        outcomes,
    )
}

fn plain(address: &str) -> (Webhook, Outcomes) {
    webhook(&format!("http://{address}/hook?a=b"), LONG, RootCertStore::empty())
}

async fn outcome(outcomes: &mut Outcomes) -> AlertOutcome {
    let (name, outcome) = timeout(LONG, outcomes.recv()).await.expect("an outcome in time").expect("a webhook");
    assert_eq!(name, "breaker_open");
    outcome
}

fn numbered(number: usize) -> Alert {
    Alert::new(AlertKind::BreakerOpen, AlertState::Firing).with("number", number)
}

#[tokio::test]
async fn an_alert_is_told_again_until_the_webhook_takes_it() {
    let mut receiver = Receiver::start(vec![
        Reply::Status(500),
        Reply::HangUp,
        Reply::Status(429),
        Reply::Status(408),
        Reply::Status(204),
    ])
    .await;
    let (webhook, mut outcomes) =
        webhook(&format!("http://me:secret@{}/hook?a=b", receiver.address), LONG, RootCertStore::empty());
    webhook.alert(Alert::breaker_open(AlertState::Firing, "no \"broker\""));
    assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Delivered);
    for _ in 0..TRIES_MAX {
        let Seen { head, body } = receiver.next().await;
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /hook?a=b http/1.1\r\n"), "{head}");
        for header in ["content-type: application/json", "authorization: basic bwu6c2vjcmv0", "user-agent: spillway/"] {
            assert!(head.contains(header), "{head}");
        }
        assert!(head.contains(&format!("host: {}\r\n", receiver.address)), "{head}");
        let expected = json!({
            "name": "breaker_open",
            "state": "firing",
            "severity": "warning",
            "summary": AlertKind::BreakerOpen.summary(AlertState::Firing),
            "details": {"runbook": "docs/runbooks/breaker_open.md", "reason": "no \"broker\""},
            "instance": "web-1:8081",
            "role": "producer",
            "at": "2024-01-15T12:00:00.5Z",
        });
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), expected);
    }
    assert!(receiver.seen.is_empty(), "told once");
}

#[tokio::test]
async fn what_the_webhook_refuses_is_given_up_at_once_and_the_next_is_told() {
    for status in [400, 401, 404, 413, 301] {
        let mut receiver = Receiver::start(vec![Reply::Status(status), Reply::Status(200)]).await;
        let (webhook, mut outcomes) = plain(&receiver.address);
        webhook.alert(numbered(1));
        webhook.alert(numbered(2));
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Failed, "{status}");
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Delivered, "{status}");
        assert_eq!(receiver.counts(2).await, ["1", "2"], "{status}");
    }
}

#[tokio::test]
async fn a_webhook_that_fails_or_hangs_or_is_not_there_is_tried_five_times() {
    for reply in [Reply::Status(503), Reply::HangUp] {
        let mut receiver = Receiver::start(vec![reply]).await;
        let (webhook, mut outcomes) = plain(&receiver.address);
        webhook.alert(numbered(1));
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Failed);
        assert_eq!(receiver.counts(TRIES_MAX).await, ["1"; TRIES_MAX]);
    }
    let silent = Receiver::start(vec![Reply::Silence]).await;
    // Bound, and nobody listens.
    let nobody = TcpSocket::new_v4().expect("a socket");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    for address in [silent.address, nobody.local_addr().expect("an address").to_string()] {
        let url = format!("http://{address}");
        let (webhook, mut outcomes) = webhook(&url, Duration::from_millis(20), RootCertStore::empty());
        webhook.alert(numbered(1));
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Failed);
    }
}

#[tokio::test]
async fn after_an_alert_that_could_not_be_told_the_next_one_is() {
    let mut replies = vec![Reply::Status(500); TRIES_MAX];
    replies.push(Reply::Status(200));
    let receiver = Receiver::start(replies).await;
    let (webhook, mut outcomes) = plain(&receiver.address);
    webhook.alert(numbered(1));
    assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Failed);
    webhook.alert(numbered(2));
    assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_to_be_told_nothing_ends_at_once() {
    let (webhook, _outcomes) = plain("127.0.0.1:1");
    // Until it waits for alerts.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    assert_eq!((webhook.close(LONG).await, began.elapsed()), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn tries_wait_twice_as_long_each_time_and_end_in_time() {
    let failure = |last| Failure { reason: "no".to_owned(), last };
    let began = Instant::now();
    let times = Mutex::new(Vec::new());
    let told = send_with_retries(FIRST_WAIT, Duration::from_secs(5), || {
        times.lock().expect("lock").push(began.elapsed().as_secs());
        async { Err(failure(false)) }
    });
    assert!(told.await.is_err());
    assert_eq!(*times.lock().expect("lock"), [0, 1, 3, 7, 15]);

    let (began, tries) = (Instant::now(), Mutex::new(0));
    let told = send_with_retries(FIRST_WAIT, Duration::from_secs(5), || {
        *tries.lock().expect("lock") += 1;
        std::future::pending()
    });
    assert_eq!(told.await.expect_err("late").reason, "no answer within 5s");
    assert_eq!((began.elapsed().as_secs(), *tries.lock().expect("lock")), (5 * 5 + 15, TRIES_MAX));

    let tries = Mutex::new(0);
    let told = send_with_retries(FIRST_WAIT, Duration::from_secs(5), || {
        *tries.lock().expect("lock") += 1;
        async { Err(failure(true)) }
    });
    assert!(told.await.is_err());
    assert_eq!(*tries.lock().expect("lock"), 1, "no more once it is final");
}

#[tokio::test]
async fn of_more_alerts_than_can_wait_the_oldest_go() {
    let permit = Arc::new(Notify::new());
    let mut receiver = Receiver::start(vec![Reply::Held(Arc::clone(&permit)), Reply::Status(200)]).await;
    let (webhook, mut outcomes) = plain(&receiver.address);
    webhook.alert(numbered(0));
    assert_eq!(receiver.counts(1).await, ["0"], "under way, and no longer waits");
    for number in 1..=ALERTS_MAX + 3 {
        webhook.alert(numbered(number));
    }
    for _ in 0..3 {
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Dropped);
    }
    permit.notify_one();
    for _ in 0..=ALERTS_MAX {
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Delivered);
    }
    let expected: Vec<String> = (4..=ALERTS_MAX + 3).map(|number| number.to_string()).collect();
    assert_eq!(receiver.counts(ALERTS_MAX).await, expected);
    assert_eq!((webhook.close(LONG).await, outcomes.try_recv().is_err()), (0, true));
}

#[tokio::test]
async fn what_waits_at_the_end_is_told_and_nothing_more_is_taken() {
    let permit = Arc::new(Notify::new());
    let mut receiver = Receiver::start(vec![Reply::Held(Arc::clone(&permit)), Reply::Status(200)]).await;
    let (webhook, mut outcomes) = plain(&receiver.address);
    (1..=3).for_each(|number| webhook.alert(numbered(number)));
    assert_eq!(receiver.counts(1).await, ["1"]);
    let close = async {
        let left = webhook.close(LONG).await;
        webhook.alert(numbered(4));
        left
    };
    let release = async { permit.notify_one() };
    assert_eq!(tokio::join!(close, release).0, 0);
    assert_eq!(receiver.counts(2).await, ["2", "3"]);
    for expected in [AlertOutcome::Delivered, AlertOutcome::Delivered, AlertOutcome::Delivered, AlertOutcome::Dropped] {
        assert_eq!(outcome(&mut outcomes).await, expected);
    }
}

#[tokio::test]
async fn the_end_waits_neither_for_a_webhook_that_hangs_nor_for_one_that_fails() {
    let mut receiver = Receiver::start(vec![Reply::Silence]).await;
    let (webhook, mut outcomes) = plain(&receiver.address);
    (1..=3).for_each(|number| webhook.alert(numbered(number)));
    assert_eq!(receiver.counts(1).await, ["1"]);
    assert_eq!(webhook.close(Duration::from_millis(50)).await, 3);
    for _ in 0..3 {
        assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Failed);
    }

    let permit = Arc::new(Notify::new());
    let mut receiver = Receiver::start(vec![Reply::Held(Arc::clone(&permit)), Reply::Status(500)]).await;
    let (webhook, _outcomes) = plain(&receiver.address);
    (1..=4).for_each(|number| webhook.alert(numbered(number)));
    assert_eq!(receiver.counts(1).await, ["1"]);
    let release = async { permit.notify_one() };
    assert_eq!(tokio::join!(webhook.close(LONG), release).0, 2, "all but the one that was tried");
    assert_eq!(receiver.counts(TRIES_MAX).await, ["2"; TRIES_MAX]);
}

#[tokio::test]
async fn a_webhook_with_tls_is_told_if_it_is_who_it_should_be() {
    let certificate = CertificateDer::from_pem_slice(LOCALHOST).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.expect("versions").with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    let tls = TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")));
    let mut receiver = Receiver::listen(vec![Reply::Status(200)], Some(tls)).await;
    let url = format!("https://{}/hook", receiver.address);

    let mut trusted = RootCertStore::empty();
    trusted.add(certificate).expect("a certificate");
    let (trusting, mut outcomes) = webhook(&url, LONG, trusted);
    trusting.alert(numbered(1));
    assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Delivered);
    assert_eq!(receiver.counts(1).await, ["1"]);

    let (distrustful, mut outcomes) = webhook(&url, LONG, RootCertStore::empty());
    distrustful.alert(numbered(2));
    assert_eq!(outcome(&mut outcomes).await, AlertOutcome::Failed);
    assert!(receiver.seen.is_empty(), "nothing was said to a stranger");
}
