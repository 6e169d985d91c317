//! Editing the file: new keys, rotated keys, revoked keys.
//!
//! Constraints and invariants:
//! * Comments and order of the file are kept: people edit it too.
//! * One edit at a time, under a lock beside the file. The file is replaced as a whole, and synced before that.
//! * What is written was read back first: an edit never leaves a file that cannot be used.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::access::{Key, KeyId, KeyLimits, KeyName, KeyText, Role, SourcePattern};
use domain::timestamp::Timestamp;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::file::{FileError, ListedKey, keys, listed, parse, read};
use crate::hash::{hash_of, new_key};

/// Permissions of a new file: its owner's only.
const NEW_FILE_MODE: u32 = 0o600;
/// The setting of a key that says when it was rotated.
const ROTATED: &str = "rotated";
/// The key of the list of keys.
const LIST: &str = "key";

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no key with this id.
    #[error("there is no key with the id {0}")]
    NoSuchKey(KeyId),
    /// The key with this id has ended, and so would the one that takes its place.
    #[error("the key {0} has ended: say with --expires when the new one ends")]
    Ended(KeyId),
    /// The key with this id was rotated: it ends with its overlap, and so would the one that takes its place.
    #[error(
        "the key {0} was rotated before, and a new one would end with the overlap of that rotation: rotate the key that took \
         its place, or say with --expires when the new one ends"
    )]
    Rotated(KeyId),
    /// The key with this id is revoked: rotating it would undo that.
    #[error("the key {0} is revoked: create a new one with spillway key create")]
    Revoked(KeyId),
    /// The keys are not written as `[[key]]`.
    #[error("the keys must be written as [[key]], each with a line for each setting")]
    Form,
    /// There are no random numbers.
    #[error("the operating system has no random numbers")]
    NoRandomNumbers,
}

impl From<io::Error> for EditError {
    fn from(error: io::Error) -> Self {
        Self::File(error.into())
    }
}

/// A key to create.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its name.
    pub name: KeyName,
    /// What it may do; not empty.
    pub roles: Vec<Role>,
    /// The sources that it may write and read; `None` means all.
    pub sources: Option<Vec<SourcePattern>>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// How much it may ask for.
    pub limits: KeyLimits,
}

/// Adds a key, and creates the file if there is none. Returns the key: it is shown once and kept nowhere.
///
/// # Errors
/// See [`EditError`].
pub fn create(path: &Path, key: &NewKey) -> Result<KeyText, EditError> {
    let text = new_key().ok_or(EditError::NoRandomNumbers)?;
    edit(path, |list, _| {
        list.push(table_of(&text, key));
        Ok(())
    })?;
    Ok(text)
}

/// A key that took the place of another one.
pub struct Rotated {
    /// The new key: it is shown once and kept nowhere.
    pub key: KeyText,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
    /// When the old key ends.
    pub old_expires: Timestamp,
}

/// Adds a key that may do what the one with this id may, and lets that one end after `overlap`, unless it ends before.
/// The new key ends at `expires`; if that is not given, when the old one would have ended without a rotation.
///
/// # Errors
/// See [`EditError`].
pub fn rotate(
    path: &Path,
    id: KeyId,
    overlap: Duration,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<Rotated, EditError> {
    let text = new_key().ok_or(EditError::NoRandomNumbers)?;
    let mut ends = (expires, now);
    edit(path, |list, keys| {
        // Read under the lock: what another edit has just taken away must not come back.
        let old = keys.into_iter().find(|key| key.id == id).ok_or(EditError::NoSuchKey(id))?;
        if old.revoked.is_some() {
            return Err(EditError::Revoked(id));
        }
        if expires.is_none() && has(list, id, ROTATED) {
            return Err(EditError::Rotated(id));
        }
        let expires = expires.or(old.expires);
        if expires.is_some_and(|expires| expires <= now) {
            return Err(EditError::Ended(id));
        }
        let end = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
        let end = old.expires.map_or(end, |expires| expires.min(end));
        let sources = old.sources.as_ref().map(|sources| sources.patterns().to_vec());
        let new = NewKey { name: old.name, roles: old.roles, sources, expires, limits: old.limits };
        set_time(list, id, "expires", end)?;
        set_time(list, id, ROTATED, now)?;
        list.push(table_of(&text, &new));
        ends = (expires, end);
        Ok(())
    })?;
    let (expires, old_expires) = ends;
    Ok(Rotated { key: text, expires, old_expires })
}

/// What an operator should know about a key that is revoked now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// When it was revoked before: that time stays.
    pub before: Option<Timestamp>,
    /// Whether it was the last valid key with the role `admin` and without `sources`.
    pub was_last_admin: bool,
}

/// Revokes the key with this id. It stays in the file, so that the audit can say why it is refused.
///
/// # Errors
/// See [`EditError`].
pub fn revoke(path: &Path, id: KeyId, now: Timestamp) -> Result<Revoked, EditError> {
    let mut revoked = Revoked::default();
    let may_all = |key: &Key| {
        let is_valid = key.revoked.is_none() && key.expires.is_none_or(|expires| expires > now);
        is_valid && key.roles.contains(&Role::Admin) && key.sources.is_none()
    };
    edit(path, |list, keys| {
        let key = keys.iter().find(|key| key.id == id).ok_or(EditError::NoSuchKey(id))?;
        revoked.before = key.revoked;
        if key.revoked.is_some() {
            return Ok(());
        }
        revoked.was_last_admin = may_all(key) && !keys.iter().any(|other| other.id != id && may_all(other));
        set_time(list, id, "revoked", now)
    })?;
    Ok(revoked)
}

/// The keys of the file, in its order.
///
/// # Errors
/// See [`EditError`]. A file that a process would refuse is one.
pub fn list(path: &Path) -> Result<Vec<ListedKey>, EditError> {
    let bytes = read(path)?;
    keys(&bytes)?;
    Ok(listed(&bytes)?)
}

fn table_of(text: &KeyText, key: &NewKey) -> Table {
    let mut table = Table::new();
    table.insert("id", value(text.id().to_string()));
    table.insert("name", value(key.name.to_string()));
    table.insert("hash", value(hash_of(text).to_string()));
    table.insert("roles", value(key.roles.iter().map(|role| role.name()).collect::<toml_edit::Array>()));
    if let Some(sources) = &key.sources {
        table.insert("sources", value(sources.iter().map(ToString::to_string).collect::<toml_edit::Array>()));
    }
    if let Some(expires) = key.expires {
        table.insert("expires", value(expires.to_string()));
    }
    let limits =
        [("requests_per_second", key.limits.requests_per_second), ("events_per_second", key.limits.events_per_second)];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            table.insert(name, value(i64::from(limit.get())));
        }
    }
    table
}

/// Whether a table is that of the key with this id.
fn is_of(table: &Table, id: KeyId) -> bool {
    table.get("id").and_then(Item::as_str).is_some_and(|text| text == id.to_string())
}

/// Whether the key with this id has a setting.
fn has(list: &ArrayOfTables, id: KeyId, name: &str) -> bool {
    list.iter().any(|table| is_of(table, id) && table.contains_key(name))
}

fn set_time(list: &mut ArrayOfTables, id: KeyId, name: &str, time: Timestamp) -> Result<(), EditError> {
    let table = list.iter_mut().find(|table| is_of(table, id)).ok_or(EditError::NoSuchKey(id))?;
    table.insert(name, value(time.to_string()));
    Ok(())
}

/// Changes the list of keys, one edit at a time, by what they are now.
fn edit(
    path: &Path,
    change: impl FnOnce(&mut ArrayOfTables, Vec<Key>) -> Result<(), EditError>,
) -> Result<(), EditError> {
    // A link is followed: it would be replaced by a file otherwise.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error.into()),
    };
    // Released when dropped.
    let lock = lock_file(&path)?;
    lock.lock()?;
    let (bytes, old) = match read(&path) {
        Ok(bytes) => (bytes, Some(fs::metadata(&path)?)),
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => return Err(error.into()),
    };
    // Says what is wrong with it better than the editor does.
    keys(&bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut document: DocumentMut = text.parse().map_err(|_| EditError::Form)?;
    let list = document.entry(LIST).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    change(list.as_array_of_tables_mut().ok_or(EditError::Form)?, parse(&bytes)?)?;
    let new = document.to_string();
    keys(new.as_bytes())?;
    replace(&path, new.as_bytes(), old.as_ref())?;
    Ok(())
}

/// The lock beside a file. A new one has the owner and the group of the file: an edit by root must not lock out the user that
/// Spillway runs as. One that exists keeps its own: it may be a link to another file.
fn lock_file(path: &Path) -> io::Result<File> {
    let lock_path = beside(path, ".lock");
    let lock = match OpenOptions::new().create_new(true).write(true).mode(NEW_FILE_MODE).open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return OpenOptions::new().write(true).open(&lock_path);
        }
        Err(error) => return Err(error),
    };
    let file = match fs::metadata(path) {
        Ok(file) => file,
        // It will have the owner of this process, as the lock has.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lock),
        Err(error) => return Err(error),
    };
    let made = lock.metadata()?;
    if (file.uid(), file.gid()) != (made.uid(), made.gid()) {
        // A lock that the owner of the file cannot open must not stay.
        fchown(&lock, Some(file.uid()), Some(file.gid())).inspect_err(|_| {
            let _ = fs::remove_file(&lock_path);
        })?;
    }
    Ok(lock)
}

/// Replaces a file as a whole, durably. The new one has the owner, the group and the permissions of the old one: an
/// edit by root must not take the file from the user that Spillway runs as.
fn replace(path: &Path, bytes: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    let new_path = beside(path, ".new");
    // What an edit left behind that did not end. It is not opened: it may be a link to another file.
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut new = OpenOptions::new().create_new(true).write(true).mode(NEW_FILE_MODE).open(&new_path)?;
    new.write_all(bytes)?;
    let made = new.metadata()?;
    if let Some(old) = old.filter(|old| (old.uid(), old.gid()) != (made.uid(), made.gid())) {
        fchown(&new, Some(old.uid()), Some(old.gid()))?;
    }
    new.set_permissions(Permissions::from_mode(old.map_or(NEW_FILE_MODE, |old| old.permissions().mode())))?;
    new.sync_all()?;
    fs::rename(&new_path, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn new_key(name: &str) -> NewKey {
        NewKey {
            name: name.parse().expect("a name"),
            roles: vec![Role::Ingest, Role::Read],
            sources: Some(vec!["shop-*".parse().expect("a pattern")]),
            expires: Timestamp::parse("2027-11-24T00:00:00Z").ok(),
            limits: KeyLimits { requests_per_second: NonZeroU32::new(200), events_per_second: None },
        }
    }

    fn keys_of(path: &Path) -> Vec<Key> {
        list(path).expect("valid").into_iter().map(|listed| listed.key).collect()
    }

    #[test]
    fn a_created_key_is_in_the_file_without_its_secret_and_everything_else_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let first = create(&path, &new_key("shop")).expect("created");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, NEW_FILE_MODE);
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, format!("# ours\n{text}")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("changed");
        let second = create(&path, &new_key("till")).expect("created");
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.starts_with("# ours\n"), "{text}");
        for key in [&first, &second] {
            assert!(!text.contains(key.reveal()) && text.contains(&hash_of(key).to_string()), "{text}");
        }
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o640);
        let names: Vec<String> = keys_of(&path).iter().map(|key| key.name.to_string()).collect();
        assert_eq!(names, ["shop", "till"]);
        let left: Vec<_> = fs::read_dir(directory.path()).expect("a directory").flatten().collect();
        assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
    }

    #[test]
    fn a_link_in_the_place_of_the_new_file_is_removed_and_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (directory.path().join("keys.toml"), directory.path().join("other"));
        fs::write(&other, "other").expect("written");
        std::os::unix::fs::symlink(&other, beside(&path, ".new")).expect("a link");
        create(&path, &new_key("shop")).expect("created");
        assert_eq!(fs::read_to_string(&other).expect("read"), "other");
        assert!(fs::symlink_metadata(&path).expect("a file").is_file());
        assert_eq!(keys_of(&path).len(), 1);
    }

    #[test]
    fn a_rotated_key_keeps_what_it_may_do_and_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let old = create(&path, &new_key("shop")).expect("created");
        let now = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let rotated = rotate(&path, old.id(), Duration::from_secs(24 * 3_600), None, now).expect("rotated");
        let new = rotated.key;
        let keys = keys_of(&path);
        let [of_old, of_new] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!(of_old.expires, Timestamp::parse("2026-01-02T00:00:00Z").ok());
        let end = Timestamp::parse("2027-11-24T00:00:00Z").ok();
        assert_eq!((of_new.id, of_new.expires), (new.id(), end), "it ends when the old one would have ended");
        assert_eq!((rotated.expires, Some(rotated.old_expires)), (of_new.expires, of_old.expires));
        let again = rotate(&path, old.id(), Duration::from_secs(3_600), None, now);
        assert!(matches!(again, Err(EditError::Rotated(id)) if id == old.id()), "it would end with the first overlap");
        assert_eq!(keys_of(&path).len(), 2, "nothing was changed");
        assert_eq!((&of_new.name, &of_new.roles), (&of_old.name, &of_old.roles));
        assert_eq!((&of_new.sources, of_new.limits), (&of_old.sources, of_old.limits));
        revoke(&path, old.id(), now).expect("revoked");
        assert_eq!(keys_of(&path)[0].revoked, Some(now));
        let before = fs::read(&path).expect("read");
        let revoked = rotate(&path, old.id(), Duration::ZERO, Some(Timestamp::MAX), now);
        assert!(matches!(revoked, Err(EditError::Revoked(id)) if id == old.id()));
        assert_eq!(fs::read(&path).expect("read"), before, "nothing was changed");
        let later = Timestamp::parse("2027-12-01T00:00:00Z").expect("a time");
        let ended = rotate(&path, new.id(), Duration::ZERO, None, later);
        assert!(matches!(ended, Err(EditError::Ended(id)) if id == new.id()));
        let last = rotate(&path, new.id(), Duration::ZERO, Some(Timestamp::MAX), later).expect("rotated").key;
        let keys = keys_of(&path);
        assert_eq!(keys.last().map(|key| (key.id, key.expires)), Some((last.id(), Some(Timestamp::MAX))));
    }

    #[test]
    fn a_key_is_revoked_once_and_the_last_one_that_may_do_everything_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let admin = |sources: Option<&str>, expires: Option<&str>| {
            let sources = sources.map(|source| vec![source.parse().expect("a pattern")]);
            let expires = expires.map(|time| Timestamp::parse(time).expect("a time"));
            create(&path, &NewKey { roles: vec![Role::Admin], sources, expires, ..new_key("ops") })
                .expect("created")
                .id()
        };
        let (first, second) = (admin(None, None), admin(None, Some("2027-01-01T00:00:00Z")));
        admin(Some("shop-*"), None);
        admin(None, Some("2020-01-01T00:00:00Z"));
        let [now, later] =
            ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"].map(|time| Timestamp::parse(time).expect("a time"));
        assert_eq!(revoke(&path, first, now).expect("revoked"), Revoked::default());
        assert_eq!(revoke(&path, first, later).expect("revoked").before, Some(now));
        assert_eq!(keys_of(&path)[0].revoked, Some(now), "the time stays");
        assert!(revoke(&path, second, later).expect("revoked").was_last_admin);
        let shop = create(&path, &new_key("shop")).expect("created").id();
        assert!(!revoke(&path, shop, later).expect("revoked").was_last_admin);
    }

    #[test]
    fn a_file_that_a_process_would_refuse_is_not_listed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let key = create(&path, &new_key("shop")).expect("created");
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, text.repeat(2)).expect("written");
        let error = list(&path).expect_err("one id twice").to_string();
        assert_eq!(error, format!("two keys have the id {}", key.id()));
    }

    #[test]
    fn the_owner_of_the_file_keeps_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        create(&path, &new_key("shop")).expect("created");
        // Only root can give a file away; any other user edits its own.
        let (user, group) = (12_345, 12_346);
        if std::os::unix::fs::chown(&path, Some(user), Some(group)).is_err() {
            return;
        }
        fs::remove_file(beside(&path, ".lock")).expect("removed");
        create(&path, &new_key("till")).expect("created");
        for path in [&path, &beside(&path, ".lock")] {
            let metadata = fs::metadata(path).expect("a file");
            assert_eq!((metadata.uid(), metadata.gid()), (user, group), "{}", path.display());
        }
    }

    #[test]
    fn an_edit_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let key = create(&path, &new_key("shop")).expect("created");
        let other = super::new_key().expect("a key").id();
        let now = Timestamp::MIN;
        assert!(matches!(revoke(&path, other, now), Err(EditError::NoSuchKey(id)) if id == other));
        assert!(matches!(rotate(&path, other, Duration::ZERO, None, now), Err(EditError::NoSuchKey(_))));
        assert_eq!(keys_of(&path)[0].revoked, None);
        fs::write(&path, "[[key").expect("written");
        assert!(matches!(revoke(&path, key.id(), now), Err(EditError::File(FileError::Syntax { .. }))));
        assert_eq!(fs::read_to_string(&path).expect("read"), "[[key");
        fs::write(&path, "key = []\n").expect("written");
        assert!(matches!(create(&path, &new_key("shop")), Err(EditError::Form)));
    }

    #[test]
    fn a_linked_file_stays_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, link) = (directory.path().join("keys.toml"), directory.path().join("link.toml"));
        create(&path, &new_key("shop")).expect("created");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        create(&link, &new_key("till")).expect("created");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(keys_of(&path).len(), 2);
    }
}
