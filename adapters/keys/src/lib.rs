//! The file of access keys: reading it while requests come, and editing it from the command line. And what stands for a key in
//! a browser.
//!
//! Constraints and invariants:
//! * The file has hashes of keys and no secrets. No error shows a value that could be a secret.
//! * A file that other users of the machine may read or write is refused.
//! * A reader sees the file as it was before an edit, or as it is after it.
//! * What was read last stays valid when the file disappears or is damaged: a mistake in it must not lock everyone out, and
//!   must not let everyone in.

mod changes;
mod edit;
mod file;
mod hash;
mod keys_file;
mod sessions;

pub use self::changes::KeyChanges;
pub use self::edit::{EditError, NewKey, Revoked, Rotated, create, list, revoke, rotate};
pub use self::file::{FileError, KEYS_FILE_BYTES_MAX, ListedKey};
pub use self::keys_file::{KeysFile, Requirement};
pub use self::sessions::Sessions;
