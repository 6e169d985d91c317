//! A topic of a mock cluster or of Apache Kafka, records for it, and waiting with a deadline.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adapter_kafka::{KafkaOptions, KafkaPublisher};
use domain::delivery::Guarantee;
use domain::partition::Partition;
use domain::ports::{BusState, Receipt, RecordPublisher};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr as Code;

use crate::cluster::{Cluster, options, unique};

/// Deadline for events that must happen.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Receipt time of the records.
pub const TIME_MICROS: i64 = 1_750_000_000_000_000;

/// The result of a future that must complete in time.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Waits until a condition holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    in_time(what, async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            looks.tick().await;
        }
    })
    .await;
}

/// A topic of a mock cluster.
pub struct Place {
    pub cluster: Cluster,
    pub options: KafkaOptions,
}

impl Place {
    pub fn new(partitions: u32, properties: &[(&str, &str)]) -> Self {
        let (cluster, topic) = (Cluster::start(), unique("faults"));
        let mut options = options(&cluster.brokers, &topic, NonZeroU32::new(partitions).expect("some"));
        options.properties = owned(properties);
        let count = i32::try_from(partitions).expect("few");
        cluster.with(move |mock| mock.create_topic(&topic, count, 1)).expect("a topic");
        Self { cluster, options }
    }

    pub async fn publisher(&self) -> Arc<KafkaPublisher> {
        let publisher = KafkaPublisher::open(self.options.clone()).await.expect("the publisher opens");
        until("the publisher is up", || publisher.state() == BusState::Up).await;
        Arc::new(publisher)
    }

    pub fn fail(&self, api: Api, codes: impl IntoIterator<Item = Code>) {
        let codes: Vec<Code> = codes.into_iter().collect();
        self.cluster.with(move |mock| mock.request_errors(api, &codes));
    }

    pub fn fail_no_more(&self, api: Api) {
        self.cluster.with(move |mock| mock.clear_request_errors(api));
    }

    pub fn go_down(&self) {
        self.cluster.with(|mock| mock.broker_down(-1)).expect("a broker");
    }

    pub fn come_up(&self) {
        self.cluster.with(|mock| mock.broker_up(-1)).expect("a broker");
    }

    pub fn answer_after(&self, delay: Duration) {
        self.cluster.with(move |mock| mock.broker_round_trip_time(-1, delay)).expect("a broker");
    }
}

pub fn owned(properties: &[(&str, &str)]) -> BTreeMap<String, String> {
    properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub fn batch(partition: Partition, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> RecordBatch {
    let mut records = Records::default();
    let time = Timestamp::from_unix_micros(TIME_MICROS).expect("in range");
    for value in values {
        records.push(b"shop", time, false, |buffer| buffer.extend_from_slice(value.as_ref())).expect("small enough");
    }
    RecordBatch { partition, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None }
}

/// The values of ten records.
pub fn ten(number: usize) -> Vec<String> {
    (number * 10..number * 10 + 10).map(|n| n.to_string()).collect()
}

/// Publishes batches of ten records to the partitions in turn.
pub fn publish_tens(publisher: &KafkaPublisher, partitions: u32, numbers: std::ops::Range<usize>) -> Vec<Receipt> {
    numbers
        .map(|number| {
            let partition = u32::try_from(number).expect("small") % partitions;
            publisher.publish(batch(partition, ten(number)).into()).expect("the publisher takes the batch")
        })
        .collect()
}

pub fn tens(partitions: usize, partition: usize, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.filter(|number| number % partitions == partition).flat_map(ten).collect()
}

pub async fn all_settled(receipts: Vec<Receipt>) {
    for (number, receipt) in receipts.into_iter().enumerate() {
        let settled = in_time(&format!("batch {number}"), receipt.settled).await;
        settled.unwrap_or_else(|error| panic!("batch {number}: {error}"));
    }
}

pub async fn down(publisher: &KafkaPublisher) -> String {
    until("the publisher is down", || publisher.state() != BusState::Up).await;
    match publisher.state() {
        BusState::Down(reason) => reason,
        BusState::Up => "up again".to_owned(),
    }
}

pub async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

pub fn admin(options: &KafkaOptions) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &options.brokers).create().expect("a client")
}

/// Two records per request: the client has no second request for a partition in flight while the first contains five
/// records or more.
pub fn at_kafka(brokers: &str) -> KafkaOptions {
    let options = options(brokers, &unique("faults"), NonZeroU32::MIN);
    let properties = owned(&[("batch.num.messages", "2"), ("linger.ms", "20")]);
    KafkaOptions { compression: "none".to_owned(), properties, ..options }
}
