//! Kafka satisfies the contract of the bus: Apache Kafka (`TEST_KAFKA_BROKERS`, see `scripts/services`), and the mock
//! cluster of librdkafka.

#![expect(clippy::expect_used, reason = "test setup may panic")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/servers.rs"]
mod servers;

use std::num::NonZeroU32;
use std::sync::Arc;

use adapter_kafka::{KafkaOptions, KafkaPublisher, KafkaSource, RecordForm};
use cluster::{Cluster, MEMORY_BYTES_MAX, options, unique};
use contracts::bus::{Bus, BusSubject};
use domain::timestamp::Timestamp;
use servers::brokers;

struct KafkaBuses {
    brokers: String,
    /// The form of the records. Only events of one source and time are packed, so most checks have single records.
    records: RecordForm,
    /// Creates topics where clients cannot.
    mock: Option<Cluster>,
}

impl BusSubject for KafkaBuses {
    /// A topic, and a group of the same name.
    type Place = String;

    async fn place(&self) -> String {
        unique("contract")
    }

    async fn open(&self, place: &String, positions: &[u64]) -> Bus {
        let partitions = u32::try_from(positions.len()).ok().and_then(NonZeroU32::new).expect("there are partitions");
        if let Some(mock) = &self.mock {
            let (topic, partitions) = (place.clone(), i32::try_from(partitions.get()).expect("few partitions"));
            // It may exist already.
            let _ = mock.with(move |mock| mock.create_topic(&topic, partitions, 1));
        }
        let options = KafkaOptions { records: self.records, ..options(&self.brokers, place, partitions) };
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

#[test]
fn kafka_keeps_the_promises_of_the_bus() {
    if let Some(brokers) = brokers() {
        for records in [RecordForm::Single, RecordForm::Packed] {
            contracts::bus::all_at_once(&KafkaBuses { brokers: brokers.clone(), records, mock: None });
        }
    }
}

#[test]
fn the_mock_cluster_keeps_the_promises_of_the_bus() {
    for records in [RecordForm::Single, RecordForm::Packed] {
        let mock = Cluster::start();
        contracts::bus::all_at_once(&KafkaBuses { brokers: mock.brokers.clone(), records, mock: Some(mock) });
    }
}
