//! A mock cluster of librdkafka on a dedicated thread, because it cannot be shared between threads, and client options
//! for tests. It has no disk and no replication but implements the protocol.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use adapter_kafka::{KafkaOptions, RecordForm};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

pub const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

pub type Mock = MockCluster<'static, DefaultProducerContext>;

type Command = Box<dyn FnOnce(&Mock) + Send>;

/// The cluster; it ends when this is dropped.
pub struct Cluster {
    pub brokers: String,
    commands: Mutex<mpsc::Sender<Command>>,
}

impl Cluster {
    pub fn start() -> Self {
        let (commands, wanted) = mpsc::channel::<Command>();
        let (tell, brokers) = mpsc::channel();
        std::thread::spawn(move || {
            let cluster = MockCluster::new(1).expect("a cluster");
            tell.send(cluster.bootstrap_servers()).expect("the test lives");
            for command in wanted {
                command(&cluster);
            }
        });
        Self { brokers: brokers.recv().expect("a cluster"), commands: Mutex::new(commands) }
    }

    /// Runs a command on the cluster, and waits until it is done.
    pub fn with<T: Send + 'static>(&self, command: impl FnOnce(&Mock) -> T + Send + 'static) -> T {
        let (tell, done) = mpsc::channel();
        let command = Box::new(move |cluster: &Mock| tell.send(command(cluster)).expect("the test lives"));
        self.commands.lock().expect("lock").send(command).expect("the cluster lives");
        done.recv().expect("the cluster lives")
    }
}

/// A name that no other test uses, not even in an earlier run.
pub fn unique(kind: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{kind}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A topic, and a group of the same name.
pub fn options(brokers: &str, topic: &str, partitions: NonZeroU32) -> KafkaOptions {
    KafkaOptions {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        partitions,
        replication_factor: 1,
        // The records have arbitrary times: the broker must not remove them while a test runs.
        retention: Duration::from_secs(200 * 365 * 24 * 3_600),
        compression: "snappy".to_owned(),
        records: RecordForm::Single,
        group: topic.to_owned(),
        memory_bytes_max: MEMORY_BYTES_MAX,
        tls: None,
        sasl: None,
        properties: BTreeMap::new(),
    }
}
