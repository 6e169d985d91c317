//! Kafka keeps the promises of the bus: Apache Kafka itself (`TEST_KAFKA_BROKERS`, see `scripts/services`), and the mock
//! cluster of librdkafka, which has no disk and no replication but speaks the protocol.

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use adapter_kafka::{KafkaOptions, KafkaPublisher, KafkaSource};
use contracts::bus::{Bus, BusSubject};
use domain::timestamp::Timestamp;
use rdkafka::mocking::MockCluster;

const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

type NewTopic = (String, i32, mpsc::Sender<()>);

struct KafkaBuses {
    brokers: String,
    /// Makes topics where the cluster does not do so itself.
    topics: Option<Mutex<mpsc::Sender<NewTopic>>>,
}

fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("contract-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl BusSubject for KafkaBuses {
    /// A topic, and a group of the same name.
    type Place = String;

    async fn place(&self) -> String {
        unique()
    }

    async fn open(&self, place: &String, positions: &[u64]) -> Bus {
        let partitions = u32::try_from(positions.len()).ok().and_then(NonZeroU32::new).expect("there are partitions");
        if let Some(topics) = &self.topics {
            let (made, done) = mpsc::channel();
            let topic = (place.clone(), i32::try_from(partitions.get()).expect("few partitions"), made);
            topics.lock().expect("lock").send(topic).expect("the cluster lives");
            done.recv().expect("the topic is there");
        }
        let options = KafkaOptions {
            brokers: self.brokers.clone(),
            topic: place.clone(),
            partitions,
            replication_factor: 1,
            retention: Duration::from_secs(7 * 24 * 3_600),
            compression: "snappy".to_owned(),
            group: place.clone(),
            memory_bytes_max: MEMORY_BYTES_MAX,
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        };
        let source = KafkaSource::open(&options).expect("the source opens");
        let publisher = KafkaPublisher::open(options).await.expect("the publisher opens");
        Bus { publisher: Arc::new(publisher), source: Arc::new(source) }
    }

    fn memory_bytes_max(&self) -> usize {
        MEMORY_BYTES_MAX
    }

    fn numbers_from_positions(&self) -> bool {
        false
    }

    fn kept_time(&self, given: Timestamp) -> Timestamp {
        let millis = given.unix_micros().div_euclid(1_000).max(1);
        Timestamp::from_unix_micros(millis * 1_000).expect("in range")
    }
}

/// The brokers of the environment, if there are any.
fn brokers() -> Option<String> {
    let brokers = std::env::var("TEST_KAFKA_BROKERS").ok();
    assert!(brokers.is_some() || std::env::var("CI").is_err(), "TEST_KAFKA_BROKERS is missing: scripts/services");
    if brokers.is_none() {
        eprintln!("skipped: TEST_KAFKA_BROKERS is missing; scripts/services starts a broker");
    }
    brokers
}

#[test]
fn kafka_keeps_the_promises_of_the_bus() {
    if let Some(brokers) = brokers() {
        contracts::bus::all_at_once(&KafkaBuses { brokers, topics: None });
    }
}

#[test]
fn the_mock_cluster_keeps_the_promises_of_the_bus() {
    let (topics, wanted) = mpsc::channel::<NewTopic>();
    let (tell, brokers) = mpsc::channel();
    // It cannot be shared between threads.
    std::thread::spawn(move || {
        let cluster = MockCluster::new(1).expect("a cluster");
        tell.send(cluster.bootstrap_servers()).expect("the test lives");
        for (topic, partitions, made) in wanted {
            // It may be there already.
            let _ = cluster.create_topic(&topic, partitions, 1);
            made.send(()).expect("the test lives");
        }
    });
    let brokers = brokers.recv().expect("a cluster");
    contracts::bus::all_at_once(&KafkaBuses { brokers, topics: Some(Mutex::new(topics)) });
}
