//! Why an operation of the log failed.

use std::io;

use super::header::PAYLOAD_BYTES_MAX;

/// Why the log operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The storage failed; nothing changed.
    #[error("the log cannot be written or read")]
    Io(#[from] io::Error),
    /// The payload exceeds [`PAYLOAD_BYTES_MAX`] bytes.
    #[error("an entry must not exceed {PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
    /// The entry was removed, or never existed.
    #[error("sequence {position} is before the first, {first}")]
    OutOfRange {
        /// The requested sequence.
        position: u64,
        /// The first existing sequence.
        first: u64,
    },
}

impl LogError {
    /// The error with its cause, in one line.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::Io(cause) => format!("{self}: {cause}"),
            Self::TooLarge | Self::OutOfRange { .. } => self.to_string(),
        }
    }
}
