//! The keys that a Spillway knows: what each may do, and whom a presented key is.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use super::key_text::KeyId;
use super::role::Role;
use super::sources::SourceRestriction;
use super::tenant::{Tenant, TenantId};
use crate::event::{from_hex, to_hex};
use crate::timestamp::Timestamp;

/// Maximum number of keys of one Spillway.
pub const KEYS_MAX: usize = 10_000;
/// Maximum length of the name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 64;
/// What the text of a hash begins with.
const HASH_PREFIX: &str = "sha256:";

/// The SHA-256 hash of a whole key.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// The text is not a hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the hash of a key: {HASH_PREFIX} and 64 hexadecimal digits")]
pub struct InvalidKeyHash;

impl KeyHash {
    /// A hash with these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether it is the other one. Takes the same time whatever the bytes are.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |all, (one, other)| all | (one ^ other));
        std::hint::black_box(differences) == 0
    }
}

impl FromStr for KeyHash {
    type Err = InvalidKeyHash;

    fn from_str(text: &str) -> Result<Self, InvalidKeyHash> {
        text.strip_prefix(HASH_PREFIX).and_then(from_hex::<32>).map(Self).ok_or(InvalidKeyHash)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", to_hex(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:…")
    }
}

/// The name of a key: what limits, remembered answers and claims of ids belong to. Several keys may have one name, as
/// during a rotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// The text is not the name of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a key: 1 to {KEY_NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores")]
pub struct InvalidKeyName;

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let valid = (1..=KEY_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_part);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidKeyName) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much all requests with keys of one name may ask for, in every process together; `None` means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests per second that send events.
    pub requests_per_second: Option<NonZeroU32>,
    /// Events per second.
    pub events_per_second: Option<NonZeroU32>,
}

/// A key as Spillway keeps it: without its secret.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: KeyName,
    /// The hash of the whole key.
    pub hash: KeyHash,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The sources that it may write and read; `None` means all.
    pub sources: Option<SourceRestriction>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// How much it may ask for.
    pub limits: KeyLimits,
}

impl Key {
    /// Whether it may do what needs this role.
    #[must_use]
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.iter().any(|own| own.includes(role))
    }

    /// The tenant that it belongs to, if it is restricted to some sources.
    #[must_use]
    pub fn tenant(&self) -> Option<Tenant> {
        let sources = self.sources.clone()?;
        Some(Tenant { id: TenantId::of_name(self.name.as_str()), sources })
    }
}

/// Why a presented key is not accepted. A client is not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRejection {
    /// It has not the form of a key.
    Malformed,
    /// There is no key with its id.
    Unknown,
    /// Its secret is not that of the key with its id.
    WrongSecret,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

impl KeyRejection {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Malformed, Self::Unknown, Self::WrongSecret, Self::Revoked, Self::Expired];

    /// Its name in the audit and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::WrongSecret => "wrong_secret",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// Keys that cannot be used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// Two keys have the same id.
    #[error("two keys have the id {0}")]
    DuplicateId(KeyId),
    /// There are too many.
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Keys(HashMap<KeyId, Arc<Key>>);

impl Keys {
    /// These keys.
    ///
    /// # Errors
    /// See [`InvalidKeys`].
    pub fn new(keys: Vec<Key>) -> Result<Self, InvalidKeys> {
        if keys.len() > KEYS_MAX {
            return Err(InvalidKeys::TooMany);
        }
        let mut by_id = HashMap::with_capacity(keys.len());
        for key in keys {
            let id = key.id;
            if by_id.insert(id, Arc::new(key)).is_some() {
                return Err(InvalidKeys::DuplicateId(id));
            }
        }
        Ok(Self(by_id))
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.0.get(&id)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.0.values()
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key with this id and this hash, if it is valid now.
    ///
    /// # Errors
    /// Why it is not. That a key was revoked or has expired is said only of one with the right secret.
    pub fn verify(&self, id: KeyId, hash: &KeyHash, now: Timestamp) -> Result<&Arc<Key>, KeyRejection> {
        let key = self.0.get(&id).ok_or(KeyRejection::Unknown)?;
        if !key.hash.equals(hash) {
            return Err(KeyRejection::WrongSecret);
        }
        self.find(id, now)
    }

    /// The key with this id, if it is valid now.
    ///
    /// # Errors
    /// Why it is not.
    pub fn find(&self, id: KeyId, now: Timestamp) -> Result<&Arc<Key>, KeyRejection> {
        let key = self.0.get(&id).ok_or(KeyRejection::Unknown)?;
        // Whenever that was: the clock of the machine on which it was revoked may be ahead.
        if key.revoked.is_some() {
            return Err(KeyRejection::Revoked);
        }
        if key.expires.is_some_and(|expires| expires <= now) {
            return Err(KeyRejection::Expired);
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros).expect("in range")
    }

    fn key(id: &str, hash: u8) -> Key {
        Key {
            id: id.parse().expect("an id"),
            name: "shop".parse().expect("a name"),
            hash: KeyHash::new([hash; 32]),
            roles: vec![Role::Ingest, Role::Read],
            sources: None,
            expires: None,
            revoked: None,
            limits: KeyLimits::default(),
        }
    }

    #[test]
    fn a_key_is_valid_with_its_secret_until_it_expires_or_is_revoked() {
        let keys = Keys::new(vec![
            key("AAAAAAAA", 1),
            Key { expires: Some(at(100)), ..key("BBBBBBBB", 2) },
            Key { revoked: Some(at(100)), expires: Some(at(50)), ..key("CCCCCCCC", 3) },
        ]);
        let keys = keys.expect("valid");
        let verify = |id: &str, hash, now| {
            let found = keys.verify(id.parse().expect("an id"), &KeyHash::new([hash; 32]), at(now));
            found.map(|key| key.id.to_string())
        };
        assert_eq!(verify("AAAAAAAA", 1, 1_000), Ok("AAAAAAAA".to_owned()));
        assert_eq!(verify("AAAAAAAA", 2, 1_000), Err(KeyRejection::WrongSecret));
        assert_eq!(verify("DDDDDDDD", 1, 1_000), Err(KeyRejection::Unknown));
        assert_eq!(verify("BBBBBBBB", 2, 99), Ok("BBBBBBBB".to_owned()));
        assert_eq!(verify("BBBBBBBB", 2, 100), Err(KeyRejection::Expired));
        assert_eq!(
            verify("BBBBBBBB", 1, 100),
            Err(KeyRejection::WrongSecret),
            "no word about a key that is not theirs"
        );
        assert_eq!(verify("CCCCCCCC", 3, 100), Err(KeyRejection::Revoked));
        assert_eq!(verify("CCCCCCCC", 3, 40), Err(KeyRejection::Revoked), "by a clock that is ahead");
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn ids_are_unique_and_keys_are_bounded() {
        let twice = Keys::new(vec![key("AAAAAAAA", 1), key("AAAAAAAA", 2)]);
        assert_eq!(twice.err(), Some(InvalidKeys::DuplicateId("AAAAAAAA".parse().expect("an id"))));
        assert_eq!(Keys::new(vec![key("AAAAAAAA", 1); KEYS_MAX + 1]).err(), Some(InvalidKeys::TooMany));
        assert!(Keys::default().is_empty());
    }

    #[test]
    fn a_key_with_sources_is_of_the_tenant_with_its_name_and_may_do_what_its_roles_say() {
        let all = key("AAAAAAAA", 1);
        assert_eq!(all.tenant(), None);
        assert!(all.has_role(Role::Ingest) && all.has_role(Role::Read) && !all.has_role(Role::Operate));
        let sources: SourceRestriction = vec!["shop-*".parse().expect("a pattern")].into();
        let restricted = Key { sources: Some(sources.clone()), id: "BBBBBBBB".parse().expect("an id"), ..all };
        assert_eq!(restricted.tenant(), Some(Tenant { id: TenantId::of_name("shop"), sources }));
        assert!(Key { roles: vec![Role::Admin], ..restricted }.has_role(Role::Operate));
    }

    #[test]
    fn hashes_are_written_as_they_are_read_and_not_shown_otherwise() {
        let hash = KeyHash::new([0xab; 32]);
        let text = hash.to_string();
        assert_eq!(text, format!("sha256:{}", "ab".repeat(32)));
        assert!(text.parse::<KeyHash>().expect("a hash").equals(&hash));
        assert!(!hash.equals(&KeyHash::new([0xaa; 32])));
        assert_eq!(format!("{hash:?}"), "sha256:…");
        for wrong in ["", "sha256:", "sha256:ab", "ab", &format!("sha1:{}", "ab".repeat(32)), &"ab".repeat(32)] {
            assert_eq!(wrong.parse::<KeyHash>().err(), Some(InvalidKeyHash), "{wrong}");
        }
        for wrong in ["", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert_eq!(wrong.parse::<KeyName>(), Err(InvalidKeyName), "{wrong}");
        }
    }
}
