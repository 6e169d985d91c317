//! The properties of librdkafka that may be set, against the list of the linked version.

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use adapter_kafka::ALLOWED_PROPERTIES;

/// The properties that the linked version documents, without those that are functions.
fn documented() -> BTreeSet<String> {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(version.stdout).expect("UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    // Packages of other platforms may not be there.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata = String::from_utf8(output.stdout).expect("UTF-8");
    let manifest = metadata
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("/rdkafka-sys-"))
        .expect("rdkafka-sys is linked");
    let page = PathBuf::from(manifest).with_file_name("librdkafka").join("CONFIGURATION.md");
    let page = std::fs::read_to_string(page).expect("librdkafka documents its properties");
    let rows = page.lines().filter_map(|line| line.split_once('|')).map(|(name, _)| name.trim());
    rows.filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase())).map(str::to_owned).collect()
}

#[test]
fn what_may_be_set_is_a_property_and_what_decides_about_delivery_may_not_be_set() {
    let documented = documented();
    assert!(documented.len() > 150, "{documented:?}");
    for allowed in ALLOWED_PROPERTIES {
        assert!(documented.contains(allowed), "{allowed} is not a property of the linked version");
    }
    assert!(ALLOWED_PROPERTIES.is_sorted());
    let refused: BTreeSet<&str> =
        documented.iter().map(String::as_str).filter(|name| !ALLOWED_PROPERTIES.contains(name)).collect();
    for decides in [
        // Reports.
        "delivery.report.only.error",
        "enabled_events",
        "produce.offset.report",
        // Order.
        "queuing.strategy",
        "max.in.flight",
        "retries",
        // Positions.
        "enable.auto.commit",
        "enable.auto.offset.store",
        "offset.store.method",
        "group.protocol",
        // Guarantees.
        "acks",
        "enable.idempotence",
        "message.timeout.ms",
        "transactional.id",
        // Loads code.
        "plugin.library.paths",
        "interceptors",
    ] {
        assert!(refused.contains(decides), "{decides} can be set, or is not a property of the linked version");
    }
}
