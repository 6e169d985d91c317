//! The files of sealed segments: which are open, which may go, and which cannot be read.
//!
//! Constraints and invariants:
//! * A reader takes the list of segments in the transaction that it takes chunks in, and keeps the list until it has read its
//!   segments. No file of a list that a reader of this process has is removed.
//! * At most [`OPEN_MAX`] files stay open between readers.
//! * A segment that cannot be read fails the reader and is kept as a fault until it can be read.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use domain::ports::StoreError;
use segments::{Segment, SegmentError, SegmentSummary, TimeIsUp, verify};
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};
use storage::Storage;
use tokio::sync::RwLock;

use super::hot::ReadError;
use super::segment_list::{self, SegmentList, file_name, is_file_name};
use super::store_error;

/// Files that stay open between readers. Each takes a descriptor and, for 500,000 events, about 50 KB.
const OPEN_MAX: usize = 128;
/// Faults that are kept.
const FAULTS_MAX: usize = 100;
/// How often segments with a fault are verified.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60);

/// What operators are shown of the sealed segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentsStatus {
    /// How many segments are listed.
    pub segments: u64,
    /// Bytes of their files.
    pub file_bytes: u64,
    /// Segments that could not be read, at most 100.
    pub unreadable: u64,
    /// The error of one of them.
    pub fault: Option<String>,
}

/// The files of the segments.
pub struct SegmentFiles {
    /// The directory.
    pub storage: Arc<dyn Storage>,
    lists: Mutex<Lists>,
    /// The latest used last.
    open: Mutex<Vec<Arc<Segment>>>,
    /// Held by readers from the beginning of their transaction until they have a list, and by the sweep while it looks which
    /// lists there are.
    listing: RwLock<()>,
    /// By name of the file.
    faults: Mutex<BTreeMap<String, String>>,
    verified_at: Mutex<Option<Instant>>,
    /// How often something happened that may leave a file, and how much of that the last complete sweep knew.
    left: AtomicU64,
    swept: AtomicU64,
}

struct Lists {
    current: Arc<SegmentList>,
    given: Vec<Weak<SegmentList>>,
}

/// The files of the directory that are, or may become, segments, and those that a reader still has.
pub struct FilesInUse {
    listed: HashSet<String>,
    held: HashSet<String>,
}

impl FilesInUse {
    /// Whether a file may be removed.
    pub fn allows_removal(&self, name: &str) -> bool {
        is_file_name(name) && !self.listed.contains(name) && !self.held.contains(name)
    }

    /// Whether a file must be removed later.
    pub fn holds(&self, name: &str) -> bool {
        self.held.contains(name) && !self.listed.contains(name)
    }
}

impl SegmentFiles {
    /// The files in a directory.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        let nothing = SegmentList { generation: i64::MIN, claims_from: i64::MIN, segments: Vec::new() };
        Self {
            storage,
            lists: Mutex::new(Lists { current: Arc::new(nothing), given: Vec::new() }),
            open: Mutex::default(),
            listing: RwLock::default(),
            faults: Mutex::default(),
            verified_at: Mutex::default(),
            // What an earlier process left.
            left: AtomicU64::new(1),
            swept: AtomicU64::new(0),
        }
    }

    /// Begins a transaction that reads, and returns the list as it is in it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn snapshot<'c>(
        &self,
        connection: &'c mut SqliteConnection,
    ) -> Result<(Transaction<'c, Sqlite>, Arc<SegmentList>), StoreError> {
        let _listing = self.listing.read().await;
        let mut transaction = connection.begin().await.map_err(store_error)?;
        let list = self.list(&mut transaction).await?;
        Ok((transaction, list))
    }

    /// The list as a transaction sees it. The transaction writes, or began under the lock of [`Self::snapshot`], and has not
    /// changed the list.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list(&self, connection: &mut SqliteConnection) -> Result<Arc<SegmentList>, StoreError> {
        let (generation, claims_from) = segment_list::state(&mut *connection).await?;
        let current = Arc::clone(&lock(&self.lists).current);
        if current.generation == generation {
            return Ok(current);
        }
        let segments = segment_list::load(connection).await?;
        let list = Arc::new(SegmentList { generation, claims_from, segments });
        let mut lists = lock(&self.lists);
        lists.given.retain(|given| given.strong_count() > 0);
        lists.given.push(Arc::downgrade(&list));
        if generation > lists.current.generation {
            lists.current = Arc::clone(&list);
        }
        Ok(list)
    }

    /// Which files may not be removed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn in_use(&self, connection: &mut SqliteConnection) -> Result<FilesInUse, StoreError> {
        // Readers that come later do not see what was taken off the list; the others have their lists.
        let _listing = self.listing.write().await;
        let mut transaction = connection.begin().await.map_err(store_error)?;
        let list = self.list(&mut transaction).await?;
        let intents = segment_list::intents(&mut transaction).await?;
        let listed = list.segments.iter().map(|listed| listed.summary.name.clone());
        let listed = listed.chain(intents.into_iter().map(file_name)).collect();
        let given: Vec<Arc<SegmentList>> = lock(&self.lists).given.iter().filter_map(Weak::upgrade).collect();
        let held = given.iter().flat_map(|list| &list.segments).map(|listed| listed.summary.name.clone()).collect();
        Ok(FilesInUse { listed, held })
    }

    /// Reads chunks and segments, on a thread that may block. `work` is told when to end: when the deadline is over, or its caller
    /// is gone.
    ///
    /// # Errors
    /// Those of `work`; a segment that cannot be read is a fault from then on.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        work: impl FnOnce(&Self, TimeIsUp<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let files = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            work(&files, &|| still_wanted.strong_count() == 0 || is_late())
        });
        let done = done.await;
        drop(wanted);
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(ReadError::Segment(error))) => Err(self.failed(error)),
            Ok(Err(ReadError::Store(error))) => Err(error),
            Err(panicked) => Err(StoreError::Unavailable(panicked.into())),
        }
    }

    /// An open segment. Blocks.
    ///
    /// # Errors
    /// Those of [`Segment::open`].
    pub fn open(&self, summary: &SegmentSummary) -> Result<Arc<Segment>, SegmentError> {
        let has_name = |segment: &Arc<Segment>| segment.summary().name == summary.name;
        {
            let mut open = lock(&self.open);
            if let Some(at) = open.iter().position(has_name) {
                let used = open.remove(at);
                open.push(Arc::clone(&used));
                return Ok(used);
            }
        }
        let opened = Arc::new(Segment::open(self.storage.as_ref(), summary)?);
        let mut open = lock(&self.open);
        if !open.iter().any(has_name) {
            if open.len() >= OPEN_MAX {
                open.remove(0);
            }
            open.push(Arc::clone(&opened));
        }
        Ok(opened)
    }

    /// Closes the files with these names once their readers have ended.
    pub fn close<'n>(&self, names: impl IntoIterator<Item = &'n String>) {
        let names: HashSet<&str> = names.into_iter().map(String::as_str).collect();
        lock(&self.open).retain(|segment| !names.contains(segment.summary().name.as_str()));
    }

    /// Records that a listed segment cannot be read.
    fn failed(&self, error: SegmentError) -> StoreError {
        let is_listed =
            |segment: &&str| lock(&self.lists).current.segments.iter().any(|listed| listed.summary.name == *segment);
        let Some(segment) = error.segment().filter(is_listed) else { return error.into() };
        tracing::error!(segment, %error, "a sealed segment cannot be read: restore its file from a backup");
        // It is opened again the next time.
        self.close([&segment.to_owned()]);
        let mut faults = lock(&self.faults);
        if faults.len() < FAULTS_MAX || faults.contains_key(segment) {
            faults.insert(segment.to_owned(), error.to_string());
        }
        StoreError::Unreadable(error.into())
    }

    /// Whether a segment could not be read.
    pub fn has_fault(&self, name: &str) -> bool {
        lock(&self.faults).contains_key(name)
    }

    /// Verifies the segments with a fault, at most once a minute, and forgets the faults of those that are whole again or are no
    /// longer listed.
    pub async fn verify_faults(self: &Arc<Self>, list: &SegmentList) {
        let names: HashSet<&str> = list.segments.iter().map(|listed| listed.summary.name.as_str()).collect();
        lock(&self.faults).retain(|name, _| names.contains(name.as_str()));
        let suspects: Vec<SegmentSummary> = list
            .segments
            .iter()
            .filter(|listed| self.has_fault(&listed.summary.name))
            .map(|listed| listed.summary.clone())
            .collect();
        let is_due = lock(&self.verified_at).is_none_or(|at| at.elapsed() >= VERIFY_INTERVAL);
        if suspects.is_empty() || !is_due {
            return;
        }
        *lock(&self.verified_at) = Some(Instant::now());
        for summary in suspects {
            let name = summary.name.clone();
            let verified = self.read(None, move |files, _| Ok(verify(files.storage.as_ref(), &summary)?));
            if verified.await.is_ok() {
                tracing::info!(segment = name, "a sealed segment can be read again");
                lock(&self.faults).remove(&name);
            }
        }
    }

    /// What operators are shown.
    pub fn status(&self) -> SegmentsStatus {
        let list = Arc::clone(&lock(&self.lists).current);
        let faults = lock(&self.faults);
        SegmentsStatus {
            segments: list.segments.len() as u64,
            file_bytes: list.file_bytes(),
            unreadable: faults.len() as u64,
            fault: faults.values().next().cloned(),
        }
    }

    /// Records that a file may be left that is not a segment.
    pub fn want_sweep(&self) {
        self.left.fetch_add(1, Ordering::AcqRel);
    }

    /// What a sweep that begins now has to know; `None` if no file can be left.
    pub fn wanted_sweep(&self) -> Option<u64> {
        let left = self.left.load(Ordering::Acquire);
        (left != self.swept.load(Ordering::Acquire)).then_some(left)
    }

    /// Records that a sweep has removed everything that was left when it began.
    pub fn is_swept(&self, wanted: u64) {
        self.swept.store(wanted, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
