//! Reads the journals of a data directory from outside the process that owns them, for operators.
//!
//! Constraints and invariants:
//! * Read-only and non-intrusive: files are opened for reading, and a lock is tried only to find out whether a process
//!   holds it.
//! * A journal may be in use meanwhile. Files that its process removes are left out; the newest file may end in the
//!   middle of a write, which is not damage.
//! * Memory is bounded, whatever the size of the journals.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::delivery::{Guarantee, GuaranteeCounts};
use domain::partition::Partition;
use domain::record::Record;
use domain::timestamp::Timestamp;
use storage::{LOCK, Storage, StorageFile, directories_in, if_there, number_of};

use crate::frame::{Journaled, Refused};
use crate::journal::{JOURNAL, REFUSED, SLOTS_MAX};
use crate::segmented_log::{Damage, Entry, Flaw, Seen, name_of, walk};

/// Maximum number of damaged places that are reported individually.
pub const DAMAGES_MAX: usize = 100;

/// One journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    /// Its number, which is the name of its directory.
    pub number: u32,
    /// Whether a process holds it.
    pub in_use: bool,
    /// Size of the files of all partitions.
    pub bytes: u64,
    /// Each partition that has files, lowest first.
    pub partitions: Vec<PartitionStatus>,
    /// Records that the bus refuses permanently.
    pub refused: u64,
    /// Size of their files.
    pub refused_bytes: u64,
}

/// A partition of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Number of the partition.
    pub partition: Partition,
    /// Size of its files.
    pub bytes: u64,
    /// Entries by guarantee. Some may be released already and still on disk because other entries of the same file are
    /// not.
    pub records: GuaranteeCounts,
    /// The first and the last number, if there is an entry.
    pub numbers: Option<(u64, u64)>,
    /// When the oldest entry was received.
    pub oldest: Option<Timestamp>,
}

/// Result of checking all journals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files read.
    pub files: u64,
    /// Whole frames in them.
    pub entries: u64,
    /// Size of the files.
    pub bytes: u64,
    /// Damaged places.
    pub damages: u64,
    /// The first [`DAMAGES_MAX`] of them.
    pub first_damages: Vec<DamagedPlace>,
}

/// A place in a file where an entry should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPlace {
    /// The file.
    pub file: PathBuf,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Bytes up to the next whole entry.
    pub bytes: u64,
    /// Number expected there, or a larger one.
    pub number: u64,
    /// What is wrong there.
    pub reason: &'static str,
}

/// A record that the bus refuses permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedEntry<'a> {
    /// Reason that the bus gave.
    pub reason: &'a str,
    /// Its target partition.
    pub partition: Partition,
    /// The record.
    pub record: Record<'a>,
}

/// Status of the journals of a data directory, lowest number first.
///
/// # Errors
/// I/O errors.
pub fn status(data_dir: &Path) -> io::Result<Vec<JournalStatus>> {
    let mut all = Vec::new();
    for (number, path) in journals(data_dir)? {
        let mut status = JournalStatus {
            number,
            in_use: is_in_use(&path)?,
            bytes: 0,
            partitions: Vec::new(),
            refused: 0,
            refused_bytes: 0,
        };
        for partition in partitions(&path)? {
            let of_partition = partition_status(&path, partition)?;
            status.bytes += of_partition.bytes;
            if of_partition.bytes > 0 {
                status.partitions.push(of_partition);
            }
        }
        status.refused_bytes = walk(&ReadOnly(path.join(REFUSED)), &mut |seen| {
            status.refused += u64::from(matches!(seen, Seen::Entry(_)));
            Ok(())
        })?;
        all.push(status);
    }
    Ok(all)
}

fn partition_status(journal: &Path, partition: Partition) -> io::Result<PartitionStatus> {
    let mut status = PartitionStatus { partition, bytes: 0, records: [0; 3], numbers: None, oldest: None };
    status.bytes = walk(&ReadOnly(journal.join(partition.to_string())), &mut |seen| {
        let Seen::Entry(entry) = seen else { return Ok(()) };
        let Some(journaled) = Journaled::read(entry.payload, entry.time) else { return Ok(()) };
        for (records, guarantee) in status.records.iter_mut().zip(Guarantee::ALL) {
            *records += u64::from(guarantee == journaled.guarantee);
        }
        status.numbers = Some((status.numbers.map_or(entry.sequence, |(first, _)| first), entry.sequence));
        status.oldest = Some(status.oldest.map_or(entry.time, |oldest| oldest.min(entry.time)));
        Ok(())
    })?;
    Ok(status)
}

/// Reads everything in the journals of a data directory and finds damage.
///
/// # Errors
/// I/O errors.
pub fn verify(data_dir: &Path) -> io::Result<Verification> {
    let mut verification = Verification::default();
    for (_, path) in journals(data_dir)? {
        // Determined before anything is read: a process that starts now may be writing when the reader reaches the end.
        for partition in partitions(&path)? {
            let is_record = |entry: &Entry<'_>| Journaled::read(entry.payload, entry.time).is_some();
            verify_log(&path, &partition.to_string(), is_record, &mut verification)?;
        }
        let is_refused = |entry: &Entry<'_>| Refused::read(entry.payload, entry.time).is_some();
        verify_log(&path, REFUSED, is_refused, &mut verification)?;
    }
    Ok(verification)
}

fn verify_log(
    journal: &Path,
    name: &str,
    is_known: impl Fn(&Entry<'_>) -> bool,
    verification: &mut Verification,
) -> io::Result<()> {
    let path = journal.join(name);
    let mut torn = None;
    let mut strangers = None;
    let bytes = walk(&ReadOnly(path.clone()), &mut |seen| {
        match seen {
            Seen::Entry(entry) => {
                verification.entries += 1;
                if !is_known(&entry) {
                    strangers.get_or_insert((entry.sequence, 0_u64)).1 += 1;
                }
            }
            Seen::File(base) => {
                verification.files += 1;
                if let Some((number, _)) = strangers.take() {
                    let reason = "the checksum is right, but this version does not know the format of the entry";
                    let file = path.join(name_of(base));
                    verification.damaged(DamagedPlace { file, offset: 0, bytes: 0, number, reason });
                }
            }
            Seen::Damage(damage) if damage.at_end => torn = Some(damage),
            Seen::Damage(damage) => verification.damaged(DamagedPlace::new(&path, &damage)),
        }
        Ok(())
    })?;
    verification.bytes += bytes;
    if let Some(torn) = torn
        && !is_in_use(journal)?
    {
        verification.damaged(DamagedPlace::new(&path, &torn));
    }
    Ok(())
}

impl Verification {
    fn damaged(&mut self, place: DamagedPlace) {
        self.damages += 1;
        if self.first_damages.len() < DAMAGES_MAX {
            self.first_damages.push(place);
        }
    }
}

impl DamagedPlace {
    fn new(directory: &Path, damage: &Damage) -> Self {
        let reason = match (damage.flaw, damage.at_end) {
            (Flaw::Length, true) => "the length is invalid: unfinished last write, or damage",
            (Flaw::Length, false) => "the length is invalid",
            (Flaw::Checksum, _) => "the checksum does not match the content",
            (Flaw::Sequence, _) => "the number is out of sequence",
            (Flaw::Time, _) => "the time is invalid",
        };
        Self {
            file: directory.join(name_of(damage.base)),
            offset: damage.offset,
            bytes: damage.bytes,
            number: damage.sequence,
            reason,
        }
    }
}

/// Passes all records in the journals of a data directory to `see`, by journal, partition and number. Skips damaged
/// places and returns how many there are.
///
/// # Errors
/// I/O errors, and errors of `see`.
pub fn entries(data_dir: &Path, mut see: impl FnMut(Partition, Record<'_>) -> io::Result<()>) -> io::Result<u64> {
    let mut damages = 0;
    for (_, path) in journals(data_dir)? {
        for partition in partitions(&path)? {
            let log = path.join(partition.to_string());
            damages += records_of(&log, &path, |entry| {
                let Some(journaled) = Journaled::read(entry.payload, entry.time) else { return Ok(false) };
                see(partition, journaled.record).map(|()| true)
            })?;
        }
    }
    Ok(damages)
}

/// Passes all records that the bus refuses permanently to `see`, by journal and in order. Skips damaged places and
/// returns how many there are.
///
/// # Errors
/// I/O errors, and errors of `see`.
pub fn refused(data_dir: &Path, mut see: impl FnMut(RefusedEntry<'_>) -> io::Result<()>) -> io::Result<u64> {
    let mut damages = 0;
    for (_, path) in journals(data_dir)? {
        damages += records_of(&path.join(REFUSED), &path, |entry| {
            let Some(refused) = Refused::read(entry.payload, entry.time) else { return Ok(false) };
            let Refused { reason, partition, journaled } = refused;
            see(RefusedEntry { reason, partition, record: journaled.record }).map(|()| true)
        })?;
    }
    Ok(damages)
}

/// Passes the entries of a log to `see`, which returns whether it knows their format. Returns the number of damaged
/// places.
fn records_of(log: &Path, journal: &Path, mut see: impl FnMut(Entry<'_>) -> io::Result<bool>) -> io::Result<u64> {
    let (mut damages, mut torn) = (0, false);
    walk(&ReadOnly(log.to_owned()), &mut |seen| {
        match seen {
            Seen::Entry(entry) => damages += u64::from(!see(entry)?),
            Seen::Damage(damage) if damage.at_end => torn = true,
            Seen::Damage(_) => damages += 1,
            Seen::File(_) => {}
        }
        Ok(())
    })?;
    Ok(damages + u64::from(torn && !is_in_use(journal)?))
}

/// The journals of a data directory, lowest number first.
fn journals(data_dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let root = data_dir.join(JOURNAL);
    let mut numbers = numbers_in(&root)?;
    numbers.retain(|number| *number < SLOTS_MAX);
    Ok(numbers.into_iter().map(|number| (number, root.join(number.to_string()))).collect())
}

fn partitions(journal: &Path) -> io::Result<Vec<Partition>> {
    numbers_in(journal)
}

fn numbers_in(path: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = if_there(directories_in(path))?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether a process holds the journal.
fn is_in_use(journal: &Path) -> io::Result<bool> {
    let file = match File::open(journal.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    // Shared, so that two concurrent inspections do not take each other for the owning process.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A directory opened read-only.
struct ReadOnly(PathBuf);

impl Storage for ReadOnly {
    fn create(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(File::open(self.0.join(name))?))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names =
            || std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
        if_there(names())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
