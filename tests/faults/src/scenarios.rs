//! All scenarios, one per row of the table.
//!
//! To add one, write a function over a [`Cluster`] in one of the modules below, and add an entry to [`all`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{Cluster, Plan};
use crate::report::Report;
use crate::test_cluster::TestCluster;

mod consumers;
mod delivery;
mod disks;
mod events;
mod gateways;
mod processes;
mod segments;
mod stores;

/// The future of a scenario.
type Outcome = Pin<Box<dyn Future<Output = Report> + Send>>;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is broken, for the table.
    pub fault: &'static str,
    /// Maximum duration; a scenario that exceeds it fails.
    pub deadline: Duration,
    run: fn(Arc<TestCluster>) -> Outcome,
}

impl Scenario {
    /// Runs it, restores the servers afterwards, and turns panics and timeouts into failures.
    pub async fn run(&self, test_cluster: &Arc<TestCluster>) -> Report {
        // A separate task: a panic ends only this scenario.
        let mut task = tokio::spawn((self.run)(Arc::clone(test_cluster)));
        let report = match tokio::time::timeout(self.deadline, &mut task).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => Report::failed(panic_message(error)),
            Err(_) => {
                task.abort();
                // Its processes end before the servers are restored.
                let _ = task.await;
                Report::failed(format!("the scenario ends within {:?}", self.deadline))
            }
        };
        test_cluster.repair().await;
        report
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it runs to its end: {}", text.unwrap_or("it panicked"))
}

/// Sets up a cluster that needs no small disk.
async fn cluster(test_cluster: &Arc<TestCluster>, plan: Plan) -> Cluster {
    Cluster::set(test_cluster, plan).await.expect("a cluster")
}

/// All scenarios, in the order of the table.
#[must_use]
pub fn all() -> Vec<Scenario> {
    macro_rules! scenario {
        ($name:literal, $fault:literal, $minutes:literal, $function:path) => {
            Scenario {
                name: $name,
                fault: $fault,
                deadline: Duration::from_secs($minutes * 60),
                run: |test_cluster| Box::pin($function(test_cluster)),
            }
        };
    }
    vec![
        scenario!("producer-kill", "producer kill -9 under load, repeatedly", 4, processes::producer_killed),
        scenario!("consumer-kill", "consumer kill -9, repeatedly", 4, consumers::killed_again_and_again),
        scenario!("broker-stopped", "broker stopped, then started", 5, delivery::broker_stopped),
        scenario!("broker-kill", "broker kill -9 mid-write, three times", 6, delivery::broker_killed),
        scenario!("network-stall", "network stalls until memory and journal are full", 6, delivery::network_stalled),
        scenario!("network-cut", "network cut until memory and journal are full", 6, delivery::network_cut),
        scenario!("network-blips", "network stalls for 3 s, three times", 5, delivery::network_blips),
        scenario!("network-slow", "network with 200 ms latency, then 100 kB/s", 5, delivery::network_slow),
        scenario!("long-outage", "long outage at a high rate, under traffic", 30, delivery::long_outage),
        scenario!("scale-down", "producers 3 -> 1 in an outage, journals adopted", 5, delivery::scaled_down),
        scenario!(
            "producer-kill-outage",
            "producer kill -9 in outage and replay",
            6,
            delivery::producer_killed_in_outage
        ),
        scenario!("partitions", "partitions 3 -> 6 while running", 4, events::partitions_added),
        scenario!("partitions-journal", "partitions 3 -> 6, backlog in the journal", 5, delivery::partitions_added),
        scenario!("journal-disk-full", "journal disk full in an outage", 6, delivery::journal_disk_full),
        scenario!("journal-writes", "journal writes fail, 3 times in an outage", 6, disks::journal_writes_fail),
        scenario!("refused-log-full", "log of rejected records full, exported, removed", 8, disks::refused_log_full),
        scenario!("small-disk", "one process: disk full, nearly full, freed", 6, disks::small_disk),
        scenario!(
            "segments-kill",
            "one process: kill -9 while it seals and merges",
            10,
            segments::killed_while_sealing
        ),
        scenario!(
            "segments-kill-removal",
            "one process: kill -9 while it seals and removes segments",
            10,
            segments::killed_while_removing
        ),
        scenario!("postgres-down", "PostgreSQL stopped, then started", 4, stores::postgres_down),
        scenario!("postgres-kill", "PostgreSQL kill -9, repeatedly", 5, stores::postgres_killed),
        scenario!("postgres-terminate", "PostgreSQL terminates transactions, 40 times", 4, stores::postgres_terminated),
        scenario!("postgres-network", "network to PostgreSQL stalled, cut, slow", 5, stores::postgres_network),
        scenario!("postgres-disk-full", "disk of PostgreSQL full", 4, stores::postgres_disk_full),
        scenario!("postgres-restore", "tables dropped, restored from a backup", 4, stores::postgres_restored),
        scenario!("redis", "Redis stalled, killed, restarted empty, flushed", 4, stores::redis_away),
        scenario!("same-ids", "same ids again: batch, later, partition, midnight", 4, events::the_same_ids),
        scenario!("rebalance-storm", "consumers join and leave, zombies", 5, consumers::rebalance_storm),
        scenario!("poison", "poison and oversized records, consumer kill -9", 6, consumers::poison),
        scenario!("sigterm", "SIGTERM of each process under load", 4, processes::sigterm),
        scenario!("sigterm-slow", "SIGTERM with a request that never ends, Kafka down", 4, processes::sigterm_slow),
        scenario!("rolling-restart", "rolling restart of every process under load", 5, processes::rolling_restart),
        scenario!("upstreams", "of three producers one killed, another slow", 4, gateways::one_killed_one_slow),
        scenario!("priority", "backlog outside of partition 0, ERRORs posted", 8, delivery::priority_before_backlog),
    ]
}

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

/// At least this percentage of the clients' calls is answered with 202.
fn expect_calls_accepted(report: &mut Report, percent: f64) {
    let (accepted, calls) = (report.calls_accepted, report.calls);
    let holds = report.calls_accepted_percent() >= percent;
    report.expect(holds, format!("{percent} % of the calls are answered with 202: {accepted} of {calls}"));
}
