//! Changes to a topic made outside the program: partitions, settings, and records of another producer.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Maximum wait for the broker.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic on brokers that are reached directly.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The brokers.
    pub brokers: String,
    /// Its name.
    pub name: String,
}

/// A record of another producer.
#[derive(Clone, Debug)]
pub struct ForeignRecord {
    /// Its partition.
    pub partition: i32,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether a client gave the id in it.
    pub client_id: bool,
}

impl Topic {
    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    /// Sets the number of partitions.
    pub async fn set_partitions(&self, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let answer = admin.create_partitions(&[NewPartitions::new(&self.name, partitions)], &options).await;
        answer.expect("an answer")[0].as_ref().expect("partitions are added");
    }

    /// Changes a setting of the topic.
    pub async fn set(&self, name: &str, value: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let change = AlterConfig::new(ResourceSpecifier::Topic(&self.name)).set(name, value);
        let answer = admin.alter_configs([&change], &AdminOptions::new()).await;
        answer.expect("an answer")[0].as_ref().expect("the setting is changed");
    }

    /// Deletes the topic, and its dead letter topic.
    pub async fn remove(&self) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let letters = format!("{}.dlq", self.name);
        // Failure only leaves data behind.
        let _ = admin.delete_topics(&[&self.name, &letters], &AdminOptions::new()).await;
    }

    /// Sends records, and waits until they are acknowledged.
    pub async fn produce(&self, records: Vec<ForeignRecord>) {
        let (client, name) = (self.client(), self.name.clone());
        let send = move || {
            let mut client = client;
            client.set("acks", "all").set("message.max.bytes", "2000000");
            let producer: BaseProducer = client.create().expect("a producer");
            for record in &records {
                let mut message = BaseRecord::<[u8], [u8]>::to(&name).key(b"other").payload(&record.value);
                message.partition = Some(record.partition);
                if record.client_id {
                    let header = Header { key: "id-origin", value: Some("client") };
                    message.headers = Some(OwnedHeaders::new().insert(header));
                }
                producer.send(message).map_err(|(error, _)| error).expect("it is queued");
            }
            producer.flush(PATIENCE).expect("they are sent");
        };
        tokio::task::spawn_blocking(send).await.expect("they are sent");
    }
}
