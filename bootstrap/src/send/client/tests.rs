//! Tests of the client against a server with scripted replies.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::send::answer::OUTCOME_UNKNOWN;
use crate::send::pending::Place;
use crate::send::scripted_server::{Reply, ScriptedServer};

/// Simulated time; records all waits.
#[derive(Default)]
struct Recorded(Vec<(Duration, Pause)>);

impl Waiting for Recorded {
    fn now(&self) -> Duration {
        self.0.iter().map(|(duration, _)| *duration).sum()
    }

    async fn wait(&mut self, duration: Duration, pause: &Pause) {
        self.0.push((duration, pause.clone()));
    }
}

impl Recorded {
    fn millis(&self) -> Vec<u128> {
        self.0.iter().map(|(duration, _)| duration.as_millis()).collect()
    }
}

fn events(names: &str) -> Vec<Pending> {
    let event = |(index, name): (usize, char)| Pending {
        json: name.to_string(),
        place: Place { file: "a.log".into(), line: index as u64 + 1 },
        in_doubt: false,
    };
    names.chars().enumerate().map(event).collect()
}

fn accepted(count: usize, errors: &str) -> Reply {
    let failed = errors.matches("index").count();
    Reply::new(
        202,
        format!(
            r#"{{"accepted":{count},"failed":{failed},"timestamp":"2024-01-15T10:30:00Z","durability":{{"acknowledged":0,"journaled":0,"buffered":{count}}},"errors":[{errors}]}}"#
        ),
    )
}

fn error(index: usize, retryable: bool) -> String {
    format!(r#"{{"index":{index},"code":"c{index}","detail":"d{index}","retryable":{retryable}}}"#)
}

fn problem(status: u16, errors: &str) -> Reply {
    Reply::new(
        status,
        format!(r#"{{"type":"about:blank","status":{status},"detail":"too bad","code":"bad","errors":[{errors}]}}"#),
    )
}

fn client(url: &str, give_up_after: Option<Duration>) -> Client {
    Client::new(url.parse().unwrap(), HeaderMap::new(), give_up_after, &HttpsFiles::default()).unwrap()
}

struct Delivery {
    result: Result<(), Stopped>,
    tally: Tally,
    waited: Recorded,
    requests: Vec<String>,
}

/// Delivers events `a`, `b`, … to a server that sends these replies, one per request.
async fn deliver(names: &str, replies: Vec<Reply>) -> Delivery {
    let server = ScriptedServer::start(replies).await;
    let client = client(&server.url(), Some(Duration::from_secs(60)));
    let (mut tally, mut waited) = (Tally::default(), Recorded::default());
    let result = client.deliver(events(names), &mut tally, &mut waited).await;
    let requests = server.requests().into_iter().map(|body| body.replace('\n', "")).collect();
    Delivery { result, tally, waited, requests }
}

#[tokio::test]
async fn after_a_rate_limit_it_waits_as_long_as_the_server_says() {
    let too_fast = || problem(429, "").retry_after(7);
    let delivery = deliver("ab", vec![too_fast(), problem(503, "").retry_after(900), accepted(2, "")]).await;
    assert_eq!(delivery.result, Ok(()));
    assert_eq!((delivery.tally.accepted, delivery.tally.durability.buffered), (2, 2));
    assert_eq!(delivery.waited.millis(), [7_000, 53_000], "the second one is cut at the moment to give up");
    assert_eq!(delivery.waited.0[0].1.reason, "too bad");
    assert_eq!(delivery.requests, ["ab", "ab", "ab"]);
}

#[tokio::test]
async fn a_retryable_refusal_is_sent_again_and_a_final_one_is_not() {
    let errors = [error(1, true), error(2, false)].join(",");
    let delivery = deliver("abcd", vec![accepted(2, &errors), accepted(1, "")]).await;
    assert_eq!(delivery.result, Ok(()));
    assert_eq!(delivery.tally.accepted, 3);
    assert_eq!(delivery.tally.first_refusals, ["a.log:3 c2: d2"]);
    assert_eq!((delivery.requests, delivery.waited.millis()), (vec!["abcd".to_owned(), "b".to_owned()], vec![100]));
}

#[tokio::test]
async fn after_a_problem_that_names_its_events_the_others_are_sent_again() {
    let delivery = deliver("abc", vec![problem(400, &error(1, false)), accepted(2, "")]).await;
    assert_eq!((delivery.tally.accepted, delivery.tally.refused_total()), (2, 1));
    assert_eq!(delivery.requests, ["abc", "ac"]);
}

#[tokio::test]
async fn a_batch_refused_as_a_whole_is_halved_until_the_bad_event_is_alone() {
    let bad = || problem(413, "");
    let delivery =
        deliver("abcde", vec![bad(), accepted(2, ""), bad(), accepted(1, ""), bad(), bad(), accepted(1, "")]);
    let delivery = delivery.await;
    assert_eq!(delivery.requests, ["abcde", "ab", "cde", "c", "de", "d", "e"]);
    assert_eq!((delivery.tally.accepted, delivery.tally.first_refusals), (4, vec!["a.log:4 bad: too bad".to_owned()]));
    assert!(delivery.waited.0.is_empty());
}

#[tokio::test]
async fn a_server_gets_the_same_events_after_an_outage() {
    let replies =
        vec![Reply::HangUp, Reply::HangUp, problem(502, ""), Reply::new(202, "{}".to_owned()), accepted(2, "")];
    let delivery = deliver("ab", replies).await;
    assert_eq!((delivery.result, delivery.tally.accepted), (Ok(()), 2));
    assert_eq!(delivery.waited.millis(), [100, 200, 400, 800]);
    let away: Vec<bool> = delivery.waited.0.iter().map(|(_, pause)| pause.away).collect();
    assert_eq!(away, [true, true, false, false]);
}

#[tokio::test]
async fn without_progress_it_stops_and_says_why() {
    let client = client("http://127.0.0.1:1", Some(Duration::from_secs(5)));
    let (mut tally, mut waited) = (Tally::default(), Recorded::default());
    let stopped = client.deliver(events("ab"), &mut tally, &mut waited).await.unwrap_err();
    let reason = "no progress for 5 s: cannot reach http://127.0.0.1:1: connection refused; start it, or name another one \
                  with --url";
    assert_eq!(stopped.0, reason);
    assert_eq!(waited.millis(), [100, 200, 400, 800, 1_600, 1_900]);
    assert_eq!((tally.accepted, tally.refused_total(), tally.in_doubt()), (0, 0, 0));
}

#[tokio::test]
async fn with_keep_trying_it_outlasts_any_outage() {
    let server = ScriptedServer::start([vec![Reply::HangUp; 20], vec![accepted(1, "")]].concat()).await;
    let client = client(&server.url(), None);
    let (mut tally, mut waited) = (Tally::default(), Recorded::default());
    assert_eq!(client.deliver(events("a"), &mut tally, &mut waited).await, Ok(()));
    assert!(waited.now() > Duration::from_secs(120) && tally.in_doubt() == 0);
}

/// How many of the events `a` and `b` are in doubt after these replies and then a 404.
async fn in_doubt_after(mut replies: Vec<Reply>) -> u64 {
    replies.push(Reply::new(404, String::new()));
    let delivery = deliver("ab", replies).await;
    assert!(delivery.result.is_err());
    assert_eq!((delivery.tally.accepted, delivery.tally.refused_total()), (0, 0));
    delivery.tally.in_doubt()
}

#[tokio::test]
async fn events_are_in_doubt_only_after_a_request_with_an_unknown_outcome() {
    for status in [408, 500, 502, 504, 200] {
        assert_eq!(in_doubt_after(vec![problem(status, "")]).await, 2, "{status}");
    }
    for status in [429, 503] {
        assert_eq!(in_doubt_after(vec![problem(status, "")]).await, 0, "{status}");
    }
    assert_eq!(in_doubt_after(vec![Reply::HangUp, Reply::HangUp]).await, 2);
    assert_eq!(in_doubt_after(vec![accepted(7, "")]).await, 2);
    assert_eq!(in_doubt_after(vec![problem(504, ""), problem(503, "")]).await, 2, "a doubt stays");
    let unknown = error(1, true).replace("c1", OUTCOME_UNKNOWN);
    assert_eq!(in_doubt_after(vec![problem(422, &unknown)]).await, 1);
}

#[tokio::test]
async fn a_doubt_ends_when_the_event_is_accepted_or_refused() {
    let delivery = deliver("ab", vec![Reply::HangUp, accepted(1, &error(1, false))]).await;
    assert_eq!((delivery.tally.accepted, delivery.tally.refused_total(), delivery.tally.in_doubt()), (1, 1, 0));
    let delivery = deliver("a", vec![problem(504, ""), problem(413, "")]).await;
    assert_eq!((delivery.tally.refused_total(), delivery.tally.in_doubt()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_awaited_no_longer_than_the_time_to_give_up() {
    let server = ScriptedServer::start(vec![Reply::Silence]).await;
    let client = client(&server.url(), Some(Duration::from_secs(7)));
    let (sent, start) = (Arc::default(), tokio::time::Instant::now());
    let answer = client.post(&events("a"), &sent).await;
    let Answer::Later { pause, unknown: true } = answer else { panic!("{answer:?}") };
    assert!(pause.reason.ends_with("no answer in time"), "{pause:?}");
    assert!(sent.load(Ordering::Relaxed) && start.elapsed() == Duration::from_secs(7));
    for (seconds, timeout) in [(Some(0), 1), (Some(39), 39), (Some(41), 40), (None, 40)] {
        let client = self::client(&server.url(), seconds.map(Duration::from_secs));
        assert_eq!(client.answer_timeout(), Duration::from_secs(timeout));
    }
}

#[tokio::test]
async fn progress_restarts_the_time_to_give_up() {
    let slow = |reply| vec![problem(503, "").retry_after(50), reply];
    let replies = [slow(accepted(1, &error(1, true))), slow(accepted(1, ""))].concat();
    let delivery = deliver("ab", replies).await;
    assert_eq!((delivery.result, delivery.waited.millis()), (Ok(()), vec![50_000, 100, 50_000]));
}

#[tokio::test]
async fn it_stops_at_once_at_a_server_other_than_spillway() {
    let delivery = deliver("ab", vec![Reply::new(404, "<html>".to_owned())]).await;
    let reason = "the server takes no events here (404 Not Found): 404 Not Found; check the URL in --url";
    assert_eq!(delivery.result, Err(Stopped(reason.to_owned())));
    assert_eq!(delivery.tally.refused_total(), 0);
}

#[tokio::test]
async fn requests_have_the_headers_of_the_options_and_of_the_url() {
    let with_user = |server: &ScriptedServer| server.url().replacen("//", "//user:p@", 1).parse().unwrap();
    let mut login = HeaderMap::new();
    login.append("x-tenant", HeaderValue::from_static("one"));
    login.append("x-tenant", HeaderValue::from_static("two"));
    let mut token = HeaderMap::new();
    token.append("authorization", HeaderValue::from_static("Bearer t"));
    for (extra, expected) in [
        (login, vec!["authorization: Basic dXNlcjpw", "x-tenant: one", "x-tenant: two"]),
        (token, vec!["authorization: Bearer t"]),
    ] {
        let server = ScriptedServer::start(vec![accepted(1, "")]).await;
        let client =
            Client::new(with_user(&server), extra, Some(Duration::from_secs(60)), &HttpsFiles::default()).unwrap();
        let (mut tally, mut waited) = (Tally::default(), Recorded::default());
        assert_eq!(client.deliver(events("a"), &mut tally, &mut waited).await, Ok(()));
        let heads = server.heads();
        let is_header = |line: &&str| line.starts_with("authorization:") || line.starts_with("x-tenant:");
        assert_eq!(heads[0].lines().filter(is_header).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn https_to_a_port_without_tls_stops_at_once_and_says_what_to_write() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // The connection stays open until the client has read that.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/../adapters/webhook/tests/localhost.pem");
    let files = HttpsFiles { ca: Some(ca.into()), client: None };
    let client = Client::new(url.parse().unwrap(), HeaderMap::new(), None, &files).unwrap();
    let (mut tally, mut waited) = (Tally::default(), Recorded::default());
    let stopped = client.deliver(events("a"), &mut tally, &mut waited).await.unwrap_err();
    assert!(stopped.0.contains("it does not speak TLS at this port; write http://"), "{stopped}");
    assert!(waited.0.is_empty() && tally.in_doubt() == 0);
}

#[tokio::test]
async fn http_to_a_port_with_tls_stops_at_once_and_says_what_to_write() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // It answers once the request begins.
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.unwrap();
        // The alert `decode_error`.
        stream.write_all(&[21, 3, 3, 0, 2, 2, 50]).await.unwrap();
        // The connection stays open until the client has read that.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let client = client(&url, None);
    let (mut tally, mut waited) = (Tally::default(), Recorded::default());
    let stopped = client.deliver(events("a"), &mut tally, &mut waited).await.unwrap_err();
    assert!(stopped.0.contains("if it speaks TLS, write https:// instead of http://"), "{stopped}");
    assert!(waited.0.is_empty());
}

#[tokio::test]
async fn an_https_target_is_not_sent_to_in_the_clear() {
    let server = ScriptedServer::start(vec![accepted(1, "")]).await;
    let client = Client::new(
        server.url().replacen("http", "https", 1).parse().unwrap(),
        HeaderMap::new(),
        Some(Duration::ZERO),
        &HttpsFiles::default(),
    );
    // A machine without certificates of authorities says so instead.
    if let Ok(client) = client {
        let (mut tally, mut waited) = (Tally::default(), Recorded::default());
        let stopped = client.deliver(events("a"), &mut tally, &mut waited).await.unwrap_err();
        assert!(stopped.0.contains("cannot reach https://127.0.0.1:"), "{stopped}");
        assert!(server.requests().is_empty() && tally.in_doubt() == 0);
    }
}
