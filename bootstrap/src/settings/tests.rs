//! Tests of the settings as a whole: sources, types, rules and secrets.

use std::path::Path;
use std::time::Duration;

use adapter_kafka::{RecordForm, SaslMechanism};
use domain::delivery::Guarantee;
use domain::level::Level;
use domain::partition::PriorityLane;

use super::secrets::MASK;
use super::service::service;
use super::values::local;
use super::{Settings, Size, Url};
use crate::role::Role;

fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load(None, environment).map_err(|error| error.to_string())
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("some.toml");
    std::fs::write(
        &file,
        "data_dir = \"/file\"\nmemory_bytes_max = \"10 MB\"\n[producer]\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n[store]\nretention = \"40d\"\n",
    )
    .expect("written");
    let environment = [("SPILLWAY_DATA_DIR".to_owned(), "/env".to_owned()), ("OTHER".to_owned(), "x".to_owned())];
    let settings = Settings::load(Some(&file), environment).expect("valid");
    assert_eq!(settings.data_dir, Path::new("/env"));
    assert_eq!(settings.memory_bytes_max, Size::mb(10));
    assert_eq!(settings.producer.listen, local(1));
    assert_eq!(settings.producer.trusted_proxies.0.len(), 1);
    assert_eq!(settings.store.retention.0, Duration::from_secs(40 * 24 * 3600));
    assert_eq!(settings.consumer, service(8082));
}

#[test]
fn values_keep_the_type_of_their_setting() {
    let settings = load(&[
        ("SPILLWAY_DATA_DIR", "007"),
        ("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "0"),
        ("SPILLWAY_STORE", "embedded"),
        ("SPILLWAY_STORE__RETENTION", "60d"),
        ("SPILLWAY_GATEWAY__PRODUCERS", "http://a:1, http://b:2"),
        ("SPILLWAY_DELIVERY__INFO", "exactly-once"),
        ("SPILLWAY_PRODUCER__LISTEN", "127.0.0.1:9"),
        ("SPILLWAY_EMBEDDED__PARTITIONS", "6"),
    ])
    .expect("valid");
    assert_eq!(settings.data_dir, Path::new("007"));
    assert_eq!(settings.rate_limit.single_per_second, 0);
    assert_eq!(settings.gateway.producers.0.len(), 2);
    assert_eq!(settings.delivery.policy().guarantee(Level::Info), Guarantee::ExactlyOnce);
    assert_eq!(settings.delivery.policy().guarantee(Level::Error), Guarantee::AtLeastOnce);
    assert_eq!(settings.embedded.partitions, 6);
    assert_eq!(settings.producer.trusted_proxies.0.len(), 2, "the rest of a section keeps its defaults");
}

#[test]
fn invalid_settings_are_rejected_by_name_with_a_hint() {
    for (name, value, parts) in [
        ("SPILLWAY_MEMORY_BYTES", "1", &["memory_bytes", "did you mean memory_bytes_max?"][..]),
        ("SPILLWAY_LISTEN", "1", &["unknown key listen", "gateway.listen"]),
        ("SPILLWAY_PORT", "tcp://10.0.0.1:8080", &["Kubernetes", "enableServiceLinks"]),
        ("SPILLWAY_PORT_8080_TCP_ADDR", "10.0.0.1", &["Kubernetes"]),
        ("SPILLWAY_SERVICE_HOST", "10.0.0.1", &["Kubernetes"]),
        ("SPILLWAY_GATEWAY__LISTEN", "8080", &["gateway.listen", "not an address such as"]),
        (
            "SPILLWAY_GATEWAY__LISTEN",
            "127.0.0.1:8081",
            &["gateway.listen and producer.listen", "(set by SPILLWAY_GATEWAY"],
        ),
        ("SPILLWAY_PRODUCER_LISTEN", "127.0.0.1:1", &["did you mean producer.listen?"]),
        ("SPILLWAY_OTLP__LISTEN", "127.0.0.1:8081", &["producer.listen and otlp.listen"]),
        ("SPILLWAY_OTLP__LISTEN", "4318", &["otlp.listen", "not an address", "(set by SPILLWAY_OTLP__LISTEN)"]),
        ("SPILLWAY_INGEST__HOLD", "11s", &["ingest.hold", "10s"]),
        ("SPILLWAY_BODY_BYTES_MAX", "1", &["body_bytes_max", "16MiB"]),
        ("SPILLWAY_MEMORY_BYTES_MAX", "7MiB", &["memory_bytes_max", "8MiB"]),
        ("SPILLWAY_MEMORY_BYTES_MAX", "lots", &["memory_bytes_max", "not a number of bytes"]),
        ("SPILLWAY_DATA_DIR", "", &["data_dir"]),
        ("SPILLWAY_EMBEDDED__PARTITIONS", "257", &["embedded.partitions", "256"]),
        ("SPILLWAY_DRAIN_TIMEOUT", "soon", &["drain_timeout", "not a duration"]),
        ("SPILLWAY_DELIVERY__INFO", "maybe", &["at-most-once"]),
        ("SPILLWAY_JOURNAL__BYTES_MAX", "1MB", &["journal.bytes_max", "16MiB"]),
        ("SPILLWAY_ACK_WAIT", "1m", &["ack_wait", "30s"]),
        ("SPILLWAY_STORE__RETENTION", "1h", &["store.retention", "store.dedup_window"]),
        ("SPILLWAY_EMBEDDED__PARTITIONS", "0", &["embedded.partitions"]),
        ("SPILLWAY_GATEWAY__PRODUCERS", "producer:1", &["base URL"]),
        ("SPILLWAY_BUS", "kafka", &["kafka.brokers", "must name a broker"]),
        ("SPILLWAY_BUS", "nats", &["bus", "\"nats\" is none of embedded, kafka"]),
        ("SPILLWAY_STORE", "postgres", &["postgres.url must be set"]),
        ("SPILLWAY_LIMITER", "redis", &["redis.url must be set"]),
        (
            "SPILLWAY_REDIS__URL",
            "redi://:secret@host",
            &["redis.url must be a URL that begins with redis:// or rediss://"],
        ),
        ("SPILLWAY_REDIS__URL", "host:6379", &["redis.url must be a URL"]),
        ("SPILLWAY_POSTGRES__URL", "mysql://host/d", &["postgres.url must be a URL that begins with postgres://"]),
        ("SPILLWAY_POSTGRES__SCHEMA", "Logs", &["postgres.schema", "a-z"]),
        ("SPILLWAY_ALERT__WEBHOOK_URL", "host:9000/hook", &["alert.webhook_url", "not the URL of a webhook"]),
        ("SPILLWAY_ALERT__WEBHOOK_URL", "ftp://host/hook", &["alert.webhook_url", "not the URL of a webhook"]),
        ("SPILLWAY_ALERT__TIMEOUT", "0s", &["alert.timeout", "100ms"]),
        ("SPILLWAY_ALERT__TIMEOUT", "2m", &["alert.timeout", "60s"]),
        ("SPILLWAY_DATA_DRI", "d", &["unknown key data_dri", "did you mean data_dir?"]),
        ("SPILLWAY_STORE__RETENTOIN", "40d", &["did you mean store.retention?"]),
        ("SPILLWAY_COLOUR", "red", &["`spillway config` lists all keys"]),
        ("SPILLWAY_ALERT_WEBHOOK_URL", "http://host", &["did you mean alert.webhook_url?"]),
    ] {
        let message = load(&[(name, value)]).expect_err(name);
        for part in parts {
            assert!(message.contains(part), "{name}: {message:?} does not contain {part:?}");
        }
    }
}

#[test]
fn an_invalid_value_in_a_file_names_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("some.toml");
    std::fs::write(&file, "[gateway]\nlisten = \"8080\"\n").expect("written");
    let message = Settings::load(Some(&file), []).expect_err("invalid").to_string();
    assert!(message.contains(&format!("(set by gateway.listen in {})", file.display())), "{message}");
}

const KAFKA: [(&str, &str); 2] = [("SPILLWAY_BUS", "kafka"), ("SPILLWAY_KAFKA__BROKERS", "a:9092, b:9092")];

fn load_kafka(others: &[(&str, &str)]) -> Result<Settings, String> {
    load(&[&KAFKA, others].concat())
}

#[test]
fn kafka_settings_become_client_options() {
    let settings = load_kafka(&[
        ("SPILLWAY_KAFKA__TLS", "true"),
        ("SPILLWAY_KAFKA__TLS_CA", "/ca.pem"),
        ("SPILLWAY_KAFKA__SASL_MECHANISM", "SCRAM-SHA-256"),
        ("SPILLWAY_KAFKA__SASL_USERNAME", "me"),
        ("SPILLWAY_KAFKA__SASL_PASSWORD", "sec:ret"),
        ("SPILLWAY_KAFKA__PROPERTIES__LINGER_MS", "20"),
        ("SPILLWAY_KAFKA__PRIORITY_LANE", "exclusive"),
        ("SPILLWAY_KAFKA__RECORDS", "packed"),
    ]);
    let settings = settings.expect("valid");
    let options = settings.kafka.options(7).expect("valid");
    assert_eq!(
        (options.brokers.as_str(), options.topic.as_str(), options.memory_bytes_max),
        ("a:9092,b:9092", "logs", 7)
    );
    assert_eq!(options.records, RecordForm::Packed);
    assert_eq!(load_kafka(&[]).expect("valid").kafka.records, RecordForm::Single);
    assert_eq!(options.tls.expect("TLS").ca.as_deref(), Some(Path::new("/ca.pem")));
    let sasl = options.sasl.expect("SASL");
    assert_eq!((sasl.mechanism, sasl.password.as_str()), (SaslMechanism::ScramSha256, "sec:ret"));
    assert_eq!(options.properties, [("linger.ms".to_owned(), "20".to_owned())].into());
    assert_eq!(settings.kafka.priority_lane, PriorityLane::Exclusive);
}

#[test]
fn invalid_kafka_settings_are_rejected_by_name() {
    for (name, value, parts) in [
        ("PROPERTIES__ACKS", "1", &["kafka.properties.acks", "carries a guarantee"][..]),
        ("PROPERTIES__ENABLE_IDEMPOTENCE", "false", &["enable.idempotence"]),
        ("PROPERTIES__QUEUE_BUFFERING_MAX_MESSAGES", "1", &["queue.buffering.max.messages"]),
        ("TLS_CA", "/ca.pem", &["kafka.tls must be true"]),
        ("TLS_KEY", "/key.pem", &["kafka.tls_certificate and kafka.tls_key"]),
        ("SASL_USERNAME", "me", &["kafka.sasl_mechanism must be"]),
        ("SASL_MECHANISM", "GSSAPI", &["kafka.sasl_mechanism", "none of PLAIN"]),
        ("SASL_MECHANISM", "PLAIN", &["kafka.sasl_username and kafka.sasl_password"]),
        ("PARTITIONS", "0", &["kafka.partitions"]),
        ("REPLICATION_FACTOR", "0", &["kafka.replication_factor"]),
        ("COMPRESSION", "brotli", &["kafka.compression", "snappy"]),
        ("TOPIC", "a b", &["kafka.topic"]),
        ("PRIORITY_LANE", "fast", &["none of shared, exclusive"]),
        ("RECORDS", "both", &["none of single, packed"]),
        ("LINGER", "1", &["unknown key kafka.linger"]),
        ("PROPERTIES__LINGER", "1", &["kafka.properties.linger", "unknown"]),
        ("PROPERTIES__DELIVERY_REPORT_ONLY_ERROR", "true", &["delivery.report.only.error", "cannot be set"]),
        ("PROPERTIES__LINGER_MS", "soon", &["kafka.properties: linger.ms=soon"]),
    ] {
        let name = format!("SPILLWAY_KAFKA__{name}");
        let message = load_kafka(&[(&name, value)]).expect_err(&name);
        for part in parts {
            assert!(message.contains(part), "{name}: {message:?} does not contain {part:?}");
        }
    }
    let one = [("SPILLWAY_KAFKA__PARTITIONS", "1"), ("SPILLWAY_KAFKA__PRIORITY_LANE", "exclusive")];
    assert!(load_kafka(&one).expect_err("one partition").contains("at least 2"));
}

#[test]
fn a_separate_role_needs_components_that_processes_can_share() {
    let alone = Settings::default();
    for (role, parts) in [(Role::Producer, ["bus", "SPILLWAY_BUS=kafka"]), (Role::Consumer, ["bus", "spillway all"])] {
        let message = alone.check_role(role).expect_err("embedded").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    assert!(alone.check_role(Role::All).is_ok() && alone.check_role(Role::Gateway).is_ok());
    let kafka = load_kafka(&[]).expect("valid");
    assert!(kafka.check_role(Role::Producer).is_ok());
    assert!(kafka.check_role(Role::Consumer).expect_err("embedded").to_string().contains("SPILLWAY_STORE=postgres"));
}

#[test]
fn a_gateway_without_urls_asks_the_default_instances_as_they_listen() {
    let urls = |variables: &[(&str, &str)]| {
        let settings = load(variables).expect("valid");
        let urls = [settings.producer_urls(), settings.consumer_urls()].concat();
        urls.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let of_all = ("SPILLWAY_HTTP__TLS_CERTIFICATE", "/tls.crt");
    assert_eq!(urls(&[]), ["http://127.0.0.1:8081", "http://127.0.0.1:8082"]);
    assert_eq!(urls(&[of_all]), ["https://127.0.0.1:8081", "https://127.0.0.1:8082"]);
    let of_consumer = ("SPILLWAY_CONSUMER__TLS_CERTIFICATE", "/tls.crt");
    assert_eq!(urls(&[of_consumer]), ["http://127.0.0.1:8081", "https://127.0.0.1:8082"]);
    let of_gateway = ("SPILLWAY_GATEWAY__TLS_CERTIFICATE", "/tls.crt");
    assert_eq!(urls(&[of_gateway]), ["http://127.0.0.1:8081", "http://127.0.0.1:8082"]);
    let configured = ("SPILLWAY_GATEWAY__PRODUCERS", "http://producer:1");
    assert_eq!(urls(&[of_all, configured]), ["http://producer:1", "https://127.0.0.1:8082"]);
    let listens = [("SPILLWAY_PRODUCER__LISTEN", "0.0.0.0:9"), ("SPILLWAY_CONSUMER__LISTEN", "[::]:9")];
    assert_eq!(urls(&listens), ["http://127.0.0.1:9", "http://[::1]:9"]);
}

#[test]
fn secrets_are_not_shown() {
    let settings = load_kafka(&[
        ("SPILLWAY_KAFKA__SASL_MECHANISM", "PLAIN"),
        ("SPILLWAY_KAFKA__SASL_USERNAME", "me"),
        ("SPILLWAY_KAFKA__SASL_PASSWORD", "hidden"),
        ("SPILLWAY_POSTGRES__URL", "postgres://me:hid@den@host/database?sslmode=require"),
        ("SPILLWAY_REDIS__URL", "redis://:hidden@host:6379/1"),
        ("SPILLWAY_KAFKA__PROPERTIES__SSL_KEY_PASSWORD", "hidden"),
        ("SPILLWAY_ALERT__WEBHOOK_URL", "https://me:hidden@alerts.example.com/hidden?key=hidden"),
    ]);
    let shown = settings.expect("valid").to_variables();
    assert!(!shown.contains("hid") && shown.contains("host/database?sslmode=require"), "{shown}");
    assert!(shown.contains("SPILLWAY_ALERT__WEBHOOK_URL='https://********@alerts.example.com/********'\n"), "{shown}");
    for name in [
        "ssl.key.password",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "SASL.OAUTHBEARER.CONFIG",
        "ssl.key.pem",
    ] {
        assert!(super::secrets::is_secret(name), "{name}");
    }
    assert!(!super::secrets::is_secret("queue.buffering.max.ms"));
    let refused = load(&[("SPILLWAY_ALERT__WEBHOOK_URL", "https//me:hidden@host")]).expect_err("no URL");
    assert!(!refused.contains("hid"), "{refused}");
    for url in [
        "postgres://me:hi/d#de:n@host/d",
        "postgres://me@host/d?password=hidden&x=1",
        "host=h password=hidden",
        "redis://:hid?den@h",
    ] {
        let shown = format!("{:?}", Url(url.to_owned()));
        assert!(!shown.contains("hid") && !shown.contains("hi/d") && shown.contains(MASK), "{shown}");
    }
    let plain = load(&[("SPILLWAY_REDIS__URL", "redis://host:6379")]).expect("valid").to_variables();
    assert!(plain.contains("SPILLWAY_REDIS__URL=redis://host:6379\n"), "{plain}");
}

#[test]
fn errors_in_a_file_name_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("some.toml");
    for (text, parts) in [
        ("foo = 1", &["unknown key foo (in ", "some.toml)"][..]),
        ("store = \"embedded\"", &["unknown key store (in ", "did you mean store.kind or"]),
    ] {
        std::fs::write(&file, text).expect("written");
        let message = Settings::load(Some(&file), []).expect_err(text).to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not contain {part:?}");
        }
    }
}

#[test]
fn the_effective_configuration_can_be_loaded_again() {
    let settings = Settings { data_dir: "/somewhere".into(), ..Settings::default() };
    let text = settings.to_variables();
    assert!(
        text.contains("SPILLWAY_STORE=embedded\n") && text.contains("SPILLWAY_STORE__RETENTION=30days\n"),
        "{text}"
    );
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(Settings::load(None, environment).expect("valid"), settings);
}
