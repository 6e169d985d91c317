//! The error of invalid settings.

/// Why the configuration is invalid: one message that names the key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSettings(pub(super) String);
