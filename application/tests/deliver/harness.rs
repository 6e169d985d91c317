//! A delivery over an in-memory bus and journal that the test controls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use application::alerts::ProducerAlerts;
use application::delivery::{Delivery, JournalStatus, Promised};
use async_trait::async_trait;
use domain::admission::Usage;
use domain::alert::{Alert, AlertKind, AlertState};
use domain::delivery::breaker::BreakerState;
use domain::delivery::{Deliveries, Durability, Guarantee, count_guarantees};
use domain::partition::Partition;
use domain::ports::{
    Backlog, BacklogPartition, BoxFuture, BusState, Journal, JournalChunk, JournalError, JournaledBatch, MockAlerter,
    MockTelemetry, PublishError, Receipt, RecordPublisher, RefusedRecord,
};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

pub const LOOSE: Guarantee = Guarantee::AtMostOnce;
pub const STRICT: Guarantee = Guarantee::AtLeastOnce;

pub const MEMORY_BYTES_MAX: u64 = 1_000_000;
pub const ACK_WAIT: Duration = Duration::from_secs(1);
pub const DEADLINE: Duration = Duration::from_secs(600);

/// A bus that keeps batches until the test settles them.
#[derive(Default)]
pub struct Bus {
    state: Mutex<BusInside>,
}

#[derive(Default)]
pub struct BusInside {
    pub down: bool,
    pub full: bool,
    /// Everything that was published, in order.
    pub log: Vec<(Partition, String)>,
    pub unsettled: VecDeque<Unsettled>,
    /// Settles at once.
    pub quick: bool,
}

pub struct Unsettled {
    pub values: Vec<String>,
    pub settle: oneshot::Sender<Result<(), PublishError>>,
}

pub fn values(batch: &RecordBatch) -> Vec<String> {
    batch.records.iter().map(|record| String::from_utf8(record.value.to_vec()).expect("text")).collect()
}

impl Bus {
    pub fn lock(&self) -> MutexGuard<'_, BusInside> {
        self.state.lock().expect("no panic")
    }

    /// Settles the oldest batch.
    pub fn settle(&self, outcome: Result<(), PublishError>) -> Vec<String> {
        let oldest = self.lock().unsettled.pop_front().expect("a batch is there");
        let _ = oldest.settle.send(outcome);
        oldest.values
    }

    /// Records published to a partition.
    pub fn published(&self, partition: Partition) -> Vec<String> {
        self.lock().log.iter().filter(|(of, _)| *of == partition).map(|(_, value)| value.clone()).collect()
    }
}

#[async_trait]
impl RecordPublisher for Bus {
    fn partition_count(&self) -> NonZeroU32 {
        NonZeroU32::new(3).expect("not zero")
    }

    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        let mut inside = self.lock();
        if inside.down {
            return Err(PublishError::Unavailable("unavailable".into()));
        }
        if inside.full {
            return Err(PublishError::Full);
        }
        let values = values(&batch);
        inside.log.extend(values.iter().map(|value| (batch.partition, value.clone())));
        let (settle, settled) = oneshot::channel();
        if inside.quick {
            let _ = settle.send(Ok(()));
        } else {
            inside.unsettled.push_back(Unsettled { values, settle });
        }
        let buffered = batch.guarantee == Guarantee::AtMostOnce;
        Ok(Receipt {
            promised: Box::pin(async move {
                if buffered { Ok(Durability::Buffered) } else { std::future::pending().await }
            }),
            settled: Box::pin(async move { settled.await.unwrap_or(Err(PublishError::Closed)) }),
        })
    }

    fn buffer(&self) -> Usage {
        let bytes_max = MEMORY_BYTES_MAX;
        Usage { used_bytes: if self.lock().full { bytes_max } else { 0 }, bytes_max }
    }

    fn usage(&self, _: Partition) -> Usage {
        self.buffer()
    }

    fn state(&self) -> BusState {
        if self.lock().down { BusState::Down("unavailable".to_owned()) } else { BusState::Up }
    }

    async fn drain(&self, _: Duration) -> usize {
        self.lock().unsettled.len()
    }
}

pub type Entry = (String, Guarantee);

/// A journal in memory.
#[derive(Default)]
pub struct Disk {
    state: Mutex<DiskInside>,
}

#[derive(Default)]
pub struct DiskInside {
    pub entries: BTreeMap<Partition, BTreeMap<u64, Entry>>,
    pub released: BTreeMap<Partition, u64>,
    pub refused: Vec<(String, String)>,
    pub full: bool,
    pub fault: Option<String>,
    /// Appends complete only when the test calls [`Disk::write`].
    pub slow: bool,
    pub waiting: VecDeque<Waiting>,
    /// This many writes fail.
    pub failing: usize,
    /// Partitions that refuse appends after a failed write.
    pub failed: BTreeSet<Partition>,
    /// Refused records are not kept.
    pub keeps_no_refused: bool,
    /// Refused records are kept once this is true.
    pub keeps_refused_later: Option<watch::Receiver<bool>>,
    pub to_adopt: Vec<Arc<Disk>>,
    pub damaged_bytes: u64,
}

/// A queued batch.
pub struct Waiting {
    partition: Partition,
    entries: BTreeMap<u64, Entry>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl Disk {
    /// Writes the oldest waiting batches, or fails to.
    pub fn write(&self, batches: usize) {
        for _ in 0..batches {
            let mut inside = self.lock();
            let Waiting { partition, entries, done } = inside.waiting.pop_front().expect("a batch waits");
            let fails = inside.failing > 0 || inside.failed.contains(&partition);
            if fails {
                inside.failing = inside.failing.saturating_sub(1);
                inside.failed.insert(partition);
            } else {
                inside.entries.entry(partition).or_default().extend(entries);
            }
            let _ = done.send(if fails { Err(JournalError::Unavailable("a bad disk".into())) } else { Ok(()) });
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, DiskInside> {
        self.state.lock().expect("no panic")
    }

    /// Entries that are not released.
    pub fn kept(&self, partition: Partition) -> Vec<String> {
        let inside = self.lock();
        let released = inside.released.get(&partition).copied().unwrap_or(0);
        let entries = inside.entries.get(&partition);
        entries.into_iter().flat_map(|of| of.range(released..)).map(|(_, (value, _))| value.clone()).collect()
    }
}

#[async_trait]
impl Backlog for Disk {
    fn found(&self) -> Vec<BacklogPartition> {
        let inside = self.lock();
        let found = inside.entries.iter().filter_map(|(partition, entries)| {
            let guarantees: Vec<_> = entries.values().map(|(_, guarantee)| *guarantee).collect();
            Some(BacklogPartition {
                partition: *partition,
                first: *entries.first_key_value()?.0,
                next: entries.last_key_value()?.0 + 1,
                records: count_guarantees(&guarantees),
                oldest: None,
                damaged_bytes: inside.damaged_bytes,
            })
        });
        found.collect()
    }

    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        let inside = self.lock();
        let entries = inside.entries.get(&partition).into_iter().flat_map(|of| of.range(from..to)).take(3);
        let mut chunk = JournalChunk::default();
        for (number, (value, guarantee)) in entries {
            let batch = RecordBatch { guarantee: *guarantee, ..batch(partition, &[value]) };
            chunk.batches.push(JournaledBatch { first: *number, batch, guarantees: vec![*guarantee] });
            chunk.next = number + 1;
        }
        if chunk.batches.len() < 3 {
            chunk.next = to;
        }
        Ok(chunk)
    }

    fn release(&self, partition: Partition, before: u64) {
        let mut inside = self.lock();
        let released = inside.released.entry(partition).or_default();
        *released = before.max(*released);
    }
}

#[async_trait]
impl Journal for Disk {
    fn append(
        &self,
        first: u64,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
    ) -> Result<BoxFuture<Result<(), JournalError>>, JournalError> {
        let mut inside = self.lock();
        if inside.full {
            return Err(JournalError::Full);
        }
        let of = batch.partition;
        if inside.failed.contains(&of) {
            return Err(JournalError::Unavailable("a bad disk".into()));
        }
        let last = inside.entries.get(&of).and_then(|entries| entries.last_key_value());
        assert!(last.is_none_or(|(last, _)| *last < first), "numbers only ascend");
        let entries = (first..).zip(values(&batch).into_iter().zip(guarantees.iter().copied())).collect();
        let (done, written) = oneshot::channel();
        inside.waiting.push_back(Waiting { partition: of, entries, done });
        drop(inside);
        if !self.lock().slow {
            self.write(1);
        }
        Ok(Box::pin(async move { written.await.unwrap_or(Err(JournalError::Closed)) }))
    }

    fn resume(&self, partition: Partition) {
        let mut inside = self.lock();
        assert!(inside.failed.remove(&partition), "nothing has failed");
        assert!(inside.waiting.iter().all(|waiting| waiting.partition != partition), "writes are under way");
    }

    async fn keep_refused(&self, batch: Arc<RecordBatch>, refused: Vec<RefusedRecord>) -> Result<(), JournalError> {
        if self.lock().keeps_no_refused {
            return Err(JournalError::Full);
        }
        let later = self.lock().keeps_refused_later.clone();
        if let Some(mut later) = later {
            later.wait_for(|keeps| *keeps).await.expect("the test goes on");
        }
        let values = values(&batch);
        let kept = refused.into_iter().map(|record| (values[record.position].clone(), record.reason));
        self.lock().refused.extend(kept);
        Ok(())
    }

    async fn adopt(&self) -> Result<Option<Arc<dyn Backlog>>, JournalError> {
        Ok(self.lock().to_adopt.pop().map(|disk| disk as Arc<dyn Backlog>))
    }

    fn usage(&self) -> Usage {
        let used_bytes = if self.lock().full { 100_000_000 } else { 0 };
        Usage { used_bytes, bytes_max: 100_000_000 }
    }

    fn has_room(&self, _: u64) -> bool {
        !self.lock().full
    }

    fn oldest(&self) -> Option<Timestamp> {
        None
    }

    fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }
}

pub fn batch(partition: Partition, values: &[impl AsRef<str>]) -> RecordBatch {
    let mut records = Records::default();
    for value in values {
        let write = |buffer: &mut Vec<u8>| buffer.extend_from_slice(value.as_ref().as_bytes());
        records.push(b"key", Timestamp::MIN, false, write).expect("small");
    }
    RecordBatch { partition, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None }
}

/// Bus, journal and the lines between them, which replay until this is dropped.
pub struct Harness {
    pub bus: Arc<Bus>,
    pub disk: Arc<Disk>,
    pub delivery: Arc<Delivery>,
    pub _replaying: watch::Sender<bool>,
}

pub fn harness() -> Harness {
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_sent().return_const(());
    telemetry.expect_send_failed().return_const(());
    let (bus, disk) = (Arc::<Bus>::default(), Arc::<Disk>::default());
    let publisher = Arc::<Bus>::clone(&bus);
    let delivery = Delivery::with_journal(publisher, Arc::<Disk>::clone(&disk), ACK_WAIT, Arc::new(telemetry));
    let delivery = Arc::new(delivery);
    let (replaying, stop) = watch::channel(false);
    tokio::spawn(Arc::clone(&delivery).replay(stop));
    Harness { bus, disk, delivery, _replaying: replaying }
}

impl Harness {
    pub fn deliver(&self, partition: Partition, guarantee: Guarantee, values: &[impl AsRef<str>]) -> Promised {
        let batch = RecordBatch { guarantee, ..batch(partition, values) };
        self.delivery.deliver(batch, vec![guarantee; values.len()]).expect("taken")
    }

    pub fn journal(&self) -> JournalStatus {
        self.delivery.status().journal.expect("there is one")
    }

    pub fn account(&self, guarantee: Guarantee) -> Deliveries {
        let account = self.delivery.status().deliveries[guarantee as usize];
        assert_eq!(account.imbalance(), 0, "{account:?}");
        account
    }

    /// Opens the breaker with batches that the bus does not report, and returns them.
    pub async fn open(&self, partition: Partition) -> Vec<String> {
        let lost: Vec<String> = (0..10).map(|n| format!("silent-{n}")).collect();
        for value in &lost {
            self.deliver(partition, Guarantee::AtMostOnce, &[value]);
        }
        pass(ACK_WAIT * 3 / 2).await;
        assert_eq!(self.delivery.status().breaker, BreakerState::Open);
        lost
    }
}

pub async fn promise(promised: Promised) -> Durability {
    let promise = timeout(DEADLINE, promised).await.expect("in time").expect("a promise").expect("kept");
    assert_eq!(promise.refused, []);
    promise.durability
}

/// Advances the paused clock by this time and runs everything that becomes due.
pub async fn pass(time: Duration) {
    timeout(time, std::future::pending::<()>()).await.expect_err("pending never resolves");
}

pub async fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !so() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        look.tick().await;
    }
}

/// Sends the alerts of a delivery, until the sender says stop.
pub fn tell(delivery: &Arc<Delivery>) -> (Arc<Mutex<Vec<Alert>>>, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let told = Arc::<Mutex<Vec<Alert>>>::default();
    let (mut alerter, kept) = (MockAlerter::new(), Arc::clone(&told));
    alerter.expect_alert().returning(move |alert| kept.lock().expect("no panic").push(alert));
    let (stop, stopped) = watch::channel(false);
    let alerts = ProducerAlerts::new(Arc::clone(delivery), Arc::new(alerter));
    (told, stop, tokio::spawn(alerts.run(stopped)))
}

/// Kind and state of each alert, with the detail of this name.
pub fn seen(told: &Mutex<Vec<Alert>>, detail: &str) -> Vec<(AlertKind, AlertState, String)> {
    let of = |alert: &Alert| {
        let found = alert.details.iter().find(|(name, _)| *name == detail);
        (alert.kind, alert.state, found.map(|(_, value)| value.clone()).unwrap_or_default())
    };
    told.lock().expect("no panic").iter().map(of).collect()
}
