//! The keys of a running process.
//!
//! Invariant: a file that is being written is not used. The part of it that is there may be valid and give more rights, such
//! as a key whose line `sources` or `revoked` is not written yet. So the keys change only when the file was the same twice. At
//! the start, the caller sees to that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use domain::access::{Key, KeyId, KeyRejection, KeyText, Keys};
use domain::ports::{Clock, KeyRing};

use crate::changes::KeyChanges;
use crate::file::{FileError, keys, read};
use crate::hash::hash_of;

/// When keys are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Once the file exists, even without a key.
    OnceThereIsAFile,
    /// Always.
    Always,
}

/// The keys in a file, as they were when it could be read last.
pub struct KeysFile {
    path: PathBuf,
    requirement: Requirement,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// `None` as long as there was no file.
    keys: Option<Keys>,
    /// The file that they are from.
    bytes: Vec<u8>,
    /// Why the file cannot be used now.
    fault: Option<String>,
    /// Whether there ever was a file.
    seen: bool,
    /// A file that was seen once, and may not be complete.
    unsettled: Option<Vec<u8>>,
}

impl KeysFile {
    /// Reads the keys in a file, if there is one. What this returns must not be used if the file changed meanwhile.
    ///
    /// # Errors
    /// There is one, and it cannot be used.
    pub fn open(path: &Path, requirement: Requirement, clock: Arc<dyn Clock>) -> Result<Self, FileError> {
        let mut state = State::default();
        match read(path) {
            Ok(bytes) => {
                state = State { keys: Some(keys(&bytes)?), bytes, seen: true, ..State::default() };
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), requirement, clock, state: RwLock::new(state) })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file, or was one since the process began.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.state().keys.is_some()
    }

    /// Why the file cannot be used now, if it cannot.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// Reads the file again, and uses it if it has changed and was the same in the call before. Call it every half second or
    /// so. Returns what has changed, if it is used now.
    pub fn reload(&self) -> Option<KeyChanges> {
        let new = match read(&self.path) {
            Ok(bytes) if self.is_known(&bytes) => Ok(None),
            Ok(bytes) if !self.is_settled(&bytes) => {
                self.state.write().unwrap_or_else(PoisonError::into_inner).unsettled = Some(bytes);
                return None;
            }
            Ok(bytes) => keys(&bytes).map(|keys| Some((keys, bytes))),
            Err(error) => Err(error),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match new {
            Ok(None) => (state.fault, state.unsettled) = (None, None),
            Ok(Some((keys, bytes))) => {
                let changes = KeyChanges::between(state.keys.as_ref(), &keys);
                *state = State { keys: Some(keys), bytes, seen: true, ..State::default() };
                return Some(changes);
            }
            Err(error) => {
                // A first file that cannot be used was meant to require keys.
                state.seen |= !is_missing(&error);
                state.fault = self.describe(&error, state.keys.is_some());
            }
        }
        None
    }

    /// What an operator is told about a file that cannot be used. A file that does not exist yet is not a fault unless keys are
    /// required.
    fn describe(&self, error: &FileError, had_keys: bool) -> Option<String> {
        let path = self.path.display();
        match error {
            error if is_missing(error) => match (had_keys, self.requirement) {
                (true, _) => Some(format!("{path} is gone: the keys that it had last remain valid")),
                (false, Requirement::Always) => Some(format!("{path} does not exist, so no request is let in")),
                (false, Requirement::OnceThereIsAFile) => None,
            },
            error if had_keys => Some(format!("{path}: {error}; the keys that it had last remain valid")),
            error => Some(format!("{path}: {error}")),
        }
    }

    fn is_known(&self, bytes: &[u8]) -> bool {
        let state = self.state();
        state.keys.is_some() && state.bytes == bytes
    }

    fn is_settled(&self, bytes: &[u8]) -> bool {
        self.state().unsettled.as_deref() == Some(bytes)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is no file.
fn is_missing(error: &FileError) -> bool {
    matches!(error, FileError::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

impl KeyRing for KeysFile {
    fn requires_keys(&self) -> bool {
        self.requirement == Requirement::Always || self.state().seen
    }

    fn verify(&self, presented: &KeyText) -> Result<Arc<Key>, KeyRejection> {
        let (hash, now) = (hash_of(presented), self.clock.now());
        let state = self.state();
        let keys = state.keys.as_ref().ok_or(KeyRejection::Unknown)?;
        keys.verify(presented.id(), &hash, now).cloned()
    }

    fn find(&self, id: KeyId) -> Result<Arc<Key>, KeyRejection> {
        let now = self.clock.now();
        let state = self.state();
        state.keys.as_ref().ok_or(KeyRejection::Unknown)?.find(id, now).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use domain::access::{KeyLimits, Role};
    use testkit::clock_at;

    use super::*;
    use crate::edit::{NewKey, create, revoke, rotate};

    fn new_key(name: &str) -> NewKey {
        NewKey {
            name: name.parse().expect("a name"),
            roles: vec![Role::Ingest],
            sources: None,
            expires: None,
            limits: KeyLimits::default(),
        }
    }

    fn open(path: &Path, requirement: Requirement) -> Result<KeysFile, FileError> {
        KeysFile::open(path, requirement, Arc::new(clock_at("2026-01-01T00:00:00Z")))
    }

    /// Whether the keys are others after another reading.
    fn reload(file: &KeysFile) -> bool {
        file.reload().is_some()
    }

    #[test]
    fn keys_are_required_once_there_is_a_file_and_forever_then() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let file = open(&path, Requirement::OnceThereIsAFile).expect("none is needed");
        assert!(!file.requires_keys() && !file.exists() && file.fault().is_none());
        assert!(open(&path, Requirement::Always).expect("none is needed").requires_keys());

        let key = create(&path, &new_key("shop")).expect("created");
        assert!(!reload(&file) && !file.requires_keys(), "it may not be complete");
        assert!(reload(&file) && file.requires_keys() && file.exists());
        assert!(!reload(&file), "nothing has changed");
        assert_eq!(file.verify(&key).expect("valid").name.as_str(), "shop");
        assert_eq!(file.find(key.id()).expect("valid").id, key.id());

        std::fs::remove_file(&path).expect("removed");
        assert!(!reload(&file) && file.requires_keys());
        assert!(file.fault().is_some_and(|fault| fault.contains("is gone")));
        assert!(file.verify(&key).is_ok(), "the last keys remain valid");
    }

    #[test]
    fn a_file_that_cannot_be_used_changes_nothing_until_it_can() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let key = create(&path, &new_key("shop")).expect("created");
        let file = open(&path, Requirement::OnceThereIsAFile).expect("valid");
        let good = std::fs::read(&path).expect("read");
        for bad in [&b"[[key"[..], b"[[key]]\nid = 1\n", b"\xff"] {
            std::fs::write(&path, bad).expect("written");
            assert!(!reload(&file) && !reload(&file) && file.fault().is_some(), "{bad:?}");
            assert!(file.verify(&key).is_ok() && file.requires_keys());
            assert!(open(&path, Requirement::OnceThereIsAFile).is_err(), "a process does not start with it");
        }
        std::fs::write(&path, &good).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(!reload(&file) && file.fault().is_some_and(|fault| fault.contains("chmod")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        reload(&file);
        assert_eq!(file.fault(), None);
        std::fs::write(&path, "").expect("written");
        assert!(!reload(&file) && file.verify(&key).is_ok(), "it may not be complete");
        assert!(reload(&file) && file.requires_keys(), "an empty file lets nobody in");
        assert_eq!(file.verify(&key).err(), Some(KeyRejection::Unknown));
    }

    #[test]
    fn a_first_file_that_cannot_be_used_lets_nobody_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let file = open(&path, Requirement::OnceThereIsAFile).expect("none is needed");
        std::fs::write(&path, "[[key").expect("written");
        reload(&file);
        reload(&file);
        assert!(file.requires_keys());
        std::fs::remove_file(&path).expect("removed");
        reload(&file);
        assert!(file.requires_keys());
    }

    #[test]
    fn a_rotated_key_is_valid_until_its_overlap_ends_and_a_revoked_one_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let old = create(&path, &new_key("shop")).expect("created");
        let now = domain::timestamp::Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let overlap = std::time::Duration::from_secs(3_600);
        let new = rotate(&path, old.id(), overlap, None, now.saturating_sub(overlap / 2)).expect("rotated").key;
        let file = open(&path, Requirement::OnceThereIsAFile).expect("valid");
        let names = [&old, &new].map(|key| file.verify(key).expect("valid").name.to_string());
        assert_eq!(names, ["shop", "shop"]);
        let later = clock_at("2026-01-01T00:30:00Z");
        let file = KeysFile::open(&path, Requirement::Always, Arc::new(later)).expect("valid");
        assert_eq!(file.verify(&old).err(), Some(KeyRejection::Expired));
        assert!(file.verify(&new).is_ok());
        revoke(&path, new.id(), now).expect("revoked");
        assert!(!reload(&file) && reload(&file));
        assert_eq!(file.verify(&new).err(), Some(KeyRejection::Revoked));
        assert_eq!(file.find(new.id()).err(), Some(KeyRejection::Revoked));
    }

    #[test]
    fn a_file_that_is_being_written_gives_no_rights() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let sources = Some(vec!["shop-*".parse().expect("a pattern")]);
        let key = create(&path, &NewKey { sources, ..new_key("shop") }).expect("created");
        let file = open(&path, Requirement::Always).expect("valid");
        let whole = std::fs::read_to_string(&path).expect("read");
        // Valid up to here, and without the restriction.
        let part = &whole[..whole.find("sources").expect("a restriction")];
        std::fs::write(&path, part).expect("written");
        assert!(!reload(&file));
        assert!(file.verify(&key).expect("valid").sources.is_some());
        std::fs::write(&path, &whole).expect("written");
        assert!(!reload(&file) && !reload(&file), "it is as it was");
        std::fs::write(&path, part).expect("written");
        assert!(!reload(&file), "what was seen before the file was whole again does not count");
        assert!(reload(&file) && file.verify(&key).expect("valid").sources.is_none(), "that is what it says");
    }

    #[test]
    fn what_an_edit_has_changed_is_told_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let file = open(&path, Requirement::OnceThereIsAFile).expect("none is needed");
        let changes = || {
            assert_eq!(file.reload(), None, "it may not be complete");
            file.reload().expect("it is used")
        };
        let ids = |mut keys: Vec<KeyId>| {
            keys.sort_unstable();
            keys
        };
        let now = domain::timestamp::Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let (one, other) =
            (create(&path, &new_key("shop")).expect("one"), create(&path, &new_key("till")).expect("two"));
        let added = KeyChanges { added: ids(vec![one.id(), other.id()]), ..KeyChanges::default() };
        assert_eq!(changes(), added);
        let new = rotate(&path, one.id(), std::time::Duration::ZERO, None, now).expect("rotated").key;
        revoke(&path, other.id(), now).expect("revoked");
        let rotated = KeyChanges {
            added: vec![new.id()],
            revoked: vec![other.id()],
            changed: vec![one.id()],
            removed: Vec::new(),
        };
        assert_eq!(changes(), rotated);
        let restored = std::fs::read_to_string(&path).expect("read");
        let restored: String =
            restored.lines().filter(|line| !line.starts_with("revoked")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, restored).expect("written");
        assert_eq!(changes(), KeyChanges { changed: vec![other.id()], ..KeyChanges::default() });
        std::fs::write(&path, "").expect("written");
        let removed = KeyChanges { removed: ids(vec![one.id(), other.id(), new.id()]), ..KeyChanges::default() };
        assert_eq!(changes(), removed);
    }
}
