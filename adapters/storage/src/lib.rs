//! The few file operations that logs and sealed segments need: files in a directory, and directories that processes lock.
//!
//! These are traits, so that tests can inject disk failures: no space, torn writes, failing syncs, power cuts that drop
//! every unsynced write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of flat files.
pub trait Storage: Send + Sync {
    /// Creates an empty file. It survives a power cut after the next [`Storage::sync_directory`].
    ///
    /// # Errors
    /// The file exists, or another I/O error.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// I/O errors.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// I/O errors.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Names of all files, unordered.
    ///
    /// # Errors
    /// I/O errors.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes file creations and removals survive a power cut.
    ///
    /// # Errors
    /// I/O errors.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file.
pub trait StorageFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// I/O errors.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// I/O errors.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Writes all bytes at an offset; the file grows as needed. After an error any part may have been written.
    ///
    /// # Errors
    /// I/O errors, such as a full disk.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes at an offset, fewer only at the end of the file.
    ///
    /// # Errors
    /// I/O errors.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes all writes survive a power cut. After an error it is unknown which of them do, and a later success says
    /// nothing about them (the operating system may have dropped the dirty pages).
    ///
    /// # Errors
    /// I/O errors.
    fn sync(&self) -> io::Result<()>;

    /// Truncates the file.
    ///
    /// # Errors
    /// I/O errors.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// Numbered slots, each held by one process at a time.
pub trait Slots: Send + Sync {
    /// Numbers of the existing slots, ascending.
    ///
    /// # Errors
    /// I/O errors.
    fn numbers(&self) -> io::Result<Vec<u32>>;

    /// Takes a slot, creating it if necessary. `None` if a process holds it, this one included. The slot is free again
    /// once the last clone is dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// I/O errors.
    fn take(&self, number: u32) -> io::Result<Option<Arc<dyn Slot>>>;
}

/// A slot that this process holds.
pub trait Slot: Send + Sync {
    /// Names of the directories in it, unordered.
    ///
    /// # Errors
    /// I/O errors.
    fn names(&self) -> io::Result<Vec<String>>;

    /// A directory in it, created together with its first file.
    fn storage(&self, name: &str) -> Arc<dyn Storage>;

    /// Path of a directory in it, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// Name of the file that is locked in a directory that one process holds.
pub const LOCK: &str = "LOCK";

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens a directory; creates it and its parents if necessary.
    ///
    /// # Errors
    /// I/O errors.
    pub fn open(path: &Path) -> io::Result<Self> {
        let missing = path.ancestors().take_while(|ancestor| !ancestor.is_dir()).count();
        std::fs::create_dir_all(path)?;
        // Also syncs the parent of an existing directory: its creator may have been killed before the sync.
        for made in path.ancestors().take(missing.max(1)) {
            let Some(parent) = made.parent() else { break };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match File::open(parent).and_then(|parent| parent.sync_all()) {
                // Another process created it for this one.
                Err(error) if missing == 0 && error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Locks the directory for this process, through a file named `LOCK`, until the returned handle is dropped or the
    /// process ends, however it ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process holds it; otherwise I/O errors.
    pub fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Storage for Directory {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// A directory that is created together with its first file.
#[derive(Clone, Debug)]
struct LazyDirectory(Directory);

impl Storage for LazyDirectory {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        match self.0.create(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Directory::open(&self.0.path)?.create(name),
            created => created,
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.0.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        if_there(self.0.list())
    }

    fn sync_directory(&self) -> io::Result<()> {
        if_there(self.0.sync_directory())
    }
}

/// The default value if the file or directory does not exist.
///
/// # Errors
/// All others.
pub fn if_there<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        result => result,
    }
}

/// Slots as subdirectories of a directory, each with its lock.
#[derive(Clone, Debug)]
pub struct SlotDirectories {
    path: PathBuf,
}

impl SlotDirectories {
    /// The slots in a directory, which is created with the first slot.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Slots for SlotDirectories {
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> =
            if_there(directories_in(&self.path))?.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn take(&self, number: u32) -> io::Result<Option<Arc<dyn Slot>>> {
        let directory = Directory::open(&self.path.join(number.to_string()))?;
        match directory.lock() {
            Ok(lock) => Ok(Some(Arc::new(SlotDirectory { directory, _lock: lock }))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct SlotDirectory {
    directory: Directory,
    _lock: File,
}

impl Slot for SlotDirectory {
    fn names(&self) -> io::Result<Vec<String>> {
        directories_in(&self.directory.path)
    }

    fn storage(&self, name: &str) -> Arc<dyn Storage> {
        Arc::new(LazyDirectory(Directory { path: self.path(name) }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }
}

/// Parses a number as written in a directory name.
#[must_use]
pub fn number_of(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number: &u32| number.to_string() == name)
}

/// Names of the directories in a directory, unordered.
///
/// # Errors
/// I/O errors.
pub fn directories_in(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

impl StorageFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}
