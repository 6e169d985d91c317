//! The cost of an event at each step of its way through a process.
//!
//! Each [`Step`] runs the product's own code on events of 225 bytes, or, where a search is to find them, of 320 bytes with many
//! numbers and ids. `cargo bench -p micro` measures times;
//! `scripts/instructions` counts instructions, which do not depend on the load of the machine, and guards against
//! regressions.

#![expect(clippy::expect_used, reason = "failed measurements panic")]

mod agents;
mod sealing;

use std::fmt::Write as _;
use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_embedded::segmented_log::SegmentedLog;
use adapter_embedded::storage::{Storage, StorageFile};
use adapter_http::native::take_events;
use adapter_postgres::Rows;
use application::codec::{self, Decoder};
use application::delivery::Delivery;
use application::ingest::Ingest;
use async_trait::async_trait;
use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::DeliveryPolicy;
use domain::event::LogEvent;
use domain::level::Level;
use domain::partition::{Partition, Partitioner, PriorityLane};
use domain::ports::{BusState, GroupPartition, IdSource, PublishError, Receipt, RecordPublisher};
use domain::record::{RecordBatch, Records};
use domain::rollup::{RollupSources, Rollups};
use domain::timestamp::Timestamp;
use testkit::{NoTelemetry, clock_at};

/// Events of a batch.
pub const EVENTS: usize = 100;

/// A step that can be run any number of times.
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// The number of events of a run.
    pub events: usize,
    /// Runs it once.
    pub run: Box<dyn FnMut()>,
}

/// Runs a step. Instructions are counted inside this function, by its name.
#[inline(never)]
pub fn counted(run: &mut dyn FnMut()) {
    run();
}

impl Step {
    /// A step with the events of one batch.
    fn of_batch(name: &'static str, run: impl FnMut() + 'static) -> Self {
        Self { name, events: EVENTS, run: Box::new(run) }
    }
}

/// All steps, in processing order; then the intake of the same events by each protocol of agents.
#[must_use]
pub fn steps() -> Vec<Step> {
    let body = body();
    let ingest = Arc::new(ingest());
    let partitioner = partitioner();
    let partitions = NonZeroU32::new(6).expect("not zero");
    let sources: Vec<String> = (0..EVENTS).map(|n| format!("checkout-{n:03}")).collect();
    let records = records();
    let decoded: Vec<LogEvent<'static>> =
        records.iter().map(|record| codec::decode(record).expect("an event").into_owned()).collect();
    let group_partition = GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 1 };
    let (encoded, rolled_up, appended) = (decoded.clone(), decoded.clone(), records.clone());
    let mut rollup_sources = RollupSources::default();
    let of_agents = agents::steps(&ingest);
    // A segment that is never full, so that only appending is measured.
    let (mut log, _) = SegmentedLog::open(Arc::new(Nowhere), u64::MAX, 0).expect("nothing can fail");
    let mut steps = vec![
        Step::of_batch("intake: parse, validate, partition, encode", move || {
            let mut intake = ingest.intake(None, None);
            take_events(body.as_bytes(), &mut intake).expect("events");
        }),
        Step::of_batch("partition", move || {
            for source in &sources {
                std::hint::black_box(partitioner.partition(source, Level::Info, partitions));
            }
        }),
        Step::of_batch("encode", move || {
            let mut records = Records::default();
            for event in &encoded {
                codec::encode(event, &mut records).expect("small");
            }
        }),
        Step::of_batch("segment append", move || {
            let entries = appended
                .iter()
                .map(|record| (record.timestamp, move |buffer: &mut Vec<u8>| buffer.extend_from_slice(record.value)));
            log.append(entries).expect("small");
            log.sync().expect("nothing can fail");
        }),
        Step::of_batch("decode", move || {
            let mut decoder = Decoder::default();
            for record in records.iter() {
                std::hint::black_box(decoder.decode(record).expect("an event"));
            }
        }),
        Step::of_batch("COPY encoding", move || {
            let mut rows = Rows::default();
            for (offset, event) in (0..).zip(&decoded) {
                rows.push(&group_partition, offset, event);
            }
            std::hint::black_box(rows.finish());
        }),
        Step::of_batch("count for rollups", move || {
            let mut rollups = Rollups::of(&rolled_up);
            rollups.limit_sources(Timestamp::MIN, &mut rollup_sources);
            std::hint::black_box(rollups.as_slice().len());
        }),
    ];
    steps.push(sealing::step());
    steps.extend(of_agents);
    steps
}

/// A batch as a service would send it.
fn body() -> String {
    let mut body = String::from("[");
    for n in 0..EVENTS {
        let comma = if n == 0 { "" } else { "," };
        write!(
            body,
            "{comma}{{\"source\":\"checkout-007\",\"level\":\"INFO\",\"timestamp\":\"2026-01-01T00:00:00.{n:03}Z\",\
             \"message\":\"payment accepted after retry on upstream for order {n:05} of a session in\",\
             \"metadata\":{{\"requestId\":\"{n:016x}\",\"userId\":\"{n}\",\"durationMs\":{n}}}}}"
        )
        .expect("memory");
    }
    body.push(']');
    body
}

/// The records of that batch.
fn records() -> Records {
    let (body, taken) = (body(), Arc::new(Taken::default()));
    let ingest = ingest_to(Arc::<Taken>::clone(&taken));
    let mut intake = ingest.intake(None, None);
    take_events(body.as_bytes(), &mut intake).expect("events");
    let delivered = std::pin::pin!(intake.deliver());
    // The publisher accepts them at once and then reports that it is full, so nothing waits.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::future::Future::poll(delivered, &mut context).is_ready());
    let records = taken.0.lock().expect("no panic").take().expect("they were published");
    assert_eq!(records.len(), EVENTS);
    records
}

fn partitioner() -> Partitioner {
    Partitioner::new(PriorityLane::Shared, NonZeroU32::new(6).expect("not zero")).expect("valid")
}

fn ingest() -> Ingest {
    ingest_to(Arc::<Taken>::default())
}

fn ingest_to(publisher: Arc<Taken>) -> Ingest {
    let delivery = Arc::new(Delivery::new(publisher, Arc::new(NoTelemetry)));
    Ingest::new(
        delivery,
        Arc::new(clock_at("2026-01-01T12:00:00Z")),
        Arc::new(Ids::default()),
        Arc::new(NoTelemetry),
        DeliveryPolicy::default(),
        partitioner(),
    )
}

/// Keeps the last batch.
#[derive(Default)]
struct Taken(Mutex<Option<Records>>);

#[async_trait]
impl RecordPublisher for Taken {
    fn partition_count(&self) -> NonZeroU32 {
        NonZeroU32::new(6).expect("not zero")
    }

    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        *self.0.lock().expect("no panic") = Some(batch.records.clone());
        Err(PublishError::Full)
    }

    fn buffer(&self) -> Usage {
        Usage { used_bytes: 0, bytes_max: 1 << 30 }
    }

    fn usage(&self, _: Partition) -> Usage {
        self.buffer()
    }

    fn state(&self) -> BusState {
        BusState::Up
    }

    async fn drain(&self, _: Duration) -> usize {
        0
    }
}

#[derive(Default)]
struct Ids(Mutex<u64>);

impl IdSource for Ids {
    fn new_id(&self, now: Timestamp) -> Uuid {
        let mut number = self.0.lock().expect("no panic");
        *number += 1;
        let millis = u64::try_from(now.unix_micros() / 1_000).unwrap_or(0);
        let mut random = [0; 10];
        random.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, of)| *byte = of);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Files that store nothing.
struct Nowhere;

impl Storage for Nowhere {
    fn create(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(Self))
    }

    fn open(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(Self))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for Nowhere {
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
