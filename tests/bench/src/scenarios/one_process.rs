//! What a process costs without load, and what the gateway of one process costs.

use e2e::Process;
use tokio::time::sleep;

use super::ingesting::{SINGLE_CONNECTIONS, WARM_UP, json, single_bodies};
use crate::report::Row;
use crate::test_cluster::{Cpu, TestCluster};
use crate::wrk;

/// How many times as long as a figure under load: the least that a clock of 10 ms can tell.
const IDLE_TIMES: u32 = 3;

/// Each role on its servers, and one process on embedded adapters, without requests.
pub async fn idle(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    let producer = installation.start("producer", &[]).await;
    let consumer = installation.start("consumer", &[]).await;
    let base = producer.http("producer").base().to_owned();
    let variables = [("SPILLWAY_GATEWAY__PRODUCERS", base.as_str()), ("SPILLWAY_GATEWAY__CONSUMERS", base.as_str())];
    let gateway = installation.start("gateway", &variables).await;
    let all = Process::start(test_cluster.spillway(), "all", directory.path(), &[]).await;
    let processes = [("gateway", gateway), ("producer", producer), ("consumer", consumer), ("all, embedded", all)];
    // What follows a start, such as connections and the first tasks.
    sleep(WARM_UP).await;
    let cpu: Vec<Cpu> = processes.iter().map(|(_, process)| Cpu::of_role(process)).collect();
    let duration = test_cluster.duration * IDLE_TIMES;
    sleep(duration).await;
    let used: Vec<f64> = cpu.iter().map(|cpu| cpu.used().as_secs_f64() / duration.as_secs_f64()).collect();
    let mut rows = Vec::new();
    for ((label, process), cores) in processes.into_iter().zip(used) {
        process.terminate().await;
        rows.push(Row::new(label).with("CPU ms/s", cores * 1e3));
    }
    installation.remove().await;
    rows
}

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
