//! A few short scenarios of the fault harness: they pass, and the harness works. `scripts/faults` runs all.

#![cfg(test)]

use std::sync::Arc;

use faults::amounts::Amounts;
use faults::scenarios::named;
use faults::test_cluster::TestCluster;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-in-faults");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_while_processes_are_killed_and_ids_come_again() {
    let Some(test_cluster) = TestCluster::prepare(BINARY, Amounts::small()).await else { return };
    let test_cluster = Arc::new(test_cluster);
    let mut broken = Vec::new();
    for name in ["producer-kill", "consumer-kill", "same-ids"] {
        let report = named(name).expect("a scenario").run(&test_cluster).await;
        println!("{} {name}", report.verdict());
        for line in report.details() {
            println!("    {line}");
        }
        broken.extend(report.broken);
    }
    assert_eq!(broken, Vec::<String>::new());
}
