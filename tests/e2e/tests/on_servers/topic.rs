//! Topics of Kafka as another program writes and reads them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::DEADLINE;
use e2e::servers::Servers;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Sends records as another producer, sequentially, to one partition.
pub fn produce(servers: &Servers, partition: i32, values: &[&[u8]]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &servers.brokers).set("acks", "all").create().expect("a producer");
    for value in values {
        let record = BaseRecord::<[u8], [u8]>::to(&servers.name).partition(partition).key(b"other").payload(*value);
        producer.send(record).map_err(|(error, _)| error).expect("it is queued");
    }
    producer.flush(DEADLINE).expect("they are sent");
}

/// Reads a topic from its beginning until `enough`.
pub fn read_topic(
    servers: &Servers,
    topic: &str,
    enough: impl Fn(&[(Vec<u8>, BTreeMap<String, String>)]) -> bool,
) -> Vec<(Vec<u8>, BTreeMap<String, String>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.brokers)
        .set("group.id", format!("reader-of-{topic}"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[topic]).expect("a subscription");
    let (mut records, began) = (Vec::new(), Instant::now());
    while !enough(&records) {
        assert!(began.elapsed() < DEADLINE, "{} records in {topic}", records.len());
        // A topic that does not exist yet is a transient error.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let headers = message.headers().expect("headers");
        let text = |value: Option<&[u8]>| String::from_utf8(value.expect("a value").to_vec()).expect("text");
        let headers = headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect();
        records.push((message.payload().unwrap_or_default().to_vec(), headers));
    }
    records
}
