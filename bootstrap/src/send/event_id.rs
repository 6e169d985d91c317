//! Identifiers of events.
//!
//! * A line of a file has the same identifier whenever the file is sent, so that the store can drop repeats. Another
//!   line, the same line with another text, and a copy of the file have other identifiers. A file that is truncated and
//!   rewritten remains the same file: a line without a time, at the same place as before, counts as a repeat.
//! * Identifiers of one file ascend with the line number: the API orders events of the same time by identifier.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use domain::Uuid;

/// A file, independent of its name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(Uuid);

impl FileId {
    /// The identity of a regular file: its device, its inode and, if known, its time of creation, because inodes are
    /// reused. Pipes and devices have none: their content cannot be read again.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let numbers = [metadata.dev().into(), metadata.ino().into(), born.map_or(0, |born| born.as_nanos())];
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u128::to_be_bytes).collect();
        metadata.is_file().then(|| Self(Uuid::new_v5(&Uuid::nil(), &bytes)))
    }
}

/// The identifier of an event to which lines may be added.
#[derive(Clone, Copy, Debug)]
pub enum EventId {
    /// A unique identifier.
    Unique(Uuid),
    /// An identifier derived from the event.
    OfLine {
        /// The file that contains it.
        file: FileId,
        /// The number of its first line.
        number: u64,
        /// Hash of the file and of all its lines.
        hash: Uuid,
    },
}

impl EventId {
    /// The identifier of line `number` of a file.
    #[must_use]
    pub fn of_line(file: FileId, number: u64, text: &str) -> Self {
        Self::OfLine { file, number, hash: Uuid::new_v5(&file.0, text.as_bytes()) }
    }

    /// Adds another line to the event. This changes the identifier: the version sent before the line was written is
    /// another event, and sending it again must not lose the line.
    pub fn extend(&mut self, text: &str) {
        if let Self::OfLine { hash, .. } = self {
            *hash = Uuid::new_v5(hash, text.as_bytes());
        }
    }

    /// The identifier. For a line it has version 8 (RFC 9562, section 5.8): 48 bits of the file, 32 of the number, 42
    /// of the text.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        let (file, number, hash) = match self {
            Self::Unique(id) => return id,
            Self::OfLine { file, number, hash } => (file, number, hash),
        };
        // Higher line numbers are not in order, but the hash still distinguishes them.
        let number = u128::from(u32::try_from(number).unwrap_or(u32::MAX));
        let file = file.0.as_u128() >> 80 << 80;
        // Version and variant occupy the omitted bits: 76 to 79, and 62 and 63.
        let number = (number >> 20) << 64 | (number & 0xF_FFFF) << 42;
        let hash = hash.as_u128() & ((1 << 42) - 1);
        Uuid::new_v8((file | number | hash).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId(Uuid::from_u128(0x1234_5678_9abc_5def_8000_0000_0000_0000));

    fn id(number: u64, text: &str) -> Uuid {
        EventId::of_line(FILE, number, text).uuid()
    }

    #[test]
    fn identifiers_of_lines_have_version_8_and_ascend_with_the_line() {
        let numbers = [1, 2, 1_000, 0xF_FFFF, 0x10_0000, 0x7FFF_FFFF, 0xFFFF_FFFF];
        let ids = numbers.map(|number| id(number, "x"));
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        for id in ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
            assert_eq!(id.as_u128() >> 80, 0x1234_5678_9abc);
        }
    }

    #[test]
    fn the_identifier_depends_on_file_number_and_every_text() {
        let other = FileId(Uuid::from_u128(1));
        let mut grown = EventId::of_line(FILE, 1, "x");
        grown.extend("y");
        let ids = [id(1, "x"), id(2, "x"), id(1, "y"), EventId::of_line(other, 1, "x").uuid(), grown.uuid()];
        assert!(ids.iter().enumerate().all(|(index, id)| !ids[..index].contains(id)), "{ids:?}");
        assert_eq!(id(1, "x"), id(1, "x"));
    }

    #[test]
    fn a_renamed_file_keeps_its_identity_and_a_copy_does_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let [one, renamed, copy] = ["one", "renamed", "copy"].map(|name| directory.path().join(name));
        let of = |path| FileId::of(&std::fs::metadata(path).unwrap());
        std::fs::write(&one, "x").unwrap();
        let before = of(&one);
        std::fs::copy(&one, &copy).unwrap();
        std::fs::rename(&one, &renamed).unwrap();
        std::fs::write(&renamed, "x\ny").unwrap();
        assert!(before.is_some() && before == of(&renamed) && before != of(&copy));
        assert_eq!(of(&directory.path().to_path_buf()), None);
    }
}
