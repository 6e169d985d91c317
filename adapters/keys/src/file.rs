//! The format of the file, and reading it.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use domain::access::{
    InvalidKeyHash, InvalidKeyId, InvalidKeyName, InvalidKeys, InvalidSourcePattern, KEY_PREFIX, Key, KeyId, KeyLimits,
    Keys, Role, SOURCE_PATTERNS_MAX, SourcePattern, SourceRestriction, UnknownRole,
};
use domain::timestamp::Timestamp;
use serde::Deserialize;

/// Maximum bytes of the file: 10,000 keys.
pub const KEYS_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The permissions of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system's.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Others may read or write it.
    #[error("other users of this machine may read it: run chmod o-rwx on it")]
    Permissions,
    /// It is too large.
    #[error("it has more than {KEYS_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not the TOML that is expected.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A key in it is not valid.
    #[error("key {id}: {message}")]
    Key {
        /// The id as it is written, if it is one, or its number in the file.
        id: String,
        /// What is wrong.
        message: String,
    },
    /// The keys do not fit together.
    #[error("{0}")]
    Keys(#[from] InvalidKeys),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    name: String,
    hash: String,
    roles: Vec<String>,
    sources: Option<Vec<String>>,
    expires: Option<String>,
    revoked: Option<String>,
    /// When its end became that of a rotation; only an edit looks at it.
    rotated: Option<String>,
    requests_per_second: Option<u32>,
    events_per_second: Option<u32>,
}

/// Reads the bytes of the file.
///
/// # Errors
/// It cannot be read, is too large, or others may read it.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & OTHERS != 0 {
        return Err(FileError::Permissions);
    }
    let mut bytes = Vec::new();
    file.take(KEYS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEYS_FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    Ok(bytes)
}

/// A key as the file has it.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// The key.
    pub key: Key,
    /// When its end became that of a rotation.
    pub rotated: Option<Timestamp>,
}

/// The keys in the bytes of a file, in their order.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Vec<Key>, FileError> {
    Ok(listed(bytes)?.into_iter().map(|listed| listed.key).collect())
}

/// The same, with what only an edit looks at.
///
/// # Errors
/// The first thing that is wrong.
pub fn listed(bytes: &[u8]) -> Result<Vec<ListedKey>, FileError> {
    let syntax = |line, message: &str| FileError::Syntax { line, message: without_secret(message) };
    let text = std::str::from_utf8(bytes).map_err(|_| syntax(1, "not UTF-8"))?;
    let content: Content = toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        syntax(before.matches('\n').count() + 1, error.message())
    })?;
    content.key.iter().enumerate().map(|(index, entry)| entry.listed(index)).collect()
}

/// The same, as a set.
///
/// # Errors
/// The first thing that is wrong.
pub fn keys(bytes: &[u8]) -> Result<Keys, FileError> {
    Ok(Keys::new(parse(bytes)?)?)
}

impl Entry {
    fn listed(&self, index: usize) -> Result<ListedKey, FileError> {
        let id: Result<KeyId, InvalidKeyId> = self.id.parse();
        let wrong = |message: String| {
            let id = id.map_or_else(|_| format!("number {}", index + 1), |id| id.to_string());
            FileError::Key { id, message: without_secret(&message) }
        };
        let roles = self.roles.iter().map(|role| role.parse::<Role>()).collect::<Result<Vec<Role>, UnknownRole>>();
        let roles = roles.map_err(|error| wrong(format!("roles: {error}")))?;
        if roles.is_empty() {
            return Err(wrong("roles must not be empty".to_owned()));
        }
        let time = |name: &str, text: &Option<String>| {
            let time = text.as_deref().map(Timestamp::parse).transpose();
            time.map_err(|_| wrong(format!("{name}: not a time such as 2027-11-24T00:00:00Z")))
        };
        let limit = |name: &str, limit: Option<u32>| match limit.map(NonZeroU32::new) {
            Some(None) => Err(wrong(format!("{name} must not be 0: leave it out for no limit"))),
            limit => Ok(limit.flatten()),
        };
        let rotated = time("rotated", &self.rotated)?;
        let key = Key {
            id: id.map_err(|error| wrong(format!("id: {error}")))?,
            name: self.name.parse().map_err(|error: InvalidKeyName| wrong(format!("name: {error}")))?,
            hash: self.hash.parse().map_err(|error: InvalidKeyHash| wrong(format!("hash: {error}")))?,
            roles,
            sources: self.sources().map_err(|error| wrong(format!("sources: {error}")))?,
            expires: time("expires", &self.expires)?,
            revoked: time("revoked", &self.revoked)?,
            limits: KeyLimits {
                requests_per_second: limit("requests_per_second", self.requests_per_second)?,
                events_per_second: limit("events_per_second", self.events_per_second)?,
            },
        };
        Ok(ListedKey { key, rotated })
    }

    fn sources(&self) -> Result<Option<SourceRestriction>, String> {
        let Some(sources) = &self.sources else { return Ok(None) };
        if sources.is_empty() || sources.len() > SOURCE_PATTERNS_MAX {
            return Err(format!("must have 1 to {SOURCE_PATTERNS_MAX} entries: leave it out for all sources"));
        }
        let patterns = sources.iter().map(|source| source.parse::<SourcePattern>()).collect::<Result<Vec<_>, _>>();
        patterns.map(|patterns| Some(patterns.into())).map_err(|error: InvalidSourcePattern| error.to_string())
    }
}

/// A message of the parser repeats values; one that was put in the wrong place may be a whole key.
fn without_secret(message: &str) -> String {
    if message.contains(KEY_PREFIX) { "a value has the wrong type or place".to_owned() } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "sha256:abababababababababababababababababababababababababababababababab";

    fn entry(lines: &str) -> String {
        format!("[[key]]\nid = \"aB3dE5gH\"\nname = \"shop\"\nhash = \"{HASH}\"\n{lines}\n")
    }

    fn error(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn a_key_has_what_the_file_says() {
        let text = entry(
            "roles = [\"ingest\", \"read\"]\nsources = [\"shop-*\"]\nexpires = \"2027-11-24T00:00:00Z\"\n\
             requests_per_second = 200\nevents_per_second = 50000",
        );
        let keys = parse(text.as_bytes()).expect("valid");
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((key.id.to_string().as_str(), key.name.as_str()), ("aB3dE5gH", "shop"));
        assert_eq!((key.hash.to_string().as_str(), key.roles.as_slice()), (HASH, &[Role::Ingest, Role::Read][..]));
        assert!(key.sources.as_ref().is_some_and(|sources| sources.allows("shop-1") && !sources.allows("other")));
        assert_eq!(key.expires, Timestamp::parse("2027-11-24T00:00:00Z").ok());
        assert_eq!(
            (key.revoked, key.limits.requests_per_second, key.limits.events_per_second),
            (None, NonZeroU32::new(200), NonZeroU32::new(50_000))
        );
        let least = parse(entry("roles = [\"admin\"]").as_bytes()).expect("valid");
        assert!(least.iter().all(|key| key.sources.is_none() && key.limits == KeyLimits::default()));
        assert!(parse(b"").expect("an empty file is one without keys").is_empty());
        assert!(parse(b"# nobody yet\n").expect("valid").is_empty());
    }

    #[test]
    fn an_error_says_where_and_what_and_shows_no_secret() {
        for (lines, expected) in [
            ("roles = []", "key aB3dE5gH: roles must not be empty"),
            ("roles = [\"root\"]", "key aB3dE5gH: roles: not a role: ingest, read, operate or admin"),
            ("roles = [\"read\"]\nsources = []", "key aB3dE5gH: sources: must have 1 to 100 entries"),
            ("roles = [\"read\"]\nsources = [\"\"]", "key aB3dE5gH: sources: not a source or a pattern"),
            ("roles = [\"read\"]\nexpires = \"soon\"", "key aB3dE5gH: expires: not a time"),
            ("roles = [\"read\"]\nevents_per_second = 0", "key aB3dE5gH: events_per_second must not be 0"),
            ("roles = [\"read\"]\nsecret = \"x\"", "unknown field"),
            ("", "missing field"),
        ] {
            let error = error(&entry(lines));
            assert!(error.contains(expected), "{error}");
        }
        let secret = domain::access::KeyText::from_random(&[10; 40]).expect("enough bytes");
        for lines in [
            format!("roles = \"{}\"", secret.reveal()),
            format!("roles = [\"{}\"]", secret.reveal()),
            format!("roles = [\"read\"]\nevents_per_second = \"{}\"", secret.reveal()),
        ] {
            assert!(!error(&entry(&lines)).contains("AAAAAAAAAAAA"), "{lines}");
        }
        let shown = error(&entry("roles = [\"read\"]").replace(HASH, secret.reveal()));
        assert!(shown.starts_with("key aB3dE5gH: hash: not the hash") && !shown.contains("spw_"), "{shown}");
        assert!(error(&entry("roles = [\"read\"]").replace("aB3dE5gH", "x")).starts_with("key number 1: id:"));
        let twice = entry("roles = [\"read\"]").repeat(2);
        assert_eq!(keys(twice.as_bytes()).expect_err("twice").to_string(), "two keys have the id aB3dE5gH");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        std::fs::write(&path, "").expect("written");
        for (mode, usable) in [(0o600, true), (0o640, true), (0o440, true), (0o644, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(read(&path).is_ok(), usable, "{mode:o}");
        }
        let gone = read(&directory.path().join("gone")).expect_err("there is none");
        assert!(matches!(gone, FileError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>(), lines in "[a-z_]{0,8} = [\\[\\]\"a-z0-9]{0,9}") {
            let _ = parse(&bytes);
            let _ = parse(entry(&lines).as_bytes());
        }
    }
}
