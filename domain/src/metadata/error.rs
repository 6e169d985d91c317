//! Why metadata is invalid, and its limits.

/// Maximum size of metadata, in bytes of compact JSON.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Maximum nesting; the metadata object itself is level 1.
pub const METADATA_DEPTH_MAX: u32 = 16;

/// Why metadata is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not a JSON object.
    #[error("metadata must be a JSON object")]
    NotObject,
    /// Not valid JSON.
    #[error("metadata is not valid JSON")]
    Syntax,
    /// More than [`METADATA_BYTES_MAX`].
    #[error("metadata and unknown fields have more than {METADATA_BYTES_MAX} bytes as compact JSON")]
    Size,
    /// More than [`METADATA_DEPTH_MAX`].
    #[error("metadata is nested more than {METADATA_DEPTH_MAX} deep")]
    Depth,
    /// Half of a surrogate pair.
    #[error("a \\u escape is half of a surrogate pair, which is not a character")]
    LoneSurrogate,
    /// A number that no store can hold.
    #[error("a number in metadata has too many digits or an exponent beyond 400")]
    Number,
    /// An object has two members of one name.
    #[error("an object in metadata has the name \"{0}\" more than once")]
    DuplicateName(String),
    /// An unknown field of the event is given more than once.
    #[error("{0} is given more than once")]
    DuplicateField(String),
    /// An unknown field of the event has the same name as a member of its metadata.
    #[error("the unknown field \"{0}\" is also a member of metadata")]
    Clash(String),
}
