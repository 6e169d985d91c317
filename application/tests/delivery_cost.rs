//! What the delivery of a batch costs on a healthy bus: allocations, which are bounded here, and time, which is printed.

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use application::delivery::Delivery;
use async_trait::async_trait;
use domain::admission::Usage;
use domain::delivery::{Durability, Guarantee};
use domain::partition::Partition;
use domain::ports::{
    Backlog, BacklogPartition, BoxFuture, BusState, Journal, JournalChunk, JournalError, PublishError, Receipt,
    RecordPublisher, RefusedRecord,
};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use testkit::NoTelemetry;
use tokio::sync::oneshot;

/// Batches that are measured.
const BATCHES: usize = 20_000;
/// Batches that are in flight at the same time.
const IN_FLIGHT: usize = 10;
/// Allocations of a batch, including three of the bus of this test: the batch and its guarantees, which are shared; the
/// channel of its promise; the task that waits for the bus.
const ALLOCATIONS_MAX: f64 = 8.0;

/// A bus that promises at once and reports when the test says so.
#[derive(Default)]
struct Bus {
    unsettled: Mutex<Vec<oneshot::Sender<Result<(), PublishError>>>>,
}

const ROOM: Usage = Usage { used_bytes: 0, bytes_max: 1 << 30 };

#[async_trait]
impl RecordPublisher for Bus {
    fn partition_count(&self) -> NonZeroU32 {
        NonZeroU32::MIN
    }

    fn publish(&self, _: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        let (settle, settled) = oneshot::channel();
        self.unsettled.lock().expect("no panic").push(settle);
        Ok(Receipt {
            promised: Box::pin(std::future::ready(Ok(Durability::Buffered))),
            settled: Box::pin(async move { settled.await.unwrap_or(Err(PublishError::Closed)) }),
        })
    }

    fn buffer(&self) -> Usage {
        ROOM
    }

    fn usage(&self, _: Partition) -> Usage {
        ROOM
    }

    fn state(&self) -> BusState {
        BusState::Up
    }

    async fn drain(&self, _: Duration) -> usize {
        0
    }
}

/// A journal that gets nothing on a healthy bus.
struct Unused;

#[async_trait]
impl Backlog for Unused {
    fn found(&self) -> Vec<BacklogPartition> {
        Vec::new()
    }

    async fn read(&self, _: Partition, _: u64, _: u64) -> Result<JournalChunk, JournalError> {
        Err(JournalError::Closed)
    }

    fn release(&self, _: Partition, _: u64) {}
}

#[async_trait]
impl Journal for Unused {
    fn append(
        &self,
        _: u64,
        _: Arc<RecordBatch>,
        _: Arc<[Guarantee]>,
    ) -> Result<BoxFuture<Result<(), JournalError>>, JournalError> {
        Err(JournalError::Closed)
    }

    fn resume(&self, _: Partition) {}

    async fn keep_refused(&self, _: Arc<RecordBatch>, _: Vec<RefusedRecord>) -> Result<(), JournalError> {
        Err(JournalError::Closed)
    }

    async fn adopt(&self) -> Result<Option<Arc<dyn Backlog>>, JournalError> {
        Ok(None)
    }

    fn usage(&self) -> Usage {
        ROOM
    }

    fn has_room(&self, _: u64) -> bool {
        true
    }

    fn oldest(&self) -> Option<Timestamp> {
        None
    }

    fn fault(&self) -> Option<String> {
        None
    }
}

fn batches(count: usize) -> Vec<(RecordBatch, Vec<Guarantee>)> {
    let batch = || {
        let mut records = Records::default();
        for _ in 0..10 {
            records
                .push(b"source", Timestamp::MIN, false, |buffer| buffer.extend_from_slice(&[b'x'; 200]))
                .expect("small");
        }
        let guarantee = Guarantee::AtMostOnce;
        (RecordBatch { partition: 0, guarantee, records, trace_parent: None }, vec![guarantee; 10])
    };
    (0..count).map(|_| batch()).collect()
}

/// Delivers batches and lets the bus acknowledge them, some at a time.
async fn deliver(delivery: &Delivery, bus: &Bus, batches: Vec<(RecordBatch, Vec<Guarantee>)>) {
    for (number, (batch, guarantees)) in batches.into_iter().enumerate() {
        let promised = delivery.deliver(batch, guarantees).expect("taken");
        assert_eq!(promised.await.expect("an answer").expect("a promise").durability, Durability::Buffered);
        if number % IN_FLIGHT == IN_FLIGHT - 1 {
            for settle in bus.unsettled.lock().expect("no panic").drain(..) {
                let _ = settle.send(Ok(()));
            }
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn a_batch_on_a_healthy_bus_costs_few_allocations() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for has_journal in [false, true] {
        let bus = Arc::<Bus>::default();
        let publisher = Arc::<Bus>::clone(&bus);
        let telemetry = Arc::new(NoTelemetry);
        let delivery = if has_journal {
            Delivery::with_journal(publisher, Arc::new(Unused), Duration::from_secs(10), telemetry)
        } else {
            Delivery::new(publisher, telemetry)
        };
        runtime.block_on(deliver(&delivery, &bus, batches(10 * IN_FLIGHT)));
        let mut best = Duration::MAX;
        let mut allocations = 0.0;
        for _ in 0..5 {
            let measured = batches(BATCHES);
            let began = Instant::now();
            let counted = allocation_counter::measure(|| runtime.block_on(deliver(&delivery, &bus, measured)));
            best = best.min(began.elapsed());
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let per_batch = counted.count_total as f64 / BATCHES as f64;
            allocations = per_batch;
        }
        let nanos = best.as_nanos() / BATCHES as u128;
        println!("journal={has_journal} allocations_per_batch={allocations:.2} ns_per_batch={nanos}");
        assert!(allocations <= ALLOCATIONS_MAX, "{allocations}");
    }
}
