//! Keys, roles and tenants over real sockets: two tenants try everything against each other.

#![cfg(test)]

use std::path::Path;
use std::process::Command;

use e2e::{Answer, Http, Program, wait_until};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");

/// Creates a key with these options. Returns its text.
fn key(directory: &Path, options: &[&str]) -> String {
    let file = directory.join("keys.toml").display().to_string();
    let output = Command::new(BINARY)
        .args(["key", "create", "--keys-file", &file])
        .args(options)
        .current_dir(directory)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A client with a key.
struct Owner<'a> {
    http: &'a Http,
    authorization: String,
}

impl<'a> Owner<'a> {
    fn of(http: &'a Http, key: &str) -> Self {
        Self { http, authorization: format!("Bearer {key}") }
    }

    async fn get(&self, path: &str) -> Answer {
        self.http.send("GET", path, &[("authorization", &self.authorization)], "").await
    }

    async fn post(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let path = if body.is_array() { "/api/logs/batch" } else { "/api/logs" };
        let own = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        self.http.send("POST", path, &[&own, headers].concat(), body.to_string()).await
    }

    async fn messages(&self) -> Vec<String> {
        let page = self.get("/api/logs").await.json();
        let message = |event: &Value| event["message"].as_str().map(str::to_owned);
        page["events"].as_array().expect("events").iter().filter_map(message).collect()
    }
}

#[tokio::test]
async fn two_tenants_neither_see_nor_suppress_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let tenant = |name: &str| {
        key(directory.path(), &["--name", name, "--role", "ingest,read,operate", "--source", &format!("{name}-*")])
    };
    let (shop, till) = (tenant("shop"), tenant("till"));
    let admin = key(directory.path(), &["--name", "ops", "--role", "admin"]);
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let (shop, till) = (Owner::of(&program.gateway, &shop), Owner::of(&program.gateway, &till));
    let admin = Owner::of(&program.gateway, &admin);

    // The thief is first, with the id and the Idempotency-Key that the other will use.
    let id = "018d0000-0000-7000-8000-000000000001";
    let event = |source: &str, message: &str| json!({ "eventId": id, "source": source, "level": "ERROR", "message": message, "traceId": "ab".repeat(16) });
    assert_eq!(till.post(&event("till-1", "thief"), &[]).await.status, 202);
    assert_eq!(shop.post(&event("shop-1", "victim"), &[]).await.status, 202);
    let keyed = |source: &str| json!([{ "source": source, "level": "ERROR", "message": format!("keyed {source}") }]);
    let same = [("idempotency-key", "order-1")];
    assert_eq!(till.post(&keyed("till-1"), &same).await.status, 202);
    assert_eq!(shop.post(&keyed("shop-1"), &same).await.status, 202);
    wait_until("all are stored", async || admin.messages().await.len() == 4).await;
    let mut seen = shop.messages().await;
    seen.sort_unstable();
    assert_eq!(seen, ["keyed shop-1", "victim"]);
    // Within a tenant a repeat counts once.
    assert_eq!(shop.post(&event("shop-1", "again"), &[]).await.status, 202);

    // No path shows the other's events.
    assert_eq!(shop.get(&format!("/api/logs/{id}")).await.json()["message"], "victim");
    assert_eq!(till.get(&format!("/api/logs/{id}")).await.json()["message"], "thief");
    let foreign = admin.get("/api/logs?source=till-1").await.json()["events"][0]["eventId"].clone();
    let foreign = foreign.as_str().expect("an id");
    if foreign != id {
        assert_eq!(shop.get(&format!("/api/logs/{foreign}")).await.status, 404);
        assert_eq!(shop.get(&format!("/api/logs/{foreign}/context?scope=all")).await.status, 404);
    }
    for path in [
        "/api/logs?source=till-1",
        "/api/logs?source=till-*",
        "/api/logs?query=message:thief",
        "/api/logs?query=NOT%20source:shop-1%20AND%20NOT%20source:shop-2",
        "/api/logs?traceId=abababababababababababababababab",
        "/api/logs/stats?by=source",
        "/api/logs/values?field=source",
        "/api/logs/fields",
        "/api/logs/export",
        "/api/logs/export?format=csv",
        &format!("/api/logs/{id}/context?scope=all"),
        &format!("/api/logs/{id}/context?scope=traceId"),
    ] {
        let answer = shop.get(path).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert!(!text.contains("till") && !text.contains("thief"), "{path}: {text}");
    }
    // Nobody writes the sources of another, and dead letters are nobody's.
    let refused = shop.post(&event("till-1", "forged"), &[]).await;
    assert_eq!((refused.status, &refused.json()["code"]), (403, &"source_forbidden".into()));
    let mixed = json!([event("till-1", "forged"), { "source": "shop-3", "level": "INFO", "message": "m" }]);
    let mixed = shop.post(&mixed, &[]).await;
    assert_eq!((mixed.status, &mixed.json()["accepted"]), (202, &1.into()));
    assert_eq!(mixed.json()["errors"][0]["code"], "source_forbidden");
    assert_eq!(mixed.json()["errors"][0]["retryable"], false);
    for path in ["/api/dlq", "/api/logs/health"] {
        assert_eq!(shop.get(path).await.json()["code"], "role_missing", "{path}");
        assert_eq!(admin.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn keys_are_required_by_every_role_and_a_revoked_one_is_refused_within_seconds() {
    let directory = tempfile::tempdir().expect("a directory");
    let reader = key(directory.path(), &["--name", "reader", "--role", "read"]);
    let program = Program::start(BINARY, directory.path(), &[]).await;
    for http in [&program.gateway, &program.consumer] {
        let none = http.get("/api/logs").await;
        assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer"));
        assert_eq!(none.json()["code"], "unauthenticated");
        assert_eq!(Owner::of(http, &reader).get("/api/logs").await.status, 200);
        let forbidden = Owner::of(http, &reader).get("/actuator/health").await;
        assert_eq!((forbidden.status, &forbidden.json()["code"]), (403, &"role_missing".into()));
        assert_eq!(http.get("/actuator/health/liveness").await.status, 200);
        let last = if reader.ends_with('A') { 'B' } else { 'A' };
        let wrong = Owner::of(http, &format!("{}{last}", &reader[..reader.len() - 1])).get("/api/logs").await;
        assert_eq!((wrong.status, &wrong.json()["code"]), (401, &"credentials_invalid".into()));
    }
    let event = json!({ "source": "s", "level": "INFO", "message": "m" });
    for http in [&program.gateway, &program.producer] {
        assert_eq!(Owner::of(http, &reader).post(&event, &[]).await.status, 403);
        let header = ("content-type", "application/json");
        assert_eq!(http.send("POST", "/api/logs", &[header], event.to_string()).await.status, 401);
    }
    let file = directory.path().join("keys.toml").display().to_string();
    let revoked = Command::new(BINARY)
        .args(["key", "revoke", &reader[4..12], "--keys-file", &file])
        .current_dir(directory.path())
        .status()
        .expect("the program runs");
    assert!(revoked.success());
    // 429 once this address has failed too often.
    let is_refused = async || {
        let status = Owner::of(&program.gateway, &reader).get("/api/logs").await.status;
        matches!(status, 401 | 429)
    };
    wait_until("it is refused", is_refused).await;
    assert!(program.log().iter().all(|line| !line.contains(&reader[13..])), "no secret is in the log");
}
