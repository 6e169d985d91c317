//! The journal on disk satisfies the contract of its port.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter_embedded::disk::Disk;
use adapter_embedded::inspection::{self, DamagedPlace};
use adapter_embedded::journal::{DiskJournal, JournalOptions, SLOTS_MAX};
use adapter_embedded::storage::{Slot, Slots};
use contracts::DEADLINE;
use contracts::journal::{JournalSubject, KeptRefused};
use domain::delivery::Guarantee;
use domain::partition::Partition;
use domain::ports::{Journal, JournalError, RefusedRecord};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use tempfile::TempDir;

fn open(directory: &Path, bytes_max: u64) -> DiskJournal {
    DiskJournal::open(directory, JournalOptions::new(bytes_max), Arc::new(Disk::unlimited()))
        .expect("the journal opens")
}

struct DiskJournals;

impl JournalSubject for DiskJournals {
    type Place = TempDir;
    type Journal = DiskJournal;

    async fn place(&self) -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    async fn open(&self, place: &TempDir, bytes_max: u64) -> Arc<DiskJournal> {
        Arc::new(open(place.path(), bytes_max))
    }

    async fn close(&self, journal: Arc<DiskJournal>) {
        assert!(journal.close(DEADLINE).await, "the journal ends in order");
    }

    async fn refused(&self, place: &TempDir) -> Vec<KeptRefused> {
        Self::refused_in(place.path())
    }
}

impl DiskJournals {
    fn refused_in(data_dir: &Path) -> Vec<KeptRefused> {
        let mut all = Vec::new();
        let damages = inspection::refused(data_dir, |entry| {
            let (reason, value) = (entry.reason.to_owned(), entry.record.value.to_vec());
            all.push(KeptRefused { reason, partition: entry.partition, value });
            Ok(())
        });
        assert_eq!(damages.expect("the disk works"), 0);
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_on_disk_keeps_the_promises_of_its_port() {
    contracts::journal::all(&DiskJournals).await;
}

fn at(number: u64) -> Timestamp {
    let micros = i64::try_from(number).expect("in range");
    Timestamp::from_unix_micros(1_705_314_600_000_000 + micros).expect("in range")
}

/// Records whose values are small events with their number.
fn batch(partition: Partition, numbers: std::ops::Range<u64>) -> (Arc<RecordBatch>, Arc<[Guarantee]>) {
    let mut records = Records::default();
    for number in numbers.clone() {
        let value = format!(r#"{{"message":"{number}"}}"#);
        records.push(b"shop", at(number), false, |buffer| buffer.extend(value.as_bytes())).expect("small enough");
    }
    let guarantee = Guarantee::AtLeastOnce;
    let guarantees = numbers.map(|_| guarantee).collect();
    (Arc::new(RecordBatch { partition, guarantee, records, trace_parent: None }), guarantees)
}

async fn append(journal: &DiskJournal, partition: Partition, numbers: std::ops::Range<u64>) {
    let (batch, guarantees) = batch(partition, numbers.clone());
    let written = journal.append(numbers.start, batch, guarantees).expect("the journal takes the batch");
    written.await.expect("the journal keeps the batch");
}

async fn close(journal: DiskJournal) {
    assert!(journal.close(DEADLINE).await, "the journal ends in order");
}

const PLENTY: u64 = 64 * 1024 * 1024;

#[tokio::test]
async fn a_process_takes_the_first_slot_that_is_unlocked_and_has_no_entries() {
    let directory = tempfile::tempdir().expect("a directory");
    let journals: Vec<DiskJournal> = (0..3).map(|_| open(directory.path(), PLENTY)).collect();
    assert_eq!(journals.iter().map(DiskJournal::slot).collect::<Vec<_>>(), [0, 1, 2]);
    let [zero, one, two] = journals.try_into().unwrap_or_else(|_| panic!("there are three"));
    append(&one, 0, 0..1).await;
    let (refused, _) = batch(0, 0..1);
    let reason = RefusedRecord { position: 0, reason: "no".to_owned() };
    zero.keep_refused(refused, vec![reason]).await.expect("the journal keeps them");
    close(one).await;
    close(zero).await;
    // Refused records are not entries.
    let zero = open(directory.path(), PLENTY);
    let three = open(directory.path(), PLENTY);
    assert_eq!((zero.slot(), three.slot()), (0, 3));
    close(two).await;
    assert_eq!(open(directory.path(), PLENTY).slot(), 2);
}

/// Slots held by other processes.
struct Taken;

impl Slots for Taken {
    fn numbers(&self) -> std::io::Result<Vec<u32>> {
        Ok((0..SLOTS_MAX).collect())
    }

    fn take(&self, number: u32) -> std::io::Result<Option<Arc<dyn Slot>>> {
        assert!(number < SLOTS_MAX);
        Ok(None)
    }
}

#[tokio::test]
async fn damage_found_when_adopting_a_journal_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path(), PLENTY);
    append(&journal, 0, 10..20).await;
    append(&journal, 1, 0..3).await;
    close(journal).await;
    let path = file(directory.path(), 0, "0");
    let mut bytes = std::fs::read(&path).expect("a file");
    let frame_bytes = bytes.len() / 10;
    bytes[3 * frame_bytes + 40] ^= 1;
    bytes[7 * frame_bytes + 40] ^= 1;
    std::fs::write(&path, bytes).expect("it can be written");
    let journal = open(directory.path(), PLENTY);
    let backlog = journal.adopt().await.expect("the disk works").expect("it has entries");
    let found: Vec<_> = backlog.found().iter().map(|of| (of.records.iter().sum::<u64>(), of.damaged_bytes)).collect();
    assert_eq!(found, [(8, 2 * frame_bytes as u64), (3, 0)]);
    close(journal).await;
}

#[tokio::test]
async fn a_partition_of_which_nothing_can_be_read_is_counted_once_as_damage() {
    // In the slot that the next process takes, and in one that it looks at.
    for own_slot in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let small = JournalOptions { segment_bytes_max: 100, ..JournalOptions::new(PLENTY) };
        let living = (!own_slot).then(|| open(directory.path(), PLENTY));
        let journal = DiskJournal::open(directory.path(), small, Arc::new(Disk::unlimited())).expect("it opens");
        let partition = directory.path().join(format!("journal/{}/4", journal.slot()));
        for first in [0, 5, 10] {
            append(&journal, 4, first..first + 5).await;
        }
        close(journal).await;
        let files = || std::fs::read_dir(&partition).map(Iterator::count).unwrap_or_default();
        assert!(files() > 1, "{}", files());
        let mut bytes = 0;
        for file in std::fs::read_dir(&partition).expect("a directory") {
            let path = file.expect("a file").path();
            let content = std::fs::read(&path).expect("it can be read");
            bytes += content.len() as u64;
            std::fs::write(&path, vec![b'x'; content.len()]).expect("it can be written");
        }
        let journal = living.unwrap_or_else(|| open(directory.path(), PLENTY));
        let damage = journal.adopt().await.expect("the disk works").expect("damage is reported");
        let found: Vec<_> =
            damage.found().iter().map(|of| (of.partition, of.next - of.first, of.damaged_bytes)).collect();
        assert_eq!((found, files()), (vec![(4, 0, bytes)], 0));
        assert!(journal.adopt().await.expect("the disk works").is_none(), "it is reported again");
        close(journal).await;
    }
}

#[test]
fn the_number_of_slots_is_limited() {
    assert!(
        DiskJournal::over(Arc::new(Taken), JournalOptions::new(PLENTY), Arc::new(Disk::unlimited()))
            .expect("the disk works")
            .is_none()
    );
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_hides_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path(), PLENTY);
    let other = open(directory.path(), PLENTY);
    append(&other, 0, 0..5).await;
    close(other).await;
    close(journal).await;
    std::fs::create_dir_all(directory.path().join("journal/0/0/00000000000000000000.log")).expect("a directory");
    let journal = open(directory.path(), PLENTY);
    assert_eq!(journal.slot(), 2);
    let backlog = journal.adopt().await.expect("one can be read").expect("it has entries");
    assert_eq!(backlog.found().len(), 1);
    assert!(matches!(journal.adopt().await, Err(JournalError::Unavailable(_))), "the other is not forgotten");
    close(journal).await;
}

#[tokio::test]
async fn a_full_log_of_rejected_records_accepts_more_once_its_files_are_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = JournalOptions { refused_bytes_max: 20_000, ..JournalOptions::new(PLENTY) };
    let journal = DiskJournal::open(directory.path(), options, Arc::new(Disk::unlimited())).expect("the journal opens");
    let keep = async |value: u8| {
        let mut records = Records::default();
        records.push(b"shop", at(0), false, |buffer| buffer.extend([value; 1_000])).expect("small enough");
        let batch = RecordBatch { partition: 0, guarantee: Guarantee::AtMostOnce, records, trace_parent: None };
        let refused = vec![RefusedRecord { position: 0, reason: "too bad".to_owned() }];
        journal.keep_refused(Arc::new(batch), refused).await
    };
    let mut kept = 0;
    while keep(kept).await.is_ok() {
        kept += 1;
    }
    assert!((15..20).contains(&kept), "{kept}");
    assert!(matches!(keep(kept).await, Err(JournalError::Full)));
    let files = directory.path().join("journal/0/refused");
    for file in std::fs::read_dir(&files).expect("it is there").flatten() {
        std::fs::remove_file(file.path()).expect("it can be removed");
    }
    keep(100).await.expect("there is room again");
    // Not in an unlinked file.
    let seen = DiskJournals::refused_in(directory.path());
    assert_eq!(seen.iter().map(|kept| kept.value[0]).collect::<Vec<_>>(), [100]);
    close(journal).await;
}

#[tokio::test]
async fn the_bytes_on_disk_stay_those_that_other_versions_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = open(directory.path(), PLENTY);
    let mut records = Records::default();
    records.push(b"shop", at(0), true, |buffer| buffer.extend(b"{}")).expect("small enough");
    let trace_parent = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let batch = RecordBatch { partition: 3, guarantee: Guarantee::ExactlyOnce, records, trace_parent };
    let written = journal.append(258, Arc::new(batch), [Guarantee::ExactlyOnce].into()).expect("taken");
    written.await.expect("the journal keeps the batch");
    close(journal).await;
    let file = std::fs::read(directory.path().join("journal/0/3/00000000000000000000.log")).expect("a file");
    let frame = [
        &64_u32.to_le_bytes()[..],
        &0xa420_ae83_u32.to_le_bytes(),
        &258_u64.to_le_bytes(),
        &1_705_314_600_000_000_i64.to_le_bytes(),
        b"\x0b\x04\0shop00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01{}",
    ];
    assert_eq!(file, frame.concat(), "{file:02x?}");
}

/// A data directory with two journals: one that is in use, and one that is not.
async fn journals(directory: &Path) -> DiskJournal {
    let left = open(directory, PLENTY);
    append(&left, 0, 10..14).await;
    append(&left, 0, 20..22).await;
    append(&left, 2, 0..3).await;
    let living = open(directory, PLENTY);
    append(&living, 1, 0..7).await;
    let (refused, _) = batch(1, 7..9);
    let reasons = [(1, "too \"large\""), (0, "too old")];
    let refuse = |(position, reason): (usize, &str)| RefusedRecord { position, reason: reason.to_owned() };
    living.keep_refused(refused, reasons.map(refuse).into()).await.expect("the journal keeps them");
    close(left).await;
    living
}

/// The file of a partition in a journal.
fn file(directory: &Path, journal: u32, partition: &str) -> PathBuf {
    directory.join(format!("journal/{journal}/{partition}/00000000000000000000.log"))
}

fn values(directory: &Path) -> (Vec<String>, u64) {
    let mut values = Vec::new();
    let damages = inspection::entries(directory, |partition, record| {
        values.push(format!("{partition} {}", String::from_utf8_lossy(record.value)));
        Ok(())
    });
    (values, damages.expect("the disk works"))
}

#[tokio::test]
async fn journals_are_inspected_while_in_use() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(inspection::status(directory.path()).expect("the disk works"), []);
    let living = journals(directory.path()).await;
    let [left, used] = inspection::status(directory.path()).expect("the disk works").try_into().expect("two journals");
    assert_eq!((left.number, left.in_use, left.refused, left.refused_bytes), (0, false, 0, 0));
    assert_eq!((used.number, used.in_use, used.refused), (1, true, 2));
    let size = |path: PathBuf| std::fs::metadata(path).expect("a file").len();
    assert_eq!(used.refused_bytes, size(file(directory.path(), 1, "refused")));
    let [zero, two] = &left.partitions[..] else { panic!("{left:?}") };
    assert_eq!((zero.partition, zero.numbers, zero.oldest), (0, Some((10, 21)), Some(at(10))));
    assert_eq!((zero.records, zero.bytes), ([0, 6, 0], size(file(directory.path(), 0, "0"))));
    assert_eq!((two.partition, two.records, two.numbers), (2, [0, 3, 0], Some((0, 2))));
    assert_eq!(left.bytes, zero.bytes + two.bytes);
    assert_eq!(used.partitions.iter().map(|of| (of.partition, of.records)).collect::<Vec<_>>(), [(1, [0, 7, 0])]);

    let (values, damages) = values(directory.path());
    let expected = [(0, 10..14), (0, 20..22), (2, 0..3), (1, 0..7)].into_iter();
    let expected = expected.flat_map(|(partition, numbers)| {
        numbers.map(move |number| format!(r#"{partition} {{"message":"{number}"}}"#)).collect::<Vec<_>>()
    });
    assert_eq!((values, damages), (expected.collect(), 0));
    let mut refused = Vec::new();
    inspection::refused(directory.path(), |entry| {
        refused.push(format!("{} {} {}", entry.reason, entry.partition, String::from_utf8_lossy(entry.record.value)));
        Ok(())
    })
    .expect("the disk works");
    assert_eq!(refused, [r#"too "large" 1 {"message":"8"}"#, r#"too old 1 {"message":"7"}"#]);

    // The journals were not disturbed: the live one can be written, the other adopted.
    append(&living, 1, 7..8).await;
    assert!(living.adopt().await.expect("the disk works").is_some());
    close(living).await;
}

#[tokio::test]
async fn damage_is_found_and_its_place_is_named() {
    /// Bytes of a frame of [`batch`] for a two-digit number.
    const FRAME_BYTES: usize = 24 + 3 + 4 + 16;
    let directory = tempfile::tempdir().expect("a directory");
    let living = journals(directory.path()).await;
    let intact = inspection::verify(directory.path()).expect("the disk works");
    assert_eq!((intact.files, intact.entries, intact.damages), (4, 6 + 3 + 7 + 2, 0));

    let path = file(directory.path(), 0, "0");
    let before = std::fs::read(&path).expect("a file");
    assert_eq!(before.len(), 6 * FRAME_BYTES);
    let frames: Vec<&[u8]> = before.chunks(FRAME_BYTES).collect();
    let flipped = |offset: usize| {
        let mut damaged = before.clone();
        damaged[offset] ^= 1;
        damaged
    };
    let after = |bytes: Vec<u8>| {
        std::fs::write(&path, &bytes).expect("it can be written");
        let found = inspection::verify(directory.path()).expect("the disk works");
        assert_eq!(std::fs::read(&path).expect("a file"), bytes, "inspection changes nothing");
        assert_eq!(values(directory.path()).1, found.damages, "the export also reports damage");
        std::fs::write(&path, &before).expect("it can be written");
        found
            .first_damages
            .into_iter()
            .map(|place| {
                let DamagedPlace { file, offset, bytes, number, reason } = place;
                assert_eq!(file, path);
                (offset, bytes, number, reason)
            })
            .collect::<Vec<_>>()
    };
    let (frame, checksum) = (FRAME_BYTES as u64, "the checksum does not match the content");
    // Content, in the first and in the third frame.
    assert_eq!(after(flipped(30)), [(0, frame, 0, checksum)]);
    assert_eq!(after(flipped(2 * FRAME_BYTES + 40)), [(2 * frame, frame, 12, checksum)]);
    // A length that is too large.
    let too_long = flipped(3 * FRAME_BYTES + 3);
    assert_eq!(after(too_long), [(3 * frame, frame, 13, "the length is invalid")]);
    // Whole frames in the wrong order, or duplicated.
    let swapped = [frames[0], frames[2], frames[1], frames[3], frames[4], frames[5]].concat();
    assert_eq!(after(swapped), [(2 * frame, frame, 13, "the number is out of sequence")]);
    let twice = [frames[0], frames[0], frames[1], frames[2], frames[3], frames[4], frames[5]].concat();
    assert_eq!(after(twice), [(frame, frame, 11, "the number is out of sequence")]);
    // The beginning of a frame: the process died while writing it.
    let torn = before[..5 * FRAME_BYTES + 30].to_vec();
    let reason = "the length is invalid: unfinished last write, or damage";
    assert_eq!(after(torn), [(5 * frame, 30, 21, reason)]);

    // The end of a journal in use may be an unfinished write; anything before it is damage.
    let path = file(directory.path(), 1, "1");
    let before = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &before[..before.len() - 5]).expect("it can be written");
    assert_eq!(inspection::verify(directory.path()).expect("the disk works").damages, 0);
    assert_eq!(values(directory.path()).1, 0);
    let mut damaged = before.clone();
    damaged[30] ^= 1;
    std::fs::write(&path, &damaged[..before.len() - 5]).expect("it can be written");
    let found = inspection::verify(directory.path()).expect("the disk works");
    assert_eq!((found.damages, found.first_damages[0].file.clone()), (1, path.clone()));
    std::fs::write(&path, &before).expect("it can be written");

    // The same holds for refused records.
    let path = file(directory.path(), 1, "refused");
    let mut damaged = std::fs::read(&path).expect("a file");
    damaged[30] ^= 1;
    std::fs::write(&path, &damaged).expect("it can be written");
    let found = inspection::verify(directory.path()).expect("the disk works");
    assert_eq!((found.damages, found.first_damages[0].file.clone()), (1, path));
    close(living).await;
}
