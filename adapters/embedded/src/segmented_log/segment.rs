//! The segments of a log: names of their files, and the list that readers see.

use std::io;
use std::sync::Arc;

use domain::timestamp::Timestamp;
use storage::{Storage, StorageFile};

/// The part that readers may see.
#[derive(Default)]
pub(super) struct View {
    pub(super) segments: Vec<Segment>,
    /// Next sequence after the last visible entry.
    pub(super) next: u64,
}

#[derive(Clone)]
pub(super) struct Segment {
    /// No entry of this segment has a smaller sequence.
    pub(super) base: u64,
    /// Time of its first entry, if it has one.
    pub(super) first_time: Option<Timestamp>,
    pub(super) file: Arc<dyn StorageFile>,
    /// Synced bytes.
    pub(super) len: u64,
}

/// The segments of a log, oldest first.
pub(super) fn bases_in(storage: &dyn Storage) -> io::Result<Vec<u64>> {
    let mut bases: Vec<u64> = storage.list()?.iter().filter_map(|name| base_of(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// The file name of a segment.
pub(crate) fn name_of(base: u64) -> String {
    format!("{base:020}.log")
}

/// The base in a segment's name. A number that a store's position cannot reach is invalid: no later entry could ever be
/// stored.
fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    let base = digits.parse().ok().filter(|base| i64::try_from(*base).is_ok())?;
    // `parse` also accepts a sign.
    (name_of(base) == name).then_some(base)
}
