//! What the console needs of the server: its files, the state of all processes, and answers that no cache keeps.

#![cfg(test)]

use std::path::Path;
use std::process::Command;

use bootstrap::settings::{List, Settings};
use bootstrap::{App, Role};
use e2e::{Answer, Http, Program, dead_address, wait_until};
use serde_json::{Value, json};
use tokio::sync::oneshot;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"s","level":"ERROR","message":"m"}"#;
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

/// Settings of a gateway in front of these producers and consumers.
fn gateway_settings(producers: &[&str], consumers: &[&str]) -> Settings {
    let urls = |urls: &[&str]| List(urls.iter().map(|url| url.parse().expect("a URL")).collect());
    let mut settings = Settings::default();
    settings.gateway.listen = "127.0.0.1:0".parse().expect("an address");
    settings.gateway.producers = urls(producers);
    settings.gateway.consumers = urls(consumers);
    settings
}

/// A gateway in this process; it stops when the sender is dropped.
async fn gateway(settings: &Settings) -> (Http, oneshot::Sender<()>) {
    let app = App::build(Role::Gateway, settings).await.expect("a gateway");
    let http = Http::to(app.addresses().gateway.expect("its address"));
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    (http, stop)
}

async fn program(variables: &[(&str, &str)]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (Program::start(BINARY, directory.path(), variables).await, directory)
}

#[tokio::test]
async fn the_gateway_serves_the_console_and_a_browser_asks_whether_its_copy_is_current() {
    let (program, _directory) = program(&[]).await;
    let page = program.gateway.get("/console/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    let etag = page.header("etag");
    let again = program.gateway.send("GET", "/console/", &[("if-none-match", etag)], "").await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, etag));
    let head = program.gateway.send("HEAD", "/console/", &[], "").await;
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, etag));
    let redirect = program.gateway.get("/console?query=a").await;
    assert_eq!((redirect.status, redirect.header("location")), (307, "/console/?query=a"));
    for nothing in ["/console/explore", "/console/../index.html", "/console/%69ndex.html"] {
        assert_eq!(program.gateway.get(nothing).await.status, 404, "{nothing}");
    }
    let rebound = program.gateway.send("GET", "/console/", &[("host", "evil.test")], "").await;
    assert_eq!(rebound.status, 403, "the rules for host names hold for the console");
    for role in [&program.producer, &program.consumer] {
        assert_eq!(role.get("/console/").await.status, 404);
        assert_eq!(role.get("/actuator/fleet").await.status, 404);
    }
}

#[tokio::test]
async fn without_the_console_a_browser_gets_the_documentation() {
    let (program, _directory) = program(&[("SPILLWAY_CONSOLE", "false")]).await;
    for path in ["/console", "/console/", "/console/index.html"] {
        assert_eq!(program.gateway.get(path).await.status, 404, "{path}");
    }
    let home = program.gateway.send("GET", "/", &[("accept", "text/html")], "").await;
    assert_eq!((home.status, home.header("location")), (307, "/swagger-ui"));
    assert_eq!(program.gateway.get("/actuator/fleet").await.status, 200);
}

#[tokio::test]
async fn no_cache_keeps_an_answer_of_the_api() {
    let (program, _directory) = program(&[]).await;
    assert_eq!(program.gateway.post("/api/logs", EVENT).await.header("cache-control"), "no-store");
    assert_eq!(program.gateway.post("/api/logs", "{").await.header("cache-control"), "no-store");
    for http in [&program.gateway, &program.consumer] {
        for path in
            ["/api/logs", "/api/logs/none", "/api/logs?limit=-1", "/api/session", "/actuator/health", "/nothing"]
        {
            let answer = http.get(path).await;
            assert_eq!(answer.header("cache-control"), "no-store", "{path}: {}", answer.status);
        }
    }
}

/// The only instance of a process with all roles.
async fn own_report(http: &Http) -> Value {
    let fleet = http.get("/actuator/fleet").await;
    assert_eq!(fleet.status, 200);
    let mut fleet = fleet.json();
    assert_eq!(fleet["instances"].as_array().map(Vec::len), Some(1), "{fleet}");
    fleet["instances"][0].take()
}

#[tokio::test]
async fn a_process_with_all_roles_tells_what_each_of_them_does() {
    let (program, _directory) = program(&[]).await;
    for _ in 0..3 {
        assert_eq!(program.gateway.post("/api/logs", EVENT).await.status, 202);
    }
    assert_eq!(program.gateway.post("/api/logs", r#"{"source":"s","level":"LOUD","message":"m"}"#).await.status, 400);
    let complete = async || {
        let report = own_report(&program.gateway).await["report"].take();
        report["consumer"]["stored"] == 3 && report["consumer"]["lagRecords"] == 0 && report["rateSeconds"].is_number()
    };
    wait_until("all are stored, and there are rates", complete).await;
    let own = own_report(&program.gateway).await;
    assert_eq!((&own["role"], &own["status"]), (&"all".into(), &"UP".into()));
    assert_eq!(own["address"], program.gateway.address().to_string());
    let report = &own["report"];
    assert_eq!((&report["ready"], &report["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(report["components"]["store"], json!({ "status": "UP" }));
    assert_eq!((&report["alerts"], &report["alertsLeftOut"]), (&json!([]), &0.into()));
    let producer = &report["producer"];
    assert_eq!(
        (&producer["accepted"], &producer["refused"], &producer["published"], &producer["lost"]),
        (&3.into(), &1.into(), &3.into(), &0.into())
    );
    assert_eq!(
        (&producer["bus"], &producer["breakers"], &producer["ready"]),
        (&"embedded".into(), &json!([]), &true.into())
    );
    assert!(producer.get("journal").is_none() && producer.get("outage").is_none(), "{producer}");
    assert_eq!((&report["consumer"]["lagRecords"], &report["consumer"]["deadLetters"]), (&0.into(), &0.into()));
    for (part, rate) in
        [("gateway", "requestsPerSecond"), ("producer", "acceptedPerSecond"), ("consumer", "storedPerSecond")]
    {
        assert!(report[part][rate].as_f64().is_some_and(|rate| rate >= 0.0), "{part}: {report}");
    }
    // The same without the gateway.
    let alone = program.consumer.get("/actuator/instance").await.json();
    assert_eq!((&alone["role"], &alone["consumer"]["stored"]), (&"all".into(), &3.into()));
}

#[tokio::test]
async fn a_gateway_tells_about_all_instances_and_lists_one_that_is_gone() {
    let (program, _directory) = program(&[]).await;
    let dead = format!("http://{}", dead_address());
    let (gateway, _stop) =
        gateway(&gateway_settings(&[program.producer.base()], &[program.consumer.base(), &dead])).await;
    let fleet = async || gateway.get("/actuator/fleet").await.json();
    let ejected = async || {
        let instances = fleet().await["instances"].take();
        let mut instances = instances.as_array().expect("instances").iter();
        instances.any(|instance| instance["url"] == dead && instance["routing"]["state"] == "ejected")
    };
    wait_until("the instance that is gone is ejected", ejected).await;
    let fleet = fleet().await;
    let found = |url: &str| {
        let instances = fleet["instances"].as_array().expect("instances");
        instances.iter().find(|instance| instance["url"] == url).cloned().unwrap_or_default()
    };
    assert_eq!((&fleet["instances"][0]["role"], fleet["instances"][0].get("url")), (&"gateway".into(), None));
    assert!(fleet["instances"][0]["report"]["gateway"].is_object(), "{fleet}");
    assert_eq!(fleet["instances"].as_array().map(Vec::len), Some(4));
    for (url, role) in [(program.producer.base(), "producer"), (program.consumer.base(), "consumer")] {
        let instance = found(url);
        assert_eq!((&instance["role"], &instance["status"]), (&role.into(), &"UP".into()), "{instance}");
        assert_eq!(instance["routing"]["state"], "available");
        assert!(instance["report"][role].is_object(), "{instance}");
    }
    let gone = found(&dead);
    assert_eq!((&gone["role"], &gone["status"]), (&"consumer".into(), &"UNREACHABLE".into()));
    assert_eq!((gone.get("report"), gone["problem"].is_string()), (None, true), "{gone}");
}

/// Creates a key with this name, this role and further options. Returns its text.
fn key(directory: &Path, name: &str, role: &str, more: &[&str]) -> String {
    let file = directory.join("keys.toml").display().to_string();
    let output = Command::new(BINARY)
        .args(["key", "create", "--keys-file", &file, "--name", name, "--role", role])
        .args(more)
        .current_dir(directory)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

async fn get_with(http: &Http, path: &str, key: &str) -> Answer {
    http.send("GET", path, &[("authorization", &format!("Bearer {key}"))], "").await
}

#[tokio::test]
async fn with_keys_the_page_is_open_and_what_it_shows_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let of_role = |role| key(directory.path(), role, role, &[]);
    let (reader, operator) = (of_role("read"), of_role("operate"));
    let restricted = key(directory.path(), "restricted", "operate", &["--source", "shop-*"]);
    let keys_file = directory.path().join("keys.toml").display().to_string();
    let data_dir = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, data_dir.path(), &[("SPILLWAY_AUTH__KEYS_FILE", &keys_file)]).await;
    // A gateway of its own with the same keys: it asks its instances with the key of the request.
    let mut settings = gateway_settings(&[program.producer.base()], &[program.consumer.base()]);
    settings.auth.keys_file = keys_file.into();
    let (gateway, _stop) = gateway(&settings).await;
    for http in [&program.gateway, &gateway] {
        assert_eq!(http.get("/console/").await.status, 200);
        assert_eq!(http.get("/api/session").await.json()["authentication"], "keys");
        for path in ["/actuator/fleet", "/actuator/instance"] {
            assert_eq!(http.get(path).await.status, 401, "{path}");
            assert_eq!(get_with(http, path, &reader).await.status, 403, "{path}");
            assert_eq!(get_with(http, path, &restricted).await.status, 403, "{path} shows all sources");
            assert_eq!(get_with(http, path, &operator).await.status, 200, "{path}");
        }
    }
    let are_up = async || {
        let fleet = get_with(&gateway, "/actuator/fleet", &operator).await.json();
        let instances = fleet["instances"].as_array().expect("instances");
        instances.len() == 3 && instances.iter().all(|instance| instance["status"] == "UP")
    };
    wait_until("the gateway knows its instances, and they report", are_up).await;

    // A session, as the page begins it.
    assert_eq!(
        program.gateway.get("/api/session").await.json(),
        json!({ "authentication": "keys", "signIn": "possible" })
    );
    let authorization = format!("Bearer {operator}");
    let begun = program.gateway.send("POST", "/api/session", &[("authorization", &authorization)], "").await;
    assert_eq!(begun.status, 204);
    let cookie = begun.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let with_cookie = async |path: &str| program.gateway.send("GET", path, &[("cookie", &cookie)], "").await;
    let session = with_cookie("/api/session").await.json();
    assert_eq!(session["key"], json!({ "name": "operate", "roles": ["operate"] }));
    assert_eq!(with_cookie("/actuator/fleet").await.status, 200);
}
