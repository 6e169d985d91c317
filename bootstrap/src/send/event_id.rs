//! Identifiers of events.
//!
//! * An event of a file has the same identifier whenever the file is sent, so that the store can drop repeats: it
//!   derives from the file (device, inode and time of creation), from the position of its first line, and from
//!   everything in the file up to its last line. A line that is appended changes no identifier of an event before it.
//! * A file that is truncated and rewritten is therefore a new file from its first line that differs. Lines before that
//!   line count as repeats of the lines that were there: without a state of its own, a sender cannot tell them from
//!   those of a file that has grown.
//! * A copy of a file is another file. For a compressed file, positions and bytes are those of the decompressed text.
//! * The options that change events (`--source`, `--level` and others) are part of the identifiers where they differ
//!   from the defaults: a file that is sent again with corrected options is stored again.
//! * Identifiers of one file ascend with the position: the API orders events of the same time by identifier.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use domain::Uuid;

/// Bits of an identifier for the position. Positions beyond 1 TiB are not in order, but the hash still tells them
/// apart.
const OFFSET_BITS: u32 = 40;
/// Bits of an identifier for the hash: what is left beside 48 bits of the file, the position, version and variant.
const HASH_BITS: u32 = 34;

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

/// Identifies the lines of one input, in their order.
#[derive(Clone, Debug)]
pub enum LineIds {
    /// Those of a pipe are new each time.
    New,
    /// Those of a file are derived.
    Derived {
        /// The file.
        file: FileId,
        /// Hash of the file and of its lines so far.
        hash: Uuid,
    },
}

impl LineIds {
    /// The identifiers of the lines of a file, or of an input that is none, read with these options: names and values
    /// of those that change events and are not the defaults.
    #[must_use]
    pub fn new(file: Option<FileId>, options: &[(&'static str, String)]) -> Self {
        let Some(file) = file else { return Self::New };
        let with = |hash, (name, value): &(&str, String)| Uuid::new_v5(&hash, format!("{name}={value}").as_bytes());
        Self::Derived { file, hash: options.iter().fold(file.0, with) }
    }

    /// The identifier of the next line, which begins at byte `offset`.
    pub fn next(&mut self, offset: u64, text: &[u8]) -> EventId {
        match self {
            Self::New => EventId::New,
            Self::Derived { file, hash } => {
                *hash = Uuid::new_v5(hash, text);
                EventId::Derived { file: *file, offset, hash: *hash }
            }
        }
    }
}

/// The identifier of an event to which lines may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventId {
    /// A new one.
    New,
    /// An identifier derived from the event and everything before it.
    Derived {
        /// The file that contains it.
        file: FileId,
        /// The position of its first line in bytes.
        offset: u64,
        /// Hash of the file and of all lines up to the last one of the event.
        hash: Uuid,
    },
}

impl EventId {
    /// Adds a later line to the event. This changes the identifier: the version sent before the line was written is
    /// another event, and sending it again must not lose the line.
    pub fn extend(&mut self, later: Self) {
        if let (Self::Derived { hash, .. }, Self::Derived { hash: later, .. }) = (self, later) {
            *hash = later;
        }
    }

    /// The identifier, made with `new` unless it is derived. A derived one has version 8 (RFC 9562, section 5.8): 48
    /// bits of the file, 40 of the position, 34 of the hash.
    #[must_use]
    pub fn uuid(self, new: impl FnOnce() -> Uuid) -> Uuid {
        let Self::Derived { file, offset, hash } = self else { return new() };
        let file = file.0.as_u128() >> 80 << 80;
        let offset = u128::from(offset) & low_bits(OFFSET_BITS);
        // Version and variant occupy the omitted bits: 76 to 79, and 62 and 63.
        let offset = (offset >> 28) << 64 | (offset & low_bits(28)) << HASH_BITS;
        let hash = hash.as_u128() & low_bits(HASH_BITS);
        Uuid::new_v8((file | offset | hash).to_be_bytes())
    }
}

const fn low_bits(number: u32) -> u128 {
    (1 << number) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: FileId = FileId(Uuid::from_u128(0x1234_5678_9abc_5def_8000_0000_0000_0000));

    fn made(id: EventId) -> Uuid {
        id.uuid(|| panic!("it is derived"))
    }

    /// The identifiers of the lines of a file.
    fn ids(file: FileId, text: &str) -> Vec<Uuid> {
        ids_with(file, &[], text)
    }

    fn ids_with(file: FileId, options: &[(&'static str, String)], text: &str) -> Vec<Uuid> {
        let (mut ids, mut offset) = (LineIds::new(Some(file), options), 0);
        let id = |line: &str| {
            let id = made(ids.next(offset, line.as_bytes()));
            offset += line.len() as u64 + 1;
            id
        };
        text.lines().map(id).collect()
    }

    #[test]
    fn identifiers_of_lines_have_version_8_and_ascend_with_the_position() {
        let offsets = [0, 1, 1_000, 0xFFF_FFFF, 0x1000_0000, 0x7F_FFFF_FFFF, 0xFF_FFFF_FFFF];
        let ids = offsets.map(|offset| made(LineIds::new(Some(FILE), &[]).next(offset, b"x")));
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        for id in ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
            assert_eq!(id.as_u128() >> 80, 0x1234_5678_9abc);
        }
    }

    #[test]
    fn lines_that_are_appended_change_no_identifier_and_a_rewritten_file_has_others() {
        let other = FileId(Uuid::from_u128(1));
        let first = ids(FILE, "a\nb\nb");
        assert!(first.iter().enumerate().all(|(index, id)| !first[..index].contains(id)), "{first:?}");
        assert_eq!(first, ids(FILE, "a\nb\nb\nc")[..3], "it has grown");
        for (text, same) in [("x\nb\nb", 0), ("a\nx\nb", 1), ("a\nb\nx", 2), ("b\nb", 0)] {
            let rewritten = ids(FILE, text);
            let repeats = rewritten.iter().filter(|id| first.contains(id)).count();
            assert_eq!(repeats, same, "{text}");
        }
        assert!(ids(other, "a\nb\nb").iter().all(|id| !first.contains(id)), "a copy");
    }

    #[test]
    fn other_options_make_other_events_of_the_same_file() {
        let option = |name, value: &str| (name, value.to_owned());
        let choices = [
            vec![],
            vec![option("source", "a")],
            vec![option("source", "b")],
            vec![option("level", "WARN")],
            vec![option("level", "WARN"), option("source", "a")],
        ];
        let all: Vec<Uuid> = choices.iter().flat_map(|options| ids_with(FILE, options, "a\nb")).collect();
        assert!(all.iter().enumerate().all(|(index, id)| !all[..index].contains(id)), "{all:?}");
        assert_eq!(ids_with(FILE, &choices[4], "a\nb"), all[8..], "the same options");
    }

    #[test]
    fn a_line_that_joins_changes_the_identifier_but_not_the_position() {
        let mut lines = LineIds::new(Some(FILE), &[]);
        let (one, two) = (lines.next(0, b"x"), lines.next(2, b"y"));
        let mut joined = one;
        joined.extend(two);
        assert!(made(joined) != made(one) && made(joined) != made(two) && made(joined) < made(two));
        let mut new = EventId::New;
        new.extend(LineIds::new(None, &[]).next(7, b"z"));
        assert_eq!(new.uuid(|| Uuid::from_u128(7)), Uuid::from_u128(7));
    }

    proptest! {
        #[test]
        fn rewritten_lines_never_have_the_identifier_of_others(
            one in proptest::collection::vec("[ab]", 1..8),
            other in proptest::collection::vec("[ab]", 1..8),
        ) {
            let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
            let (one, other) = (ids(FILE, &one.join("\n")), ids(FILE, &other.join("\n")));
            let repeats = other.iter().filter(|id| one.contains(id)).count();
            prop_assert_eq!(repeats, same);
        }
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
