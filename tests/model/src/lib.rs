//! An in-memory disk that fails like real disks, at the worst moment.
//!
//! Constraints and invariants:
//! * Deterministic: the state after a power cut depends only on its seed and on the history.
//! * As harsh as the [`Storage`] port allows, which is harsher than any one file system: an unsynced write may be lost,
//!   torn or a hole, independently of the writes around it, and a name created or removed since the last
//!   [`Storage::sync_directory`] may or may not exist.
//! * A power cut never harms synced data, beyond applying later writes to it in part.
//! * A failed sync forgets dirty data, as on Linux: it stays readable, a later sync succeeds, and a power cut then shows
//!   that it never reached the disk.
//! * Handles belong to a process. When that process is killed they fail permanently, so that a thread that outlives the
//!   "process" of its test cannot write to the disk of the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use adapter_embedded::storage::{Slot, Slots, Storage, StorageFile};

/// A disk that survives the processes that use it. Clones share the disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when held syncs may continue.
    syncs_go: Condvar,
}

struct State {
    /// The process that may use the disk; handles of earlier ones fail.
    process: u64,
    /// Number of further changes before the process is killed in the middle of one.
    changes_to_live: Option<u64>,
    killed: bool,
    /// Names as the process sees them.
    names: Names,
    /// Names that survive a power cut.
    durable_names: Names,
    capacity: u64,
    /// Writes that failed because the disk was full.
    full_writes: u64,
    failing_syncs: u64,
    failing_file_syncs: u64,
    failed_syncs: u64,
    file_syncs: u64,
    failing_changes: u64,
    syncs_held: bool,
    /// Number of syncs that may continue while others are held.
    syncs_let_go: u64,
    syncs_waiting: usize,
    /// All slots ever created, and those that the process holds.
    slots: BTreeSet<u32>,
    taken_slots: BTreeSet<u32>,
    /// All directories ever created in slots. They stay.
    directories: BTreeSet<(u32, String)>,
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

/// The content of a file, whatever its name, or without a name.
#[derive(Default)]
struct Content {
    /// What processes read: the page cache.
    cached: Vec<u8>,
    /// What is on the disk.
    durable: Vec<u8>,
    /// Changes to `cached` since the last successful sync, in order.
    changes: Vec<Change>,
}

enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
        /// Dropped by a failed sync: no later sync writes it to the disk.
        forgotten: bool,
    },
    Truncate(usize),
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk without limits or faults.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            process: 0,
            changes_to_live: None,
            killed: false,
            names: Names::new(),
            durable_names: Names::new(),
            capacity: u64::MAX,
            full_writes: 0,
            failing_syncs: 0,
            failing_file_syncs: 0,
            failed_syncs: 0,
            file_syncs: 0,
            failing_changes: 0,
            syncs_held: false,
            syncs_let_go: 0,
            syncs_waiting: 0,
            slots: BTreeSet::new(),
            taken_slots: BTreeSet::new(),
            directories: BTreeSet::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), syncs_go: Condvar::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// The disk as used by the current process; unusable after the next crash or power cut.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.mount(String::new()))
    }

    /// The disk's slots as used by the current process. Files of slot 3 are named `3/directory/file`.
    #[must_use]
    pub fn slots(&self) -> Arc<dyn Slots> {
        Arc::new(self.mount(String::new()))
    }

    fn mount(&self, directory: String) -> Mount {
        Mount { disk: self.clone(), process: self.state().process, directory }
    }

    /// Kills the process. Its writes stay, synced or not.
    pub fn crash(&self) {
        let mut state = self.state();
        state.process += 1;
        state.killed = false;
        state.taken_slots.clear();
        state.changes_to_live = None;
        state.syncs_held = false;
        self.shared.syncs_go.notify_all();
    }

    /// Kills the process and the machine. Each unsynced write is dropped, kept, kept in part or replaced by zeros, and
    /// each truncation and name change is kept or not, depending on `seed`.
    pub fn power_cut(&self, seed: u64) {
        self.crash();
        let mut state = self.state();
        let mut chance = Chance::new(seed);
        let seen = std::mem::take(&mut state.names);
        let durable = std::mem::take(&mut state.durable_names);
        let all: BTreeSet<&String> = seen.keys().chain(durable.keys()).collect();
        let mut names = Names::new();
        for name in all {
            let (seen, durable) = (seen.get(name), durable.get(name));
            let content = match (seen, durable) {
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) => Some(new),
                // Removed and recreated: the directory has three states, any of which may be on the disk.
                (Some(new), Some(old)) => match chance.below(3) {
                    0 => None,
                    1 => Some(old),
                    _ => Some(new),
                },
                (one, other) => one.or(other).filter(|_| chance.below(2) == 0),
            };
            if let Some(content) = content {
                lock(content).lose_power(&mut chance);
                names.insert(name.clone(), Arc::clone(content));
            }
        }
        state.names.clone_from(&names);
        state.durable_names = names;
    }

    /// Lets the process make `changes` more changes to files and directory, kills it in the middle of the next one, and
    /// fails everything it tries afterwards. Ends with the next crash or power cut.
    pub fn kill_after(&self, changes: u64) {
        self.state().changes_to_live = Some(changes);
    }

    /// Whether [`SimulatedDisk::kill_after`] has killed the process.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.state().killed
    }

    /// Limits the bytes of all files together. If they exceed the limit already, they stay as they are.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes in all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Bytes that can still be written.
    #[must_use]
    pub fn free(&self) -> u64 {
        let state = self.state();
        state.capacity.saturating_sub(state.used())
    }

    /// Number of writes that failed because the disk was full.
    #[must_use]
    pub fn full_writes(&self) -> u64 {
        self.state().full_writes
    }

    /// Makes the next `syncs` syncs, of files or the directory, fail. Replaces an earlier number.
    pub fn fail_syncs(&self, syncs: u64) {
        self.state().failing_syncs = syncs;
    }

    /// Makes the next `syncs` syncs of files fail, independently of directory syncs. Replaces an earlier number.
    pub fn fail_file_syncs(&self, syncs: u64) {
        self.state().failing_file_syncs = syncs;
    }

    /// How many syncs have failed.
    #[must_use]
    pub fn failed_syncs(&self) -> u64 {
        self.state().failed_syncs
    }

    /// How many syncs of files have begun.
    #[must_use]
    pub fn file_syncs(&self) -> u64 {
        self.state().file_syncs
    }

    /// Whether further syncs will fail.
    #[must_use]
    pub fn fails_syncs(&self) -> bool {
        let state = self.state();
        state.failing_syncs > 0 || state.failing_file_syncs > 0
    }

    /// Makes the next `changes` changes, of files or names, fail; writes are applied in part. Syncs are not affected.
    /// Replaces an earlier number.
    pub fn fail_changes(&self, changes: u64) {
        self.state().failing_changes = changes;
    }

    /// Whether further changes will fail.
    #[must_use]
    pub fn fails_changes(&self) -> bool {
        self.state().failing_changes > 0
    }

    /// Blocks syncs of files until [`SimulatedDisk::let_syncs_go`] or the end of the process.
    pub fn hold_syncs(&self) {
        self.state().syncs_held = true;
    }

    /// Lets the next sync continue, and holds the later ones.
    pub fn let_one_sync_go(&self) {
        self.state().syncs_let_go += 1;
        self.shared.syncs_go.notify_all();
    }

    /// Releases held syncs, and stops holding new ones.
    pub fn let_syncs_go(&self) {
        self.state().syncs_held = false;
        self.shared.syncs_go.notify_all();
    }

    /// Number of held syncs.
    #[must_use]
    pub fn syncs_waiting(&self) -> usize {
        self.state().syncs_waiting
    }

    /// Names of all files, ascending.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// What processes read from a file; empty if it does not exist.
    #[must_use]
    pub fn content(&self, name: &str) -> Vec<u8> {
        self.state().names.get(name).map(|content| lock(content).cached.clone()).unwrap_or_default()
    }

    /// Flips bits of a byte, as a failing disk does.
    pub fn flip(&self, name: &str, offset: usize, bits: u8) {
        if let Some(content) = self.state().names.get(name) {
            let mut content = lock(content);
            let Content { cached, durable, .. } = &mut *content;
            for image in [cached, durable] {
                if let Some(byte) = image.get_mut(offset) {
                    *byte ^= bits;
                }
            }
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|content| lock(content).cached.len() as u64).sum()
    }

    fn alive(&self, process: u64) -> io::Result<()> {
        if self.killed || self.process != process { Err(io::Error::other("the process was killed")) } else { Ok(()) }
    }

    /// Counts a change or a sync down to the one during which the process is killed.
    fn live_on(&mut self, process: u64) -> io::Result<()> {
        self.alive(process)?;
        match self.changes_to_live.as_mut() {
            Some(0) => self.killed = true,
            Some(changes) => *changes -= 1,
            None => {}
        }
        self.alive(process)
    }

    /// Begins a change; after an error it is applied in part, or not at all.
    fn change(&mut self, process: u64) -> io::Result<()> {
        self.live_on(process)?;
        if count_down(&mut self.failing_changes) {
            return Err(io::Error::other("the disk rejects changes"));
        }
        Ok(())
    }

    fn sync_fails(&mut self) -> bool {
        let fails = count_down(&mut self.failing_syncs);
        self.failed_syncs += u64::from(fails);
        fails
    }

    fn file_sync_fails(&mut self) -> bool {
        if self.sync_fails() {
            return true;
        }
        let fails = count_down(&mut self.failing_file_syncs);
        self.failed_syncs += u64::from(fails);
        fails
    }
}

fn count_down(left: &mut u64) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.cached, offset, bytes);
        self.changes.push(Change::Write { offset, bytes: bytes.to_owned(), forgotten: false });
    }

    fn truncate(&mut self, len: usize) {
        self.cached.resize(len, 0);
        self.changes.push(Change::Truncate(len));
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            match change {
                Change::Write { forgotten: true, .. } => {}
                Change::Write { offset, bytes, .. } => put(&mut self.durable, offset, &bytes),
                Change::Truncate(len) => self.durable.resize(len, 0),
            }
        }
        self.durable.resize(self.cached.len(), 0);
    }

    fn fail_sync(&mut self) {
        for change in &mut self.changes {
            if let Change::Write { forgotten, .. } = change {
                *forgotten = true;
            }
        }
    }

    fn lose_power(&mut self, chance: &mut Chance) {
        let synced_len = self.durable.len();
        for change in self.changes.drain(..) {
            match change {
                Change::Write { offset, mut bytes, .. } => match chance.below(4) {
                    0 => {}
                    1 => put(&mut self.durable, offset, &bytes),
                    2 => {
                        bytes.truncate(chance.below(bytes.len() + 1));
                        put(&mut self.durable, offset, &bytes);
                    }
                    _ => {
                        // Allocated blocks that were never written. Blocks with content keep it.
                        let from = offset.max(synced_len);
                        let zeros = (offset + bytes.len()).saturating_sub(from);
                        put(&mut self.durable, from, &vec![0; zeros]);
                    }
                },
                Change::Truncate(len) => {
                    if chance.below(2) == 0 {
                        self.durable.resize(len, 0);
                    }
                }
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

/// Writes to an image of a file, which grows as needed.
fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(place) = image.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The disk, or a directory of it, as used by one process.
#[derive(Clone)]
struct Mount {
    disk: SimulatedDisk,
    process: u64,
    /// Prefix of the names on the disk.
    directory: String,
}

impl Mount {
    fn file(&self, content: &Arc<Mutex<Content>>) -> Arc<dyn StorageFile> {
        Arc::new(OpenFile { disk: self.disk.clone(), process: self.process, content: Arc::clone(content) })
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.directory)
    }
}

impl Storage for Mount {
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.disk.state();
        state.change(self.process)?;
        if state.names.contains_key(&self.name(name)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Mutex::new(Content::default()));
        state.names.insert(self.name(name), Arc::clone(&content));
        if let Some((slot, name)) = self.directory.trim_end_matches('/').split_once('/')
            && let Ok(slot) = slot.parse()
        {
            state.directories.insert((slot, name.to_owned()));
        }
        Ok(self.file(&content))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.disk.state();
        state.alive(self.process)?;
        let content = state.names.get(&self.name(name)).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(content))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.process)?;
        state.names.remove(&self.name(name)).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(state.names.keys().filter_map(|name| name.strip_prefix(&self.directory).map(str::to_owned)).collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.live_on(self.process)?;
        if state.sync_fails() {
            return Err(io::Error::other("the directory cannot be synced"));
        }
        let mut names = state.names.clone();
        names.retain(|name, _| name.starts_with(&self.directory));
        state.durable_names.retain(|name, _| !name.starts_with(&self.directory));
        state.durable_names.append(&mut names);
        Ok(())
    }
}

impl Slots for Mount {
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let state = self.disk.state();
        state.alive(self.process)?;
        Ok(state.slots.iter().copied().collect())
    }

    fn take(&self, number: u32) -> io::Result<Option<Arc<dyn Slot>>> {
        let mut state = self.disk.state();
        state.alive(self.process)?;
        state.slots.insert(number);
        let free = state.taken_slots.insert(number);
        drop(state);
        let directory = Self { directory: format!("{number}/"), ..self.clone() };
        Ok(free.then(|| Arc::new(TakenSlot { directory, number }) as Arc<dyn Slot>))
    }
}

/// A slot that a process holds.
struct TakenSlot {
    directory: Mount,
    number: u32,
}

impl Slot for TakenSlot {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.directory.disk.state();
        state.alive(self.directory.process)?;
        let in_slot = state.directories.iter().filter(|(slot, _)| *slot == self.number);
        Ok(in_slot.map(|(_, name)| name.clone()).collect())
    }

    fn storage(&self, name: &str) -> Arc<dyn Storage> {
        let directory = self.directory.name(&format!("{name}/"));
        Arc::new(Mount { directory, ..self.directory.clone() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.name(name).into()
    }
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        let mut state = self.directory.disk.state();
        if state.process == self.directory.process {
            state.taken_slots.remove(&self.number);
        }
    }
}

/// An open file of one process.
struct OpenFile {
    disk: SimulatedDisk,
    process: u64,
    content: Arc<Mutex<Content>>,
}

impl StorageFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.state().alive(self.process)?;
        Ok(lock(&self.content).cached.len() as u64)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.process)?;
        let changed = state.change(self.process);
        let free = size(state.capacity.saturating_sub(state.used()));
        let offset = size(offset);
        let mut content = lock(&self.content);
        // Only growth of the file takes room.
        let room = content.cached.len().saturating_sub(offset).saturating_add(free);
        let goal = if changed.is_err() { bytes.len() / 2 } else { bytes.len() };
        content.write(offset, bytes.get(..room.min(goal)).unwrap_or_default());
        changed?;
        if room < bytes.len() {
            state.full_writes += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.state().alive(self.process)?;
        let content = lock(&self.content);
        let rest = content.cached.get(size(offset)..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.file_syncs += 1;
        state.syncs_waiting += 1;
        while state.syncs_held && state.syncs_let_go == 0 && state.process == self.process {
            state = self.disk.shared.syncs_go.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.syncs_let_go = state.syncs_let_go.saturating_sub(1);
        state.syncs_waiting -= 1;
        state.live_on(self.process)?;
        if state.file_sync_fails() {
            lock(&self.content).fail_sync();
            return Err(io::Error::other("the file cannot be synced"));
        }
        lock(&self.content).sync();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(self.process)?;
        lock(&self.content).truncate(size(len));
        Ok(())
    }
}

/// Pseudo-random numbers (SplitMix64): the same sequence for a seed on every machine and in every version.
pub struct Chance(u64);

impl Chance {
    /// Numbers from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = self.number() % (bound.max(1) as u64);
        usize::try_from(number).unwrap_or_default()
    }

    /// `len` random bytes.
    #[must_use]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.number().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}
