//! A log on a disk with unreadable sectors.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter_embedded::segmented_log::SegmentedLog;
use adapter_embedded::storage::{Directory, Storage, StorageFile};
use domain::timestamp::Timestamp;

const EIO: i32 = 5;
const PAGE_BYTES: u64 = 4096;

/// A directory of files, each with one unreadable page.
struct BadSectors {
    directory: Directory,
    /// Number of the page; `u64::MAX` for none.
    bad_page: Arc<AtomicU64>,
}

struct BadFile {
    file: Arc<dyn StorageFile>,
    bad_page: Arc<AtomicU64>,
}

impl BadSectors {
    fn file(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(BadFile { file, bad_page: Arc::clone(&self.bad_page) })
    }
}

impl Storage for BadSectors {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.directory.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(Storage::open(&self.directory, name)?))
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

impl StorageFile for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bad = self.bad_page.load(Ordering::SeqCst).saturating_mul(PAGE_BYTES);
        if offset < bad.saturating_add(PAGE_BYTES) && offset + buffer.len() as u64 > bad {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.file.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

fn storage(path: &Path, bad_page: &Arc<AtomicU64>) -> Arc<dyn Storage> {
    let directory = Directory::open(path).expect("a directory");
    Arc::new(BadSectors { directory, bad_page: Arc::clone(bad_page) })
}

#[test]
fn an_unreadable_page_costs_only_its_own_entries() {
    let (directory, bad_page) = (tempfile::tempdir().expect("a directory"), Arc::new(AtomicU64::new(u64::MAX)));
    let (mut log, _) = SegmentedLog::open(storage(directory.path(), &bad_page), 1 << 20, 0).expect("it opens");
    // 200 entries of 524 bytes on disk: 26 pages.
    for n in 0..200_u8 {
        let write = |buffer: &mut Vec<u8>| buffer.extend([n; 500]);
        log.append([(Timestamp::MIN, write)]).expect("appended");
    }
    log.sync().expect("synced");
    for page in [0, 1, 7, 25] {
        bad_page.store(page, Ordering::SeqCst);
        let touched = |n: u64| n * 524 < (page + 1) * PAGE_BYTES && (n + 1) * 524 > page * PAGE_BYTES;
        let mut seen = Vec::new();
        let read = log.reader().read(0, |entry| {
            assert_eq!(entry.payload, [u8::try_from(entry.sequence).expect("small"); 500]);
            seen.push(entry.sequence);
            true
        });
        let read = read.expect("the rest can be read");
        assert_eq!(seen, (0..200).filter(|n| !touched(*n)).collect::<Vec<_>>(), "page {page}");
        assert!(read.damaged_bytes >= PAGE_BYTES.min(200 * 524 - page * PAGE_BYTES), "page {page}: {read:?}");
    }
    drop(log);
    // The next process can still open the log.
    bad_page.store(7, Ordering::SeqCst);
    let opened = SegmentedLog::open(storage(directory.path(), &bad_page), 1 << 20, 0);
    let (log, _) = opened.expect("it opens");
    assert_eq!(log.next(), 200);
}
