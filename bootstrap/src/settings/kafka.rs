//! Settings of Kafka, and the options of its adapter that they become.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use adapter_kafka::{ALLOWED_PROPERTIES, KafkaOptions, RecordForm, Sasl, SaslMechanism, Tls};
use domain::partition::{Partitioner, PriorityLane};
use serde::{Deserialize, Serialize, Serializer};

use super::invalid::InvalidSettings;
use super::secrets::{MASK, Secret, is_secret};
use super::values::{DurationSetting, List, Word, one_of, word};

/// Settings of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Bootstrap servers.
    pub brokers: List<String>,
    /// Topic of the records; dead letters go to the topic with the suffix `.dlq`.
    pub topic: String,
    /// Consumer group that fills the store.
    pub group: String,
    /// Number of partitions of a topic that is created.
    pub partitions: u32,
    /// Replication factor of a topic that is created.
    pub replication_factor: u16,
    /// Retention time of a topic that is created.
    pub retention: DurationSetting,
    /// Compression of batches: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// Form of the records: `single`, one event each; `packed`, several events of one request and source in one record,
    /// which costs less. Upgrade every consumer before setting `packed` (docs/kafka.md).
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub records: RecordForm,
    /// Which partitions events outside of the priority lane may use: `shared`, all; `exclusive`, all but 0, which is
    /// reserved for ERROR and FATAL.
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub priority_lane: PriorityLane,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// PEM file of the trusted certificate authorities; empty for those of the system.
    pub tls_ca: PathBuf,
    /// PEM file of the client certificate, for brokers that require one.
    pub tls_certificate: PathBuf,
    /// PEM file of the client certificate's key.
    pub tls_key: PathBuf,
    /// SASL mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; empty for none.
    pub sasl_mechanism: String,
    /// SASL user name.
    pub sasl_username: String,
    /// SASL password.
    pub sasl_password: Secret,
    /// Other properties of librdkafka, with `_` for `.`.
    // The library drops a section without members.
    #[serde(default, serialize_with = "masked")]
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: List::default(),
            topic: "logs".to_owned(),
            group: "log-processor".to_owned(),
            partitions: 3,
            replication_factor: 1,
            retention: DurationSetting(Duration::from_secs(7 * 24 * 3600)),
            compression: "snappy".to_owned(),
            records: RecordForm::Single,
            priority_lane: PriorityLane::Shared,
            tls: false,
            tls_ca: PathBuf::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: Secret::default(),
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaSettings {
    /// The options of the Kafka adapter, for a producer with this much memory.
    ///
    /// # Errors
    /// An invalid setting, by the name of its key.
    pub fn options(&self, memory_bytes_max: usize) -> Result<KafkaOptions, InvalidSettings> {
        let refuse = |message: String| Err(InvalidSettings(message));
        if self.brokers.0.is_empty() {
            return refuse("kafka.brokers must name a broker, such as 127.0.0.1:9092, when bus is kafka".to_owned());
        }
        let Some(partitions) = NonZeroU32::new(self.partitions).filter(|partitions| partitions.get() <= 10_000) else {
            return refuse("kafka.partitions must be from 1 to 10000".to_owned());
        };
        if Partitioner::new(self.priority_lane, partitions).is_err() {
            return refuse("kafka.priority_lane exclusive needs kafka.partitions of at least 2".to_owned());
        }
        if self.replication_factor == 0 {
            return refuse("kafka.replication_factor must be at least 1".to_owned());
        }
        for (key, value) in [("topic", &self.topic), ("group", &self.group)] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            // The longest topic name is 249; the suffix of the dead letter topic has four characters.
            if value.is_empty() || value.len() > 245 || !value.chars().all(legal) {
                return refuse(format!("kafka.{key} has 1 to 245 characters of a-z, A-Z, 0-9, '.', '_' and '-'"));
            }
        }
        let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
        if !codecs.contains(&self.compression.as_str()) {
            return refuse(format!("kafka.compression: {:?} is none of {}", self.compression, codecs.join(", ")));
        }
        let path = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        let identity = match (path(&self.tls_certificate), path(&self.tls_key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return refuse("kafka.tls_certificate and kafka.tls_key belong together".to_owned()),
        };
        if !self.tls && (identity.is_some() || path(&self.tls_ca).is_some()) {
            return refuse("kafka.tls must be true when a kafka.tls_… file is given".to_owned());
        }
        let mut properties = BTreeMap::new();
        for (name, value) in &self.properties {
            let property = name.to_ascii_lowercase().replace('_', ".");
            let allowed = ALLOWED_PROPERTIES.iter().find(|allowed| allowed.replace('_', ".") == property);
            let Some(allowed) = allowed else {
                return refuse(format!(
                    "kafka.properties.{name}: {property} carries a guarantee, has a separate setting or is unknown, and cannot be set"
                ));
            };
            properties.insert((*allowed).to_owned(), value.clone());
        }
        Ok(KafkaOptions {
            brokers: self.brokers.to_string(),
            topic: self.topic.clone(),
            partitions,
            replication_factor: self.replication_factor,
            retention: self.retention.0,
            compression: self.compression.clone(),
            records: self.records,
            group: self.group.clone(),
            memory_bytes_max,
            tls: self.tls.then(|| Tls { ca: path(&self.tls_ca), identity }),
            sasl: self.sasl()?,
            properties,
        })
    }

    fn sasl(&self) -> Result<Option<Sasl>, InvalidSettings> {
        let (username, password) = (&self.sasl_username, &self.sasl_password.0);
        if self.sasl_mechanism.is_empty() {
            let given = !username.is_empty() || !password.is_empty();
            let message = "kafka.sasl_mechanism must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 to log in";
            return if given { Err(InvalidSettings(message.to_owned())) } else { Ok(None) };
        }
        let known = SaslMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == self.sasl_mechanism);
        let Some(mechanism) = known else {
            let message = "is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512";
            return Err(InvalidSettings(format!("kafka.sasl_mechanism: {:?} {message}", self.sasl_mechanism)));
        };
        if username.is_empty() || password.is_empty() {
            let message = "kafka.sasl_username and kafka.sasl_password are needed to log in";
            return Err(InvalidSettings(message.to_owned()));
        }
        Ok(Some(Sasl { mechanism, username: username.clone(), password: password.clone() }))
    }
}

impl Word for RecordForm {
    const ALL: &'static [(&'static str, Self)] = &[("single", Self::Single), ("packed", Self::Packed)];
}

impl Word for PriorityLane {
    const ALL: &'static [(&'static str, Self)] = &[("shared", Self::Shared), ("exclusive", Self::Exclusive)];
}

fn masked<S: Serializer>(properties: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(properties.iter().map(|(name, value)| (name, if is_secret(name) { MASK } else { value })))
}
