//! How often the embedded bus syncs, and how often a consumer gets a chunk.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use adapter_embedded::storage::Directory;
use domain::delivery::Guarantee;
use domain::ports::{CHUNK_RECORDS_MAX, Clock, RecordPublisher, RecordSource};
use domain::record::{RecordBatch, Records};
use storage::{Storage, StorageFile};
use testkit::clock_at;
use tokio::time::Instant;

/// A directory that counts the syncs of its files.
struct Counting {
    directory: Directory,
    syncs: Arc<AtomicUsize>,
}

struct CountingFile {
    file: Arc<dyn StorageFile>,
    syncs: Arc<AtomicUsize>,
}

impl Counting {
    fn counting(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(CountingFile { file, syncs: Arc::clone(&self.syncs) })
    }
}

impl Storage for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.counting(self.directory.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.counting(self.directory.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.directory.list()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_directory()
    }
}

impl StorageFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

/// A bus of one partition, and the number of syncs of its files.
fn open(directory: &tempfile::TempDir) -> (EmbeddedBus, Arc<AtomicUsize>) {
    let syncs = Arc::new(AtomicUsize::new(0));
    let directory = Directory::open(directory.path()).expect("a directory");
    let storage: Arc<dyn Storage> = Arc::new(Counting { directory, syncs: Arc::clone(&syncs) });
    let options = BusOptions {
        partitions: NonZeroU32::MIN,
        memory_bytes_max: 32 * 1024 * 1024,
        retention_bytes: 256 * 1024 * 1024,
        retention_age: Duration::from_secs(3_600),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T10:30:00Z"));
    let bus = EmbeddedBus::over(vec![storage], &options, &Arc::new(Disk::unlimited()), &clock, |_| 0);
    (bus.expect("the bus opens"), syncs)
}

fn batch(guarantee: Guarantee, records: usize) -> Arc<RecordBatch> {
    let timestamp = clock_at("2024-01-15T10:30:00Z").now();
    let mut batch = Records::default();
    for _ in 0..records {
        batch.push(b"shop", timestamp, false, |value| value.extend_from_slice(b"{}")).expect("it is small");
    }
    Arc::new(RecordBatch { partition: 0, guarantee, trace_parent: None, records: batch })
}

#[tokio::test]
async fn a_batch_that_nobody_waits_for_shares_the_sync_of_the_next_one() {
    const PAIRS: usize = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let (bus, syncs) = open(&directory);
    let before = syncs.load(Ordering::Relaxed);
    for _ in 0..PAIRS {
        let unhurried = bus.publish(batch(Guarantee::AtMostOnce, 1)).expect("there is room");
        // It is written, and would be synced now.
        unhurried.promised.await.expect("it is written");
        let awaited = bus.publish(batch(Guarantee::AtLeastOnce, 1)).expect("there is room");
        awaited.promised.await.expect("it is synced");
        unhurried.settled.await.expect("it is synced too");
    }
    let syncs = syncs.load(Ordering::Relaxed) - before;
    // Otherwise there are two of each pair. A slow machine may take longer than the wait, but hardly each time.
    assert!((PAIRS..PAIRS * 9 / 5).contains(&syncs), "{syncs} syncs of {PAIRS} pairs");
}

#[tokio::test(start_paused = true)]
async fn chunks_follow_each_other_after_the_interval_unless_a_whole_one_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bus, _) = open(&directory);
    let began = Instant::now();
    let mut passed = Vec::new();
    for records in [1, 1, CHUNK_RECORDS_MAX, 1] {
        let receipt = bus.publish(batch(Guarantee::AtLeastOnce, records)).expect("there is room");
        receipt.promised.await.expect("it is synced");
        assert_eq!(bus.chunk(0).await.expect("a chunk").records.len(), records);
        passed.push(began.elapsed().as_millis());
    }
    assert!(passed[1] >= passed[0] + 50 && passed[2] == passed[1] && passed[3] >= passed[2] + 50, "{passed:?}");
}
