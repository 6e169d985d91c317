//! Writing and merging segments on a disk that fails or loses power at every step.

#![cfg(test)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use contracts::search::events_and_filters;
use domain::filter::EventFilter;
use domain::query::LogQuery;
use segments::{Row, Segment, SegmentBounds, SegmentError, SegmentSummary, SegmentWriter, merge, search, verify};
use storage::{Storage, StorageFile};

const SMALL: SegmentBounds =
    SegmentBounds { rows_max: 60, file_bytes_max: u64::MAX, group_rows_max: 24, group_bytes_max: 8_192, block_rows: 7 };
const EVENTS: usize = 50;

/// What a file is in memory, and on the disk.
#[derive(Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, Arc<Mutex<Content>>>,
    durable_names: BTreeMap<String, Arc<Mutex<Content>>>,
    /// Changes and syncs until the first that fails. Then all fail.
    steps: u64,
}

/// A disk that fails after some steps. Writes are lost in a power cut unless they were synced, and so are names.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

struct DiskFile {
    disk: Disk,
    content: Arc<Mutex<Content>>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test thread panics with it")
    }

    fn fail_after(&self, steps: u64) {
        self.state().steps = steps;
    }

    fn step(&self) -> io::Result<()> {
        let mut state = self.state();
        state.steps = state.steps.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(())
    }

    fn lose_power(&self) {
        let mut state = self.state();
        state.names = state.durable_names.clone();
        for content in state.names.values() {
            let mut content = content.lock().expect("no panic");
            content.cached = content.durable.clone();
        }
        state.steps = u64::MAX;
    }
}

impl Storage for Disk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.step()?;
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(name.to_owned(), Arc::default());
        drop(state);
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let content = self.state().names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(DiskFile { disk: self.clone(), content }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        self.state().names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.step()?;
        let mut state = self.state();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl StorageFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().expect("no panic").cached.len() as u64)
    }

    /// A write that fails is applied in part.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let outcome = self.disk.step();
        let bytes = if outcome.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let cached = &mut self.content.lock().expect("no panic").cached;
        let begin = usize::try_from(offset).expect("small");
        cached.resize(cached.len().max(begin + bytes.len()), 0);
        cached[begin..begin + bytes.len()].copy_from_slice(bytes);
        outcome
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.lock().expect("no panic");
        let rest = content.cached.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step()?;
        let mut content = self.content.lock().expect("no panic");
        content.durable = content.cached.clone();
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn write(disk: &Disk, name: &str, first: usize) -> Result<Option<SegmentSummary>, SegmentError> {
    let (events, _) = events_and_filters(3, 2 * EVENTS, 0);
    let mut writer = SegmentWriter::create(Arc::new(disk.clone()), name, SMALL)?;
    for (offset, event) in (0..).zip(&events).skip(first).take(EVENTS) {
        writer.push(&Row { sequence: offset, event, topic: "logs", partition: 0, offset })?;
    }
    writer.finish()
}

/// Everything is there after a power cut.
fn check(disk: &Disk, summary: &SegmentSummary, rows: usize) {
    verify(disk, summary).expect("it is whole");
    let segments = [Arc::new(Segment::open(disk, summary).expect("it opens"))];
    let page = search(&segments, &LogQuery::newest(EventFilter::default(), 1_000), &|| false).expect("it is read");
    assert_eq!(page.items.len(), rows);
}

/// Runs an operation with ever more steps until it succeeds. Returns how often it failed.
fn at_every_step(mut run: impl FnMut(&Disk) -> Result<Option<SegmentSummary>, SegmentError>, rows: usize) -> u64 {
    for steps in 0.. {
        let disk = Disk::default();
        disk.fail_after(u64::MAX);
        let old = write(&disk, "old", 0).expect("nothing fails").expect("there are rows");
        let other = write(&disk, "other", EVENTS).expect("nothing fails").expect("there are rows");
        disk.fail_after(steps);
        let outcome = run(&disk);
        disk.lose_power();
        check(&disk, &old, EVENTS);
        check(&disk, &other, EVENTS);
        match outcome {
            Ok(summary) => {
                check(&disk, &summary.expect("there are rows"), rows);
                return steps;
            }
            Err(SegmentError::Io { .. }) => {}
            Err(error) => panic!("after {steps} steps: {error}"),
        }
        // What is left of it is removed, and the operation succeeds under another name.
        if disk.list().expect("a list").contains(&"new".to_owned()) {
            disk.remove("new").expect("it is removed");
        }
    }
    unreachable!("it succeeds at last")
}

#[test]
fn a_segment_is_complete_on_the_disk_or_an_error() {
    let failures = at_every_step(|disk| write(disk, "new", 0), EVENTS);
    // The file, its parts, its sync and that of the directory.
    assert!(failures >= 5, "{failures}");
}

#[test]
fn a_merged_segment_is_complete_on_the_disk_or_an_error() {
    let merged = |disk: &Disk| {
        // The list of segments has them; here they are written again, to know their summaries.
        let copy = Disk::default();
        copy.fail_after(u64::MAX);
        let summaries = ["old", "other"].into_iter().zip([0, EVENTS]).map(|(name, first)| write(&copy, name, first));
        let summaries = summaries.map(|summary| summary.expect("nothing fails").expect("there are rows"));
        let segments: Vec<Arc<Segment>> =
            summaries.map(|summary| Arc::new(Segment::open(disk, &summary).expect("it opens"))).collect();
        merge(&segments, disk, "new", &|| false)
    };
    let failures = at_every_step(merged, 2 * EVENTS);
    assert!(failures >= 5, "{failures}");
}
