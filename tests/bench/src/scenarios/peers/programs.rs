//! Spillway and other programs that take events and write them to Kafka, with their settings.
//!
//! The settings give each program the same promise towards Kafka: `acks=all`, snappy, retries without a limit, and no
//! message that is discarded because a queue is full. Measurements of their own are off in the others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::{Process, dead_address};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::numbered::Body;
use crate::scenarios::until;
use crate::test_cluster::{Installation, TestCluster};

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The producer.
    Spillway,
    /// The OpenTelemetry Collector with the components of `tests/bench/collector`.
    Collector,
    /// syslog-ng of Debian.
    SyslogNg,
    /// rsyslog of Debian.
    Rsyslog,
}

/// When a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Once Kafka has its events, or a disk.
    Acknowledged,
    /// Once its events are in memory. All that TCP without answers can have.
    Buffered,
}

/// What a record of Kafka contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// One event.
    Single,
    /// Several events.
    Packed,
}

/// A program with its settings, and the body that it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The program.
    pub program: Program,
    /// When it answers.
    pub promise: Promise,
    /// What it writes.
    pub records: Records,
    /// What it takes.
    pub body: Body,
}

/// A running program.
pub enum Running {
    /// Spillway.
    Spillway(Process),
    /// Another one, killed on drop.
    Peer {
        /// Its process.
        child: Child,
        /// Where it listens.
        address: SocketAddr,
    },
}

impl Program {
    /// Its name in the tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Spillway => "Spillway",
            Self::Collector => "Collector",
            Self::SyslogNg => "syslog-ng",
            Self::Rsyslog => "rsyslog",
        }
    }

    /// Its file, where `scripts/bench` puts it.
    fn file(self, test_cluster: &TestCluster) -> PathBuf {
        match self {
            Self::Spillway => PathBuf::from(test_cluster.spillway()),
            Self::Collector => test_cluster.peers().join("collector"),
            Self::SyslogNg => unpacked(test_cluster).join("usr/sbin/syslog-ng"),
            Self::Rsyslog => unpacked(test_cluster).join("usr/sbin/rsyslogd"),
        }
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_there(self, test_cluster: &TestCluster) -> bool {
        self.file(test_cluster).is_file()
    }
}

impl Subject {
    /// Its name in the tables.
    #[must_use]
    pub fn label(self) -> String {
        let promise = match self.promise {
            Promise::Acknowledged => "acknowledged",
            Promise::Buffered => "buffered",
        };
        let records = match self.records {
            Records::Single => "single",
            Records::Packed => "packed",
        };
        format!("{}, {promise}, {records}, {}", self.program.label(), self.body.label())
    }

    /// Starts it and waits until it listens. A directory that an earlier process of the same program had is continued.
    pub async fn start(self, test_cluster: &TestCluster, installation: &Installation<'_>, directory: &Path) -> Running {
        let address = dead_address();
        let file = self.program.file(test_cluster);
        let root = unpacked(test_cluster);
        let topic = installation.topic();
        let mut command = Command::new(file);
        let configuration = directory.join("configuration");
        let text = match self.program {
            Program::Spillway => return Running::Spillway(self.start_spillway(installation).await),
            Program::Collector => {
                command.arg(format!("--config=file:{}", configuration.display()));
                self.collector(address, &test_cluster.brokers(), topic)
            }
            Program::SyslogNg => {
                let version = syslog_ng_version(&root);
                command.arg("--foreground").arg("--no-caps").arg("--cfgfile").arg(&configuration);
                command.arg("--persist-file").arg(directory.join("persist"));
                command.arg("--pidfile").arg(directory.join("pid"));
                command.arg("--control").arg(directory.join("control"));
                command.arg("--module-path").arg(root.join("usr/lib/syslog-ng").join(&version));
                syslog_ng(&version, address, &test_cluster.brokers(), topic)
            }
            Program::Rsyslog => {
                command.arg("-n").arg("-f").arg(&configuration).arg("-i").arg(directory.join("pid"));
                command.arg("-M").arg(root.join(format!("usr/lib/{}/rsyslog", multiarch())));
                rsyslog(directory, address, &test_cluster.brokers(), topic)
            }
        };
        std::fs::write(&configuration, text).expect("a file");
        let libraries =
            [format!("usr/lib/{}", multiarch()), format!("lib/{}", multiarch()), "usr/lib/syslog-ng".into()];
        let libraries = libraries.map(|library| root.join(library).display().to_string()).join(":");
        command.env("LD_LIBRARY_PATH", libraries).current_dir(directory);
        // Standard output is for the tables.
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let label = self.program.label();
        until("the program listens", async || {
            let exit = child.try_wait().expect("its state");
            assert!(exit.is_none(), "{label} ended: {exit:?}");
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        Running::Peer { child, address }
    }

    async fn start_spillway(self, installation: &Installation<'_>) -> Process {
        let promise = match self.promise {
            Promise::Acknowledged => "at-least-once",
            Promise::Buffered => "at-most-once",
        };
        let records = match self.records {
            Records::Single => "single",
            Records::Packed => "packed",
        };
        let variables = [("SPILLWAY_DELIVERY__INFO", promise), ("SPILLWAY_KAFKA__RECORDS", records)];
        installation.start("producer", &variables).await
    }

    /// A batch has at most 4,096 events, which are less than the megabyte that a message may have.
    fn collector(self, address: SocketAddr, brokers: &str, topic: &str) -> String {
        let encoding = match self.records {
            Records::Single => "raw",
            Records::Packed => "otlp_proto",
        };
        let (queue, processors) = match self.promise {
            Promise::Acknowledged => ("enabled: false", ""),
            Promise::Buffered => ("block_on_overflow: true", "batch"),
        };
        format!(
            r#"receivers:
  otlp:
    protocols:
      http:
        endpoint: "{address}"
processors:
  batch:
    send_batch_size: 4096
    send_batch_max_size: 4096
exporters:
  kafka:
    brokers: ["{brokers}"]
    logs:
      topic: "{topic}"
      encoding: {encoding}
    producer:
      required_acks: all
      compression: snappy
      allow_auto_topic_creation: false
    retry_on_failure:
      initial_interval: 1s
      max_interval: 5s
      max_elapsed_time: 0s
    sending_queue:
      {queue}
service:
  telemetry:
    metrics:
      level: none
    logs:
      level: warn
  pipelines:
    logs:
      receivers: [otlp]
      processors: [{processors}]
      exporters: [kafka]
"#
        )
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Spillway(process) => process.http("producer").address(),
            Self::Peer { address, .. } => *address,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match self {
            Self::Spillway(process) => process.pid(),
            Self::Peer { child, .. } => child.id().expect("it runs"),
        }
    }

    /// Kills it like `kill -9`.
    pub async fn kill(self) {
        match self {
            Self::Spillway(process) => drop(process.kill().await),
            Self::Peer { mut child, .. } => child.kill().await.expect("it can be killed"),
        }
    }
}

/// The files of the Debian packages.
fn unpacked(test_cluster: &TestCluster) -> PathBuf {
    test_cluster.peers().join("deb/root")
}

/// Debian's name of the directory of libraries.
fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

/// The version of the unpacked syslog-ng, such as `3.38`: the name of the directory of its modules.
fn syslog_ng_version(root: &Path) -> String {
    let entries = std::fs::read_dir(root.join("usr/lib/syslog-ng")).expect("its modules");
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.starts_with(|first: char| first.is_ascii_digit())).expect("its version")
}

/// Its destination discards a message that librdkafka's queue does not take several times, so that queue is large.
fn syslog_ng(version: &str, address: SocketAddr, brokers: &str, topic: &str) -> String {
    format!(
        r#"@version: {version}
options {{ stats-freq(0); log-msg-size(65536); }};
source lines {{
    network(ip("{ip}") port({port}) transport("tcp") flags(no-parse) max-connections(128) log-iw-size(128000));
}};
destination kafka {{
    kafka-c(bootstrap-servers("{brokers}") topic("{topic}") message("$MSG") log-fifo-size(200000) poll-timeout(1000)
        retries(1000000)
        config("acks" => "all", "enable.idempotence" => "true", "compression.codec" => "snappy",
               "queue.buffering.max.kbytes" => "1048576", "queue.buffering.max.messages" => "10000000"));
}};
log {{ source(lines); destination(kafka); flags(flow-control); }};
"#,
        ip = address.ip(),
        port = address.port(),
    )
}

/// Its queue is in memory, and a full queue blocks its senders.
fn rsyslog(directory: &Path, address: SocketAddr, brokers: &str, topic: &str) -> String {
    format!(
        r#"global(workDirectory="{directory}" maxMessageSize="64k")
module(load="imtcp")
module(load="omkafka")
template(name="line" type="string" string="%rawmsg%")
main_queue(queue.size="100000" queue.dequeueBatchSize="1024")
input(type="imtcp" address="{ip}" port="{port}" ruleset="kafka")
ruleset(name="kafka" queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="1024" queue.timeoutenqueue="60000") {{
  action(type="omkafka" topic="{topic}" broker="{brokers}" template="line" partitions.auto="on"
         confParam=["compression.codec=snappy", "acks=all", "enable.idempotence=true", "queue.buffering.max.kbytes=65536",
                    "queue.buffering.max.messages=100000"]
         resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="{directory}/failed" action.resumeRetryCount="-1"
         action.resumeInterval="1")
}}
"#,
        directory = directory.display(),
        ip = address.ip(),
        port = address.port(),
    )
}
