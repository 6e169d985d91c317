//! What the gateway of one process costs.

use e2e::Process;

use super::ingesting::{SINGLE_CONNECTIONS, WARM_UP, json, single_bodies};
use crate::report::Row;
use crate::test_cluster::{Cpu, TestCluster};
use crate::wrk;

/// Single events, buffered, to one process on embedded adapters: to the port of the producer, and to that of the gateway.
pub async fn ports(test_cluster: &TestCluster) -> Vec<Row> {
    let bodies = json(&single_bodies());
    let mut rows = Vec::new();
    let mut direct = None;
    for role in ["producer", "gateway"] {
        // Neither has the backlog of the other.
        let directory = tempfile::tempdir().expect("a directory");
        let process = Process::start(test_cluster.spillway(), "all", directory.path(), &[]).await;
        let url = format!("{}/api/logs", process.http(role).base());
        wrk::run(&url, &bodies, SINGLE_CONNECTIONS, WARM_UP).await;
        let cpu = Cpu::of_role(&process);
        let figures = wrk::run(&url, &bodies, SINGLE_CONNECTIONS, test_cluster.duration).await;
        let micros = cpu.micros_each(figures.requests as f64);
        process.terminate().await;
        let of_direct = micros / *direct.get_or_insert(micros);
        rows.push(
            Row::new(format!("the {role}'s port"))
                .with("requests/s", figures.per_second())
                .with("CPU µs/request", micros)
                .with("of the producer's port", of_direct)
                .with("p99 ms", figures.p99.as_secs_f64() * 1e3),
        );
    }
    rows
}
