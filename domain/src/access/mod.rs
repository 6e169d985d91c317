//! Who may do what, as rules without input or output.
//!
//! Constraints and invariants:
//! * What a key may write and read is decided here alone, byte for byte; a store only finds candidates.
//! * Nothing here shows a secret.

mod key;
mod key_text;
mod role;
mod sources;
mod tenant;

pub use self::key::{
    InvalidKeyHash, InvalidKeyName, InvalidKeys, KEY_NAME_BYTES_MAX, KEYS_MAX, Key, KeyHash, KeyLimits, KeyName,
    KeyRejection, Keys,
};
pub use self::key_text::{InvalidKeyId, InvalidKeyText, KEY_PREFIX, KEY_TEXT_BYTES, KeyId, KeyText};
pub use self::role::{Role, UnknownRole};
pub use self::sources::{InvalidSourcePattern, SOURCE_PATTERNS_MAX, SourcePattern, SourceRestriction};
pub use self::tenant::{Tenant, TenantId};
