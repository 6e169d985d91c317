//! Clients are dropped on the threads of this crate. The only test of its process, because it counts threads.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "test setup may panic")]

#[path = "support/cluster.rs"]
mod cluster;

use std::num::NonZeroU32;
use std::time::Duration;

use adapter_kafka::KafkaSource;
use cluster::{Cluster, options, unique};
use domain::ports::{AssignmentChange, RecordSource, SourceError};

/// Deadline for events that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// Clients of librdkafka in this process: each has one thread with this name.
fn clients() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "rdk:main").count()
}

// Dropping a client blocks until the group is left and all its threads have ended. A reader that still holds a partition
// when the source closes must not be the one that blocks.
#[tokio::test]
async fn a_closed_source_has_no_client_though_a_reader_has_not_noticed() {
    let (cluster, topic) = (Cluster::start(), unique("threads"));
    let name = topic.clone();
    cluster.with(move |mock| mock.create_topic(&name, 1, 1)).expect("a topic");
    let others = clients();
    let source = KafkaSource::open(&options(&cluster.brokers, &topic, NonZeroU32::MIN)).expect("the source opens");
    match tokio::time::timeout(DEADLINE, source.assignment()).await.expect("in time").expect("partitions") {
        AssignmentChange::Assigned(partitions, start) => start(vec![None; partitions.len()]),
        AssignmentChange::Revoked(..) => panic!("nothing was assigned"),
    }
    let mut chunk = source.chunk(0);
    let looked = tokio::time::timeout(Duration::from_millis(1), &mut chunk).await;
    assert!(looked.is_err(), "there is nothing to read");
    assert_eq!(clients(), others + 1);
    tokio::time::timeout(DEADLINE, source.close()).await.expect("closed in time");
    assert_eq!(clients(), others, "the client outlives the source");
    let looked = tokio::time::timeout(DEADLINE, chunk).await.expect("in time");
    assert!(matches!(looked, Err(SourceError::Closed)), "{looked:?}");
}
