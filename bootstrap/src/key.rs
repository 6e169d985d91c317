//! `spillway key`: access keys, on the machine that has their file.
//!
//! Constraint: a key is printed once, to standard output, and nothing else is, so that a script can take it.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use adapter_keys::{EditError, FileError, ListedKey, NewKey, Revoked, Rotated};
use anyhow::Context;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Subcommand, ValueHint};
use domain::access::{KEY_PREFIX, KeyId, KeyLimits, KeyName, KeyText, Role, SourcePattern};
use domain::ports::Clock;
use domain::timestamp::Timestamp;

use crate::access::takes_syslog_of_everyone;
use crate::settings::{AuthModeKind, Settings};
use crate::suggested::suggested;
use crate::system::SystemClock;

/// Roles, as completions suggest them.
const ROLES: [&str; 4] = ["ingest", "read", "operate", "admin"];

/// What to do with the access keys.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create a key and print it; it cannot be shown again
    Create(Box<Create>),
    /// List the keys, without their secrets
    List(Place),
    /// Create a key with the rights of another one, and let that one end after a while
    Rotate {
        /// Id of the key: what stands between the underscores
        #[arg(value_name = "ID", value_parser = IdParser)]
        id: KeyId,
        /// How long the old key remains valid
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
        overlap: Duration,
        /// When the new key ends: a duration from now such as 90days, or a time [default: when the old one would have ended]
        #[arg(long, value_name = "TIME", value_parser = parse_end)]
        expires: Option<End>,
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a key at once
    Revoke {
        /// Id of the key: what stands between the underscores
        #[arg(value_name = "ID", value_parser = IdParser)]
        id: KeyId,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the keys are.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// File of the keys [default: AUTH__KEYS_FILE, or keys.toml in DATA_DIR]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    keys_file: Option<PathBuf>,
}

/// A key to create.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Name of its owner: limits and claims of ids belong to the name, which several keys may have
    #[arg(long, value_name = "NAME")]
    name: KeyName,
    /// What it may do: ingest, read, operate or admin; may be repeated
    #[arg(long = "role", value_name = "ROLE", required = true, value_delimiter = ',', hide_possible_values = true, value_parser = suggested(Role::from_str, &ROLES))]
    roles: Vec<Role>,
    /// A source that it may write and read, with * for any characters; may be repeated [default: all sources]
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<SourcePattern>,
    /// When it ends: a duration from now such as 90days, or a time such as 2027-11-24T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    expires: Option<End>,
    /// Maximum requests per second that send events [default: RATE_LIMIT]
    #[arg(long, value_name = "REQUESTS", value_parser = parse_limit)]
    requests_per_second: Option<NonZeroU32>,
    /// Maximum events per second [default: no limit]
    #[arg(long, value_name = "EVENTS", value_parser = parse_limit)]
    events_per_second: Option<NonZeroU32>,
    #[command(flatten)]
    place: Place,
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// So long after now.
    After(Duration),
    /// At this time.
    At(Timestamp),
}

impl End {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(duration) => now.checked_add(duration).unwrap_or(Timestamp::MAX),
            Self::At(time) => time,
        }
    }
}

fn parse_end(text: &str) -> Result<End, &'static str> {
    let after = humantime::parse_duration(text).ok().map(End::After);
    let end = after.or_else(|| Timestamp::parse(text).ok().map(End::At));
    let (end, now) = (end.ok_or("neither a duration such as 90days nor a time")?, SystemClock.now());
    if end.from(now) > now { Ok(end) } else { Err("this time is over: the key would never be valid") }
}

fn parse_limit(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse().map_err(|_| "not a number from 1 to 4294967295: leave the option out for the default")
}

/// Parses the id of a key. A whole key in its place is refused without being repeated: terminals and logs keep what is printed.
#[derive(Clone)]
struct IdParser;

impl TypedValueParser for IdParser {
    type Value = KeyId;

    fn parse_ref(&self, command: &clap::Command, option: Option<&Arg>, value: &OsStr) -> Result<KeyId, clap::Error> {
        if value.to_string_lossy().contains(KEY_PREFIX) {
            let message =
                "ID: this looks like a whole key: give only its id, the 8 characters between the underscores\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command));
        }
        KeyId::from_str.parse_ref(command, option, value)
    }
}

/// What a command prints.
#[derive(Debug, Default)]
pub struct Printed {
    /// To standard output: a key, or the list of keys.
    pub text: String,
    /// To standard error: what an operator should know.
    pub notes: Vec<String>,
}

/// Runs a command with these settings. `keys_file` is theirs.
///
/// # Errors
/// The file cannot be read or written, or has no such key.
pub fn run(command: Command, keys_file: &Path, settings: &Settings) -> anyhow::Result<Printed> {
    let now = SystemClock.now();
    let path = |place: Place| place.keys_file.unwrap_or_else(|| keys_file.to_owned());
    match command {
        Command::Create(create) => {
            let (key, place) = create.key(now);
            let path = path(place);
            if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                let context = || format!("cannot make the directory {}", directory.display());
                std::fs::create_dir_all(directory).with_context(context)?;
            }
            let is_first = !path.exists();
            let text =
                adapter_keys::create(&path, &key).map(|key| line(&key)).map_err(|error| explained(error, &path))?;
            let mut notes: Vec<String> = restricted(&key).into_iter().collect();
            if is_first {
                notes.extend(first_key(&path, settings));
            } else if settings.auth.mode != AuthModeKind::Off {
                notes.push("a running Spillway accepts the key within a second".to_owned());
            }
            Ok(Printed { text, notes })
        }
        Command::List(place) => {
            let path = path(place);
            let keys = adapter_keys::list(&path).map_err(|error| explained(error, &path))?;
            Ok(Printed { text: table(&keys, now), notes: Vec::new() })
        }
        Command::Rotate { id, overlap, expires, place } => {
            let (path, expires) = (path(place), expires.map(|end| end.from(now)));
            let rotated = adapter_keys::rotate(&path, id, overlap, expires, now);
            let rotated = rotated.map_err(|error| explained(error, &path))?;
            Ok(Printed { text: line(&rotated.key), notes: vec![ends(id, &rotated)] })
        }
        Command::Revoke { id, place } => {
            let path = path(place);
            let revoked = adapter_keys::revoke(&path, id, now).map_err(|error| explained(error, &path))?;
            Ok(Printed { text: String::new(), notes: after_revocation(id, &revoked) })
        }
    }
}

impl Create {
    fn key(self, now: Timestamp) -> (NewKey, Place) {
        let expires = self.expires.map(|end| end.from(now));
        let key = NewKey {
            name: self.name,
            roles: self.roles,
            sources: (!self.sources.is_empty()).then_some(self.sources),
            expires,
            limits: KeyLimits {
                requests_per_second: self.requests_per_second,
                events_per_second: self.events_per_second,
            },
        };
        (key, self.place)
    }
}

/// Why the keys in a file could not be used or changed, and what to do.
fn explained(error: EditError, path: &Path) -> anyhow::Error {
    let file = path.display();
    match error {
        EditError::NoSuchKey(_) if !path.exists() => anyhow::anyhow!("{error}: the file {file} does not exist"),
        EditError::NoSuchKey(_) => anyhow::anyhow!("{error} in {file}: spillway key list shows those that exist"),
        EditError::Ended(_) | EditError::Rotated(_) | EditError::Revoked(_) => error.into(),
        EditError::File(FileError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            anyhow::anyhow!(
                "the keys file {file} does not exist: spillway key create makes it. If there are keys elsewhere, name their \
                 file with --keys-file, or the settings of that Spillway with --config or SPILLWAY_DATA_DIR"
            )
        }
        EditError::File(_) | EditError::Form | EditError::NoRandomNumbers => {
            anyhow::anyhow!("cannot use the keys in {file}: {error}")
        }
    }
}

/// What an operator may not expect of a key with sources.
fn restricted(key: &NewKey) -> Option<String> {
    let role = key.roles.iter().find(|role| matches!(role, Role::Operate | Role::Admin))?;
    key.sources.as_ref()?;
    Some(format!(
        "a key with --source shows and changes only what belongs to its sources: with the role {}, it reads neither dead letters \
         nor metrics nor the numbers of instances",
        role.name()
    ))
}

/// When both keys of a rotation end.
fn ends(old: KeyId, Rotated { key, expires, old_expires }: &Rotated) -> String {
    let until = expires.map_or_else(|| "without an end".to_owned(), |end| format!("until {end}"));
    format!(
        "the new key {} is valid {until}, and the old key {old} until {old_expires}; a running Spillway accepts the new one \
         within a second",
        key.id()
    )
}

/// What an operator should know about a key that is revoked now.
fn after_revocation(id: KeyId, Revoked { before, was_last_admin }: &Revoked) -> Vec<String> {
    let mut notes = vec![match before {
        Some(before) => format!("the key {id} was revoked before, at {before}: nothing was changed"),
        None => format!("the key {id} is revoked: a running Spillway refuses it within a second"),
    }];
    if *was_last_admin {
        notes.push(
            "this was the last valid key with the role admin: create another one with spillway key create --name admin \
             --role admin"
                .to_owned(),
        );
    }
    notes
}

/// What changes with the first key in a file.
fn first_key(path: &Path, settings: &Settings) -> Vec<String> {
    if settings.auth.mode == AuthModeKind::Off {
        return vec!["no keys are required: these settings have SPILLWAY_AUTH__MODE=off".to_owned()];
    }
    let mut notes = vec![format!(
        "this is the first key in {}: within a second, a running Spillway that uses this file answers 401 to all requests \
         without a key. To let everyone in again, set SPILLWAY_AUTH__MODE=off and restart",
        path.display()
    )];
    if settings.auth.mode == AuthModeKind::Auto {
        notes.push(
            "set SPILLWAY_AUTH__MODE=required, so that a Spillway that starts without this file lets nobody in"
                .to_owned(),
        );
    }
    if takes_syslog_of_everyone(crate::role::Role::All, settings) {
        notes.push(
            "syslog carries no keys, and these settings list no networks for it: a running Spillway refuses it from now on, \
             and the next start fails. Set SPILLWAY_SYSLOG__ALLOW, such as 10.0.0.0/8, and restart"
                .to_owned(),
        );
    }
    notes
}

fn line(key: &KeyText) -> String {
    format!("{}\n", key.reveal())
}

/// One line a key: id, name, roles, sources, limits, and whether it is valid.
fn table(keys: &[ListedKey], now: Timestamp) -> String {
    let limit = |limit: Option<NonZeroU32>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let row = |ListedKey { key, rotated }: &ListedKey| {
        let roles: Vec<&str> = key.roles.iter().map(|role| role.name()).collect();
        let sources = key
            .sources
            .as_ref()
            .map(|sources| sources.patterns().iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        let state = match (key.revoked, key.expires) {
            (Some(at), _) => format!("revoked {at}"),
            (_, Some(at)) if at <= now => format!("expired {at}"),
            (_, Some(at)) => format!("valid until {at}"),
            _ => "valid".to_owned(),
        };
        let rotated = rotated.map(|at| format!(", rotated {at}")).unwrap_or_default();
        let (name, roles, sources) = (key.name.as_str(), roles.join(","), sources.as_deref().unwrap_or("*"));
        let (requests, events) = (limit(key.limits.requests_per_second), limit(key.limits.events_per_second));
        let id = key.id;
        format!("{id}  {name:<20}  {roles:<20}  {sources:<20}  {requests:>10}  {events:>8}  {state}{rotated}\n")
    };
    let (id, name, roles, sources) = ("id", "name", "roles", "sources");
    let head = format!("{id:<8}  {name:<20}  {roles:<20}  {sources:<20}  requests/s  events/s  state\n");
    std::iter::once(head).chain(keys.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Command,
    }

    fn run_with(path: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        run_with_settings(path, arguments, &[]).map(|printed| printed.text)
    }

    fn run_with_settings(path: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Printed> {
        let given = variables.iter().map(|(name, value)| (format!("SPILLWAY_{name}"), (*value).to_owned()));
        let settings = Settings::load(None, given).expect("valid");
        run(Arguments::try_parse_from([&["key"], arguments].concat())?.command, path, &settings)
    }

    #[test]
    fn the_first_key_in_a_file_says_what_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let create = ["create", "--name", "shop", "--role", "ingest"];
        let (syslog, off) = (("SYSLOG__LISTEN", "127.0.0.1:5514"), ("AUTH__MODE", "off"));
        for (name, variables, said) in [
            ("plain", &[][..], &["answers 401", "SPILLWAY_AUTH__MODE=required"][..]),
            ("required", &[("AUTH__MODE", "required")][..], &["answers 401"][..]),
            ("syslog", &[syslog][..], &["answers 401", "SPILLWAY_AUTH__MODE=required", "SPILLWAY_SYSLOG__ALLOW"][..]),
            (
                "allowed",
                &[syslog, ("SYSLOG__ALLOW", "10.0.0.0/8")][..],
                &["answers 401", "SPILLWAY_AUTH__MODE=required"][..],
            ),
            ("off", &[syslog, off][..], &["no keys are required"][..]),
        ] {
            let path = directory.path().join(name);
            let first = run_with_settings(&path, &create, variables).expect("created");
            assert!(first.text.trim().parse::<KeyText>().is_ok(), "{}", first.text);
            assert_eq!(first.notes.len(), said.len(), "{name}: {:?}", first.notes);
            assert!(first.notes.iter().zip(said).all(|(note, said)| note.contains(*said)), "{:?}", first.notes);
            let second = run_with_settings(&path, &create, variables).expect("created");
            let is_told = second.notes.iter().any(|note| note.contains("accepts the key within a second"));
            assert_eq!(
                (second.notes.len(), is_told),
                (usize::from(name != "off"), name != "off"),
                "{:?}",
                second.notes
            );
        }
    }

    #[test]
    fn a_key_is_created_listed_rotated_and_revoked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new").join("keys.toml");
        let shop = ["create", "--name", "shop", "--role", "ingest,read", "--source", "shop-*", "--expires", "90days"];
        let printed = run_with(&path, &shop).expect("created");
        let key: KeyText = printed.trim().parse().expect("a key");
        let id = key.id().to_string();
        let listed = run_with(&path, &["list"]).expect("listed");
        assert!(listed.contains(&id) && listed.contains("ingest,read") && listed.contains("shop-*"), "{listed}");
        assert!(!listed.contains(&printed.trim()[13..]), "no secret is listed");
        let printed = run_with_settings(&path, &["rotate", &id], &[]).expect("rotated");
        let rotated: KeyText = printed.text.trim().parse().expect("a key");
        assert_ne!(rotated.id(), key.id());
        let [note] = printed.notes.as_slice() else { panic!("{:?}", printed.notes) };
        let start = format!("the new key {} is valid until 2", rotated.id());
        assert!(note.starts_with(&start) && note.contains(&format!("the old key {id} until 2")), "{note}");
        let again = run_with(&path, &["rotate", &id, "--overlap", "1h"]).expect_err("it ends soon");
        assert!(format!("{again:#}").contains("rotate the key that took its place"), "{again:#}");
        assert!(run_with(&path, &["list"]).expect("listed").contains(", rotated 2"));
        for said in ["is revoked", "was revoked before, at 2"] {
            let revoked = run_with_settings(&path, &["revoke", &id], &[]).expect("revoked");
            assert!(revoked.text.is_empty() && revoked.notes.len() == 1, "{:?}", revoked.notes);
            assert!(revoked.notes.iter().all(|note| note.contains(said)), "{:?}", revoked.notes);
        }
        let listed = run_with(&path, &["list"]).expect("listed");
        assert!(listed.contains("revoked 2") && listed.lines().count() == 3, "{listed}");
        let unknown = run_with(&path, &["revoke", "AAAAAAAA"]).expect_err("there is none");
        assert!(format!("{unknown:#}").contains("no key with the id AAAAAAAA"), "{unknown:#}");
    }

    #[test]
    fn options_are_checked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        for wrong in [
            &["create", "--name", "shop"][..],
            &["create", "--name", "a b", "--role", "read"],
            &["create", "--name", "shop", "--role", "root"],
            &["create", "--name", "shop", "--role", "read", "--expires", "soon"],
            &["create", "--name", "shop", "--role", "read", "--expires", "2020-01-01T00:00:00Z"],
            &["create", "--name", "shop", "--role", "read", "--expires", "0s"],
            &["create", "--name", "shop", "--role", "read", "--events-per-second", "0"],
            &["create", "--name", "shop", "--role", "read", "--requests-per-second", "many"],
            &["rotate", "short"],
            &["rotate", "AAAAAAAA", "--expires", "soon"],
        ] {
            assert!(run_with(&path, wrong).is_err(), "{wrong:?}");
        }
        assert!(!path.exists());
        for (missing, says) in [(&["list"][..], "SPILLWAY_DATA_DIR"), (&["revoke", "AAAAAAAA"][..], "does not exist")] {
            let error = run_with(&path, missing).expect_err("there is no file");
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        let operator = ["create", "--name", "shop", "--role", "operate", "--source", "shop-*"];
        let created = run_with_settings(&path, &operator, &[]).expect("created");
        assert!(
            created.notes.iter().any(|note| note.contains("with the role operate") && note.contains("metrics")),
            "{:?}",
            created.notes
        );
        assert_eq!(parse_end("2027-11-24T00:00:00Z").map(|end| matches!(end, End::At(_))), Ok(true));
    }

    #[test]
    fn a_whole_key_in_the_place_of_its_id_is_not_repeated() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let key = KeyText::from_random(&[10; 40]).expect("enough bytes");
        let wrong = format!("{}x", key.reveal());
        for command in ["revoke", "rotate"] {
            for text in [key.reveal(), wrong.as_str()] {
                let error = format!("{:#}", run_with(&path, &[command, text]).expect_err("not an id"));
                assert!(error.contains("between the underscores") && !error.contains("AAAA"), "{error}");
            }
        }
        let zero = ["create", "--name", "shop", "--role", "read", "--events-per-second", "0"];
        let error = format!("{:#}", run_with(&path, &zero).expect_err("no limit"));
        assert!(error.contains("from 1 to"), "{error}");
    }

    #[test]
    fn limits_are_listed_and_the_last_admin_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        let admin = ["create", "--name", "ops", "--role", "admin", "--events-per-second", "5000"];
        let key: KeyText = run_with(&path, &admin).expect("created").trim().parse().expect("a key");
        let listed = run_with(&path, &["list"]).expect("listed");
        assert!(listed.contains("           -      5000  valid\n"), "{listed}");
        let revoked = run_with_settings(&path, &["revoke", &key.id().to_string()], &[]).expect("revoked");
        assert!(revoked.notes.iter().any(|note| note.contains("last valid key")), "{:?}", revoked.notes);
    }
}
