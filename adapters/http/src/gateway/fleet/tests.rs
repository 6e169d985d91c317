//! What becomes of instances that answer, and of those that do not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use application::health::Health;
use domain::ports::Clock;
use poem::endpoint::make_sync;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{EndpointExt, Request, Response};
use poem_openapi::types::ToJSON;
use testkit::clock_at;
use tokio::sync::watch;

use super::*;
use crate::actuator::instance::{InstanceReading, report_of};
use crate::client_address::{TrustedProxies, X_FORWARDED_FOR};
use crate::gateway::{Gateway, Upstream};
use crate::server::{Answered, Server, ServerOptions};

/// An instance that answers each request like this. It stops when the sender is dropped.
async fn instance(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> (String, watch::Sender<bool>) {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(any_port, ServerOptions::default()).await.expect("an address");
    let url = format!("http://{}", server.address().expect("its address"));
    let endpoint = make_sync(move |request: Request| answer(&request));
    let service = server.service(endpoint.map_to_response(), Arc::new(|_: Answered| {}));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(service, stopped));
    (url, stop)
}

/// The URL of an address where nobody listens.
fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("its address"))
}

async fn report() -> String {
    let started = clock_at("2024-01-15T10:30:00Z").now();
    let read = move || InstanceReading::at(started);
    report_of("producer", started, &Health::default(), &read).await.0.to_json_string()
}

fn gateway(producers: &[&str], consumers: &[&str]) -> Gateway {
    let upstream = |urls: &[&str]| Upstream::Instances(urls.iter().map(|url| url.parse().expect("a URL")).collect());
    Gateway::new(upstream(producers), upstream(consumers), TrustedProxies::default(), None)
}

fn json(body: &str) -> Response {
    Response::builder().content_type("application/json").body(body.to_owned())
}

#[tokio::test]
async fn an_instance_that_does_not_answer_is_listed_and_fails_nothing() {
    let text = report().await;
    let (healthy, _one) = instance(move |_| json(&text)).await;
    let (strange, _two) = instance(|_| json("{\"role\":1}")).await;
    let (endless, _three) = instance(|_| json(&format!("{{\"role\":\"{}\"}}", "x".repeat(200_000)))).await;
    let (older, _four) = instance(|_| Response::builder().status(StatusCode::NOT_FOUND).finish()).await;
    let dead = dead_url();
    let gateway = gateway(&[&healthy, &dead, &strange], &[&endless, &older, "http://no-such-host.invalid:8082"]);
    let peer = [127, 0, 0, 1].into();
    let Answers { instances, left_out, .. } = gateway.reports(&HeaderMap::new(), peer).await;
    let found: Vec<_> = instances
        .iter()
        .map(|of| (of.role.as_str(), of.status.as_str(), of.url.as_deref(), of.problem.as_deref().unwrap_or_default()))
        .collect();
    let nobody = "nobody listens there: check whether the instance runs";
    let not_understood = "its answer is not understood: check whether it runs the same version";
    let no_address = "no address of its own is known for its name: check the name, and whether the instance runs";
    let not_found = "it answers with 404 Not Found: check whether it runs the same version";
    let expected = [
        ("producer", "UP", Some(healthy.as_str()), ""),
        ("producer", "UNREACHABLE", Some(dead.as_str()), nobody),
        ("producer", "UNREACHABLE", Some(strange.as_str()), not_understood),
        ("consumer", "UNREACHABLE", Some(endless.as_str()), "its answer is longer than 128 KiB"),
        ("consumer", "UNREACHABLE", Some(older.as_str()), not_found),
        ("consumer", "UNREACHABLE", Some("http://no-such-host.invalid:8082"), no_address),
    ];
    assert_eq!(found, expected);
    assert_eq!(left_out, 0);
}

#[tokio::test]
async fn an_instance_is_asked_with_the_credentials_of_the_request_and_nothing_else_of_it() {
    let text = report().await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let (url, _stop) = instance(move |request| {
        let path = request.uri().path().to_owned();
        noted.lock().expect("lock").push((path, request.headers().clone()));
        json(&text)
    })
    .await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Bearer a"),
        ("x-api-key", "b"),
        ("cookie", "spillway=c"),
        ("x-forwarded-for", "198.51.100.1"),
        ("if-none-match", "*"),
        ("accept-encoding", "gzip"),
        ("content-length", "7"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    gateway(&[&url], &[]).reports(&headers, [192, 0, 2, 1].into()).await;
    let seen = seen.lock().expect("lock");
    let [(path, asked)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(path, "/actuator/instance");
    assert_eq!(asked.get(header::AUTHORIZATION), Some(&HeaderValue::from_static("Bearer a")));
    assert_eq!(asked.get(header::COOKIE), Some(&HeaderValue::from_static("spillway=c")));
    assert_eq!(asked.get("x-api-key"), Some(&HeaderValue::from_static("b")));
    assert_eq!(asked.get(X_FORWARDED_FOR), Some(&HeaderValue::from_static("192.0.2.1")), "the proxy is not trusted");
    for name in [header::IF_NONE_MATCH, header::ACCEPT_ENCODING, header::CONTENT_LENGTH] {
        assert!(!asked.contains_key(&name), "{name}");
    }
}

fn answers(refused: bool) -> Answers {
    Answers { left_out: 7, refused, ..Answers::default() }
}

#[tokio::test(start_paused = true)]
async fn instances_are_asked_once_a_second_for_all_requests() {
    let (reports, asked, headers) = (Reports::default(), AtomicUsize::new(0), HeaderMap::new());
    let ask = || async {
        asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        answers(false)
    };
    let (one, other, third) =
        tokio::join!(reports.get(&headers, ask), reports.get(&headers, ask), reports.get(&headers, ask));
    assert_eq!((one.left_out, other.left_out, third.left_out), (7, 7, 7));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::advance(KEPT_FOR - Duration::from_millis(1)).await;
    reports.get(&headers, ask).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    reports.get(&headers, ask).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// The headers of a request with this key.
fn with_key(key: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(key).expect("a header"))])
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_to_one_request_is_kept_for_others_with_its_credentials_only() {
    let (reports, asked) = (Reports::default(), AtomicUsize::new(0));
    let ask = async |key: &str, refused: bool| {
        let answer = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            answers(refused)
        };
        reports.get(&with_key(key), answer).await.refused
    };
    assert!(ask("a", true).await && ask("a", true).await);
    assert_eq!(asked.load(Ordering::Relaxed), 1, "once a second, also if it is refused");
    assert!(ask("b", true).await);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    tokio::time::advance(KEPT_FOR).await;
    assert!(ask("a", true).await);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(!ask("b", false).await);
    assert!(!ask("a", true).await, "what all instances answered counts for all");
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn the_answers_that_are_kept_have_a_bound() {
    let reports = Reports::default();
    for key in 0..2 * REFUSED_MAX {
        reports.get(&with_key(&key.to_string()), || async { answers(true) }).await;
    }
    assert_eq!(reports.kept.lock().await.refused.len(), REFUSED_MAX);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_it_asks_leaves_nothing_behind() {
    let reports = Reports::default();
    let headers = HeaderMap::new();
    let asking = reports.get(&headers, || async {
        std::future::pending::<()>().await;
        answers(true)
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
    assert!(!reports.get(&headers, || async { answers(false) }).await.refused);
}

#[tokio::test]
async fn at_most_so_many_instances_are_asked() {
    let known = |number: usize| Known::Unresolved("consumer", format!("http://consumer-{number}:8082"));
    let forwarder = Arc::new(Forwarder::new(TrustedProxies::default(), None));
    let many = (0..INSTANCES_MAX + 5).map(known).collect();
    let Answers { instances, left_out, .. } = ask_all(&forwarder, HeaderMap::new(), many).await;
    assert_eq!((instances.len(), left_out), (INSTANCES_MAX, 5));
    let urls: Vec<_> = instances.iter().filter_map(|instance| instance.url.clone()).collect();
    let expected: Vec<_> = (0..INSTANCES_MAX).map(|number| format!("http://consumer-{number}:8082")).collect();
    assert_eq!(urls, expected, "in the order in which they are known");
}
