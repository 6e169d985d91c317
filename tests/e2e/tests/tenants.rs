//! Keys, roles and tenants over real sockets: two tenants try everything against each other, in one process and on servers.

#![cfg(test)]

use std::time::Instant;

use e2e::keys::{Keyed, KeysFile, secret_of};
use e2e::servers::Servers;
use e2e::{DEADLINE, Http, Process, Program, Tail, wait_until};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// An id that both tenants use.
const ID: &str = "018d0000-0000-7000-8000-000000000001";

/// The keys of two tenants and of someone who sees everything.
struct Keys {
    shop: String,
    till: String,
    admin: String,
}

impl Keys {
    fn create(file: &KeysFile) -> Self {
        let tenant = |name: &str| {
            file.create(&["--name", name, "--role", "ingest,read,operate", "--source", &format!("{name}-*")])
        };
        let admin = file.create(&["--name", "ops", "--role", "admin"]);
        Self { shop: tenant("shop"), till: tenant("till"), admin }
    }

    fn at(&self, http: &Http) -> [Keyed; 3] {
        [&self.shop, &self.till, &self.admin].map(|key| Keyed::new(http, key))
    }
}

/// An event with the id that both tenants use.
fn event(source: &str, message: &str) -> Value {
    json!({
        "eventId": ID, "source": source, "level": "ERROR", "message": message,
        "traceId": "ab".repeat(16), "metadata": { "owner": source },
    })
}

fn keyed(source: &str) -> Value {
    json!([{ "source": source, "level": "ERROR", "message": format!("keyed {source}") }])
}

/// The thief is first, with the id and the `Idempotency-Key` that the other will use. `remembers` says that answers are
/// remembered.
async fn neither_suppresses_the_other([shop, till, admin]: &[Keyed; 3], remembers: bool) {
    // Redis outlives the test.
    let order = format!("order-{}", std::process::id());
    let same_key = [("idempotency-key", order.as_str())];
    assert_eq!(till.post(&event("till-1", "thief"), &[]).await.status, 202);
    assert_eq!(shop.post(&event("shop-1", "victim"), &[]).await.status, 202);
    assert_eq!(till.post(&keyed("till-1"), &same_key).await.status, 202);
    let own = shop.post(&keyed("shop-1"), &same_key).await;
    assert_eq!((own.status, own.header("idempotency-replayed")), (202, ""), "not the answer of another tenant");
    wait_until("all are stored", async || admin.messages().await.len() == 4).await;
    assert_eq!(shop.messages().await, ["keyed shop-1", "victim"]);
    // Within a tenant a repeat counts once.
    assert_eq!(shop.post(&event("shop-1", "again"), &[]).await.status, 202);
    let again = shop.post(&keyed("shop-1"), &same_key).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, if remembers { "true" } else { "" }));
    // The very request of the other is not answered as it was to that one.
    let stolen = shop.post(&keyed("till-1"), &same_key).await;
    assert!(matches!(stolen.status, 400 | 403 | 422), "{} {:?}", stolen.status, stolen.body);
    assert_eq!(stolen.header("idempotency-replayed"), "");
}

/// No path shows the other's events.
async fn neither_sees_the_other([shop, till, admin]: &[Keyed; 3]) {
    assert_eq!(shop.get(&format!("/api/logs/{ID}")).await.json()["message"], "victim");
    assert_eq!(till.get(&format!("/api/logs/{ID}")).await.json()["message"], "thief");
    let found = admin.get("/api/logs?query=message:keyed%20AND%20source:till-1").await.json();
    let foreign = found["events"][0]["eventId"].as_str().expect("an id");
    assert_eq!(shop.get(&format!("/api/logs/{foreign}")).await.status, 404);
    assert_eq!(shop.get(&format!("/api/logs/{foreign}/context?scope=all")).await.status, 404);
    let page = till.get("/api/logs?limit=1").await.json();
    let cursor = page["nextCursor"].as_str().expect("there are more");
    let around = till.get(&format!("/api/logs/{ID}/context?before=0&after=0")).await.json();
    let mut paths: Vec<String> = [
        "/api/logs",
        "/api/logs?source=till-1",
        "/api/logs?source=till-*",
        "/api/logs?query=message:thief",
        "/api/logs?query=NOT%20source:shop-1%20AND%20NOT%20source:shop-2",
        "/api/logs?query=source:till-1%20OR%20source:shop-1",
        "/api/logs?traceId=abababababababababababababababab",
        "/api/logs/stats",
        "/api/logs/stats?by=source",
        "/api/logs/stats?by=owner",
        "/api/logs/stats?from=first&by=source",
        "/api/logs/values?field=source",
        "/api/logs/values?field=owner",
        "/api/logs/fields",
        "/api/logs/export",
        "/api/logs/export?format=csv",
        "/api/logs/export?query=source:till-1",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(["all", "traceId", "source"].map(|scope| format!("/api/logs/{ID}/context?scope={scope}")));
    paths.push(format!("/api/logs?cursor={cursor}"));
    for cursor in ["beforeCursor", "afterCursor"].iter().filter_map(|name| around[*name].as_str()) {
        paths.push(format!("/api/logs?cursor={cursor}"));
    }
    for path in paths {
        // The other asks first, so that an answer that is kept is not this one's.
        till.get(&path).await;
        let answer = shop.get(&path).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert!(!text.contains("till") && !text.contains("thief"), "{path}: {text}");
        if matches!(
            path.as_str(),
            "/api/logs/stats" | "/api/logs/stats?by=source" | "/api/logs/stats?from=first&by=source"
        ) {
            let counts = answer.json()["buckets"].as_array().expect("buckets").iter().map(events_of).sum::<u64>();
            assert_eq!(counts, 2, "{path}: {text}");
        }
    }
    for path in [
        "/api/dlq",
        "/actuator/prometheus",
        "/actuator/metrics",
        "/actuator/metrics/spillway.runtime.workers",
        "/actuator/instance",
    ] {
        is_for_the_administrator(path, shop, admin).await;
    }
}

/// A path that cannot be divided by sources needs a key without `sources`.
async fn is_for_the_administrator(path: &str, shop: &Keyed, admin: &Keyed) {
    let refused = shop.get(path).await;
    assert_eq!((refused.status, &refused.json()["code"]), (403, &"role_missing".into()), "{path}");
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("restricted to some sources"), "{path}: {detail}");
    assert_eq!(admin.get(path).await.status, 200, "{path}");
}

/// The sum of all numbers of a bucket.
fn events_of(bucket: &Value) -> u64 {
    match bucket {
        Value::Number(number) => number.as_u64().unwrap_or_default(),
        Value::Object(members) => {
            let counts = members.iter().filter(|(name, _)| *name != "total").map(|(_, value)| events_of(value));
            counts.sum()
        }
        Value::Array(elements) => elements.iter().map(events_of).sum(),
        _ => 0,
    }
}

/// A tail shows the tenant's own events, also when it resumes where the other's ended.
async fn neither_follows_the_other(http: &Http, [shop, till, _]: &[Keyed; 3]) {
    let from_the_start = |owner: &Keyed, last: &str| {
        let (http, authorization) = (http.clone(), owner.header().1.to_owned());
        let last = last.to_owned();
        async move { Tail::open_with(&http, "", &[("authorization", &authorization), ("last-event-id", &last)]).await }
    };
    let mut theirs = from_the_start(till, "0").await;
    let (last, _) = theirs.event().await;
    for last in ["0", last.as_str()] {
        let mut own = from_the_start(shop, last).await;
        let marker = format!("marker after {last}");
        let marked = json!({ "source": "shop-2", "level": "ERROR", "message": marker });
        let foreign = json!({ "source": "till-2", "level": "ERROR", "message": marker });
        assert_eq!(till.post(&foreign, &[]).await.status, 202);
        assert_eq!(shop.post(&marked, &[]).await.status, 202);
        loop {
            let (_, event) = own.event().await;
            let source = event["source"].as_str().expect("a source");
            assert!(source.starts_with("shop-"), "after {last}: {event}");
            if event["message"] == marker.as_str() {
                break;
            }
        }
    }
}

/// Nobody writes the sources of another.
async fn neither_writes_for_the_other(shop: &Keyed) {
    let refused = shop.post(&event("till-1", "forged"), &[]).await;
    assert_eq!((refused.status, &refused.json()["code"]), (403, &"source_forbidden".into()));
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("till-1")), "{}", refused.json());
    let all = shop.post(&json!([event("till-1", "forged"), event("till-2", "forged")]), &[]).await;
    assert_eq!((all.status, &all.json()["code"]), (403, &"source_forbidden".into()));
    let mixed = json!([event("till-1", "forged"), { "source": "shop-3", "level": "INFO", "message": "m" }]);
    let mixed = shop.post(&mixed, &[]).await;
    assert_eq!((mixed.status, &mixed.json()["accepted"]), (202, &1.into()));
    assert_eq!(mixed.json()["errors"][0]["code"], "source_forbidden");
    assert_eq!(mixed.json()["errors"][0]["retryable"], false);
}

#[tokio::test]
async fn two_tenants_neither_see_nor_suppress_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let keys = Keys::create(&KeysFile::of(BINARY, directory.path()));
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let owners = keys.at(&program.gateway);
    neither_suppresses_the_other(&owners, false).await;
    neither_sees_the_other(&owners).await;
    neither_follows_the_other(&program.gateway, &owners).await;
    neither_writes_for_the_other(&owners[0]).await;
}

/// A key with the role `operate` may change the log filter, unless it is restricted; no filter hides the audit.
#[tokio::test]
async fn nobody_can_switch_the_audit_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let keys = Keys::create(&KeysFile::of(BINARY, directory.path()));
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let [shop, _, admin] = keys.at(&program.gateway);
    let put = async |owner: &Keyed, filter: &str| {
        let path = format!("/actuator/log?filter={filter}");
        program.gateway.send("PUT", &path, &[owner.header(), ("x-spillway", "1")], "").await.status
    };
    assert_eq!(put(&shop, "off").await, 403);
    for filter in ["info,audit=off", "off"] {
        assert_eq!(put(&admin, filter).await, 200, "{filter}");
        let line = format!("query=\"filter={filter}\"");
        wait_until("the change is audited", async || {
            program.log().iter().any(|text| text.contains(&line) && text.contains("principal=ops"))
        })
        .await;
    }
    assert_eq!(shop.get("/api/dlq").await.status, 403);
    wait_until("a refusal is audited", async || program.has_said("GET /api/dlq")).await;
}

/// A connection that holds the table of events: queries wait for it.
async fn held(servers: &Servers) -> PgConnection {
    let mut holder = PgConnection::connect(&servers.postgres).await.expect("PostgreSQL answers");
    for statement in ["BEGIN".to_owned(), format!("LOCK TABLE {}.events IN ACCESS EXCLUSIVE MODE", servers.schema())] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut holder).await.expect("it is held");
    }
    holder
}

/// Lets queries go on once one has waited for so long that its answer is kept.
async fn release(servers: &Servers, mut holder: PgConnection) {
    let mut observer = PgConnection::connect(&servers.postgres).await.expect("PostgreSQL answers");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND query_start < clock_timestamp() - interval '300 milliseconds'";
    let began = Instant::now();
    loop {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut observer).await.expect("an answer");
        if count > 0 {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "no query waits");
    }
    sqlx::query("ROLLBACK").execute(&mut holder).await.expect("it is released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_on_servers_neither_see_nor_suppress_each_other() {
    let Some(servers) = Servers::of_environment() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let file = KeysFile::of(BINARY, directory.path());
    let keys = Keys::create(&file);
    let path = file.path().display().to_string();
    let shared = [("SPILLWAY_AUTH__KEYS_FILE", path.as_str())];
    let variables = servers.variables(&shared);
    let producer = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let consumer = Process::start(BINARY, "consumer", directory.path(), &variables).await;
    let (producers, consumers) = (producer.http("producer"), consumer.http("consumer"));
    let upstreams = [
        shared[0],
        ("SPILLWAY_GATEWAY__PRODUCERS", producers.base()),
        ("SPILLWAY_GATEWAY__CONSUMERS", consumers.base()),
    ];
    let gateway = Process::start(BINARY, "gateway", directory.path(), &upstreams).await;
    let http = gateway.http("gateway");
    let owners = keys.at(&http);
    neither_suppresses_the_other(&owners, true).await;
    neither_sees_the_other(&owners).await;
    is_for_the_administrator("/api/logs/health", &owners[0], &owners[2]).await;

    // Answers that took long are kept in Redis.
    let [shop, till, admin] = &owners;
    for path in ["/api/logs?", "/api/logs/stats?by=source&", "/api/logs/values?field=source&", "/api/logs/fields?"] {
        // Asked nowhere else, so that it is not kept already.
        let path = format!("{path}level=ERROR");
        for other in [till, admin] {
            let holder = held(&servers).await;
            let (answer, ()) = tokio::join!(other.get(&path), release(&servers, holder));
            assert_eq!(answer.status, 200, "{path}");
            let text = String::from_utf8_lossy(&shop.get(&path).await.body).into_owned();
            assert!(!text.contains("till") && !text.contains("thief"), "{path}: {text}");
        }
    }
    // The same at the roles themselves: each judges by the same keys.
    let direct = keys.at(&consumers);
    neither_sees_the_other(&direct).await;
    neither_follows_the_other(&http, &owners).await;
    neither_writes_for_the_other(&owners[0]).await;
}

#[tokio::test]
async fn keys_are_required_by_every_role_and_a_revoked_one_is_refused_within_seconds() {
    let directory = tempfile::tempdir().expect("a directory");
    let keys = KeysFile::of(BINARY, directory.path());
    let reader = keys.create(&["--name", "reader", "--role", "read"]);
    let program = Program::start(BINARY, directory.path(), &[]).await;
    for http in [&program.gateway, &program.consumer] {
        let none = http.get("/api/logs").await;
        assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer"));
        assert_eq!(none.json()["code"], "unauthenticated");
        assert_eq!(Keyed::new(http, &reader).get("/api/logs").await.status, 200);
        let forbidden = Keyed::new(http, &reader).get("/actuator/health").await;
        assert_eq!((forbidden.status, &forbidden.json()["code"]), (403, &"role_missing".into()));
        assert_eq!(http.get("/actuator/health/liveness").await.status, 200);
        let last = if reader.ends_with('A') { 'B' } else { 'A' };
        let wrong = Keyed::new(http, &format!("{}{last}", &reader[..reader.len() - 1])).get("/api/logs").await;
        assert_eq!((wrong.status, &wrong.json()["code"]), (401, &"credentials_invalid".into()));
    }
    let event = json!({ "source": "s", "level": "INFO", "message": "m" });
    for http in [&program.gateway, &program.producer] {
        assert_eq!(Keyed::new(http, &reader).post(&event, &[]).await.status, 403);
        let header = ("content-type", "application/json");
        assert_eq!(http.send("POST", "/api/logs", &[header], event.to_string()).await.status, 401);
    }
    let client = Keyed::new(&program.gateway, &reader);
    let mut tail = Tail::open_with(&program.gateway, "", &[client.header()]).await;
    assert!(tail.next().await.is_some(), "it says where it is");
    keys.revoke(&reader);
    // 429 once this address has failed too often.
    let is_refused = async || matches!(client.get("/api/logs").await.status, 401 | 429);
    wait_until("it is refused", is_refused).await;
    let ended = async { while tail.next().await.is_some() {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the tail ends with its key");
    assert!(program.log().iter().all(|line| !line.contains(secret_of(&reader))), "no secret is in the log");
}
