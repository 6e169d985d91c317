//! What a process costs without load.
//!
//! The pauses are what is measured: nothing is to happen in them that could be waited for.

use e2e::Process;
use tokio::time::sleep;

use super::ingesting::WARM_UP;
use crate::report::Row;
use crate::test_cluster::{Cpu, TestCluster};

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
