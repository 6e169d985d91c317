//! Why a segment could not be written or read.

use domain::ports::StoreError;
use parquet::errors::ParquetError;

/// Why an operation on segments failed.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The disk reports an error: try again later.
    #[error("segment {segment}: {source}")]
    Io {
        /// Name of the file.
        segment: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not what was written: restore it from a backup, or give up its events. It never means fewer results.
    #[error("segment {segment} is damaged: {what}")]
    Damaged {
        /// Name of the file.
        segment: String,
        /// What does not match.
        what: String,
    },
    /// A later version of Spillway wrote the file: use that version, or a later one.
    #[error("segment {segment} has the format version {version}, and this program reads up to {newest}")]
    Version {
        /// Name of the file.
        segment: String,
        /// Its format version.
        version: String,
        /// The newest version that this program reads.
        newest: u32,
    },
    /// An event does not belong into this segment: finish it and begin another one.
    #[error("segment {segment} takes no such event: {why}")]
    Refused {
        /// Name of the file.
        segment: String,
        /// Why not.
        why: &'static str,
    },
    /// The time for a query is up.
    #[error("the query takes too long")]
    TooBroad,
}

impl SegmentError {
    /// Name of the file; `None` if the time is up.
    #[must_use]
    pub fn segment(&self) -> Option<&str> {
        match self {
            Self::Io { segment, .. }
            | Self::Damaged { segment, .. }
            | Self::Version { segment, .. }
            | Self::Refused { segment, .. } => Some(segment),
            Self::TooBroad => None,
        }
    }
}

impl From<SegmentError> for StoreError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::TooBroad => Self::TooBroad,
            other => Self::Unavailable(Box::new(other)),
        }
    }
}

/// Adds the name of a segment to errors.
pub(crate) struct Named<'a>(pub &'a str);

impl Named<'_> {
    pub fn io(&self, source: std::io::Error) -> SegmentError {
        SegmentError::Io { segment: self.0.to_owned(), source }
    }

    pub fn damaged(&self, what: impl std::fmt::Display) -> SegmentError {
        SegmentError::Damaged { segment: self.0.to_owned(), what: what.to_string() }
    }

    pub fn refused(&self, why: &'static str) -> SegmentError {
        SegmentError::Refused { segment: self.0.to_owned(), why }
    }

    /// An error of the Parquet library while it writes: only the disk can be its cause.
    pub fn writing(&self, error: ParquetError) -> SegmentError {
        self.io(std::io::Error::other(error))
    }
}
