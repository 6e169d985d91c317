//! Apache Kafka.

/// The brokers named by the environment.
pub fn brokers() -> Option<String> {
    let brokers = std::env::var("TEST_KAFKA_BROKERS").ok();
    assert!(brokers.is_some() || std::env::var("CI").is_err(), "TEST_KAFKA_BROKERS is missing: scripts/services");
    if brokers.is_none() {
        eprintln!("skipped: TEST_KAFKA_BROKERS is missing; scripts/services starts a broker");
    }
    brokers
}
