//! Checks the dependencies between crates, as described in ARCHITECTURE.md.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::alert::AlertKind;
use serde_json::Value;

/// Each technology has its adapter, and no other crate may depend on it, except the fault harness and the benchmarks,
/// which query the servers directly and measure yardsticks.
const PARENTS: [(&str, &[&str]); 13] = [
    ("poem", &["adapter-http", "bench"]),
    ("poem-openapi", &["adapter-http"]),
    ("hyper-rustls", &["adapter-webhook"]),
    ("sqlx", &["adapter-embedded", "adapter-postgres", "bench", "faults"]),
    ("fred", &["adapter-redis"]),
    ("toml_edit", &["adapter-keys"]),
    ("parquet", &["segments"]),
    ("rdkafka", &["adapter-kafka", "bench", "faults"]),
    ("metrics", &["adapter-telemetry"]),
    ("metrics-exporter-prometheus", &["adapter-telemetry"]),
    ("config", &["bootstrap"]),
    ("clap", &["bootstrap"]),
    ("anyhow", &["bootstrap"]),
];

/// Allowed dependencies of the domain: none of them performs I/O.
const DOMAIN_MAY_KNOW: [&str; 8] =
    ["async-trait", "foldhash", "mockall", "sha1_smol", "thiserror", "time", "twox-hash", "uuid"];

/// Strings that must not occur in the domain's code.
const UNSAID_IN_DOMAIN: [&str; 10] = [
    "SystemTime::now",
    "Instant::now",
    "new_v4",
    "now_v7",
    "tokio::",
    "sqlx::",
    "poem::",
    "serde::",
    "rdkafka::",
    "fred::",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The dependencies of each workspace package, without dev-dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter().map(|package| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        (name(package), dependencies.filter(|dependency| dependency["kind"].is_null()).map(name).collect())
    });
    packages.collect()
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            files.push((path, text));
        }
    }
    files
}

#[test]
fn each_technology_is_used_by_its_adapter_only() {
    let dependencies = dependencies();
    for (technology, allowed) in PARENTS {
        let parents: Vec<&str> = dependencies
            .iter()
            .filter(|(_, known)| known.contains(technology))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(parents, allowed, "who depends on {technology}");
    }
}

#[test]
fn the_domain_performs_no_io() {
    for known in &dependencies()["domain"] {
        assert!(DOMAIN_MAY_KNOW.contains(&known.as_str()), "domain depends on {known}");
    }
    for (path, text) in sources(&root().join("domain/src")) {
        for unsaid in UNSAID_IN_DOMAIN {
            assert!(!text.contains(unsaid), "{} mentions {unsaid}", path.display());
        }
    }
}

#[test]
fn the_application_knows_no_adapter_and_adapters_do_not_know_each_other() {
    for (name, known) in dependencies() {
        let inner = matches!(name.as_str(), "domain" | "application" | "contracts");
        if !inner && !name.starts_with("adapter-") {
            continue;
        }
        for other in known {
            // HTTP and syslog call the use cases; the others are called through ports.
            let driver = matches!(name.as_str(), "adapter-http" | "adapter-syslog") && other == "application";
            let allowed = driver || !(other.starts_with("adapter-") || other == "application" || other == "bootstrap");
            assert!(allowed, "{name} depends on {other}");
        }
    }
}

#[test]
fn metrics_are_named_in_one_place_and_recorded_through_the_port() {
    for directory in ["application", "adapters", "bootstrap"] {
        for (path, text) in sources(&root().join(directory)) {
            for raw in ["counter!(", "gauge!(", "histogram!("] {
                assert!(!text.contains(raw), "{} uses {raw})", path.display());
            }
        }
    }
}

#[test]
fn each_alert_has_a_runbook_and_an_entry_in_the_list() {
    let list = std::fs::read_to_string(root().join("docs/runbooks/README.md")).expect("the list");
    for kind in AlertKind::ALL {
        let text = std::fs::read_to_string(root().join(kind.runbook()))
            .unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        let title = format!("# {} ({})\n", kind.name(), kind.severity().name());
        assert!(text.starts_with(&title) && text.contains("**Over"), "{}", kind.runbook());
        assert!(list.contains(&format!("| [{0}]({0}.md) | {1} |", kind.name(), kind.severity().name())), "{kind:?}");
    }
}
