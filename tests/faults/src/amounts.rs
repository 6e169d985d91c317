//! Scale of the scenarios: the harness uses larger numbers than the ordinary tests.

use std::time::Duration;

/// Scale of the scenarios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// Number of kills.
    pub kills: u64,
    /// Duration of an outage.
    pub outage: Duration,
    /// Duration of the long outage.
    pub long_outage: Duration,
    /// Events per second during the long outage.
    pub long_rate: u32,
    /// `JOURNAL__BYTES_MAX` of the producer in the long outage.
    pub long_journal: String,
    /// INFO events ahead of which ERRORs are posted.
    pub backlog: u64,
}

impl Amounts {
    /// Values of the variables `FAULTS_…`, which `scripts/faults` describes.
    #[must_use]
    pub fn of_environment() -> Self {
        let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let number = |name: &str, default: &str| {
            variable(name, default).parse::<u32>().unwrap_or_else(|error| panic!("{name} is not a number: {error}"))
        };
        let seconds = |name: &str, default: &str| Duration::from_secs(number(name, default).into());
        Self {
            kills: number("FAULTS_KILLS", "5").into(),
            outage: seconds("FAULTS_OUTAGE_SECONDS", "20"),
            long_outage: seconds("FAULTS_LONG_SECONDS", "120"),
            long_rate: number("FAULTS_LONG_RATE", "50000"),
            long_journal: variable("FAULTS_LONG_JOURNAL", "16GiB"),
            backlog: number("FAULTS_BACKLOG", "1000000").into(),
        }
    }

    /// For ordinary tests.
    #[must_use]
    pub fn small() -> Self {
        Self {
            kills: 2,
            outage: Duration::from_secs(5),
            long_outage: Duration::from_secs(10),
            long_rate: 5_000,
            long_journal: "1GiB".to_owned(),
            backlog: 50_000,
        }
    }
}
