//! What to do about an error of PostgreSQL, by its SQLSTATE (PostgreSQL manual, appendix A).

use domain::ports::StoreError;

/// A record of this id and time of receipt is there already.
pub const UNIQUE_VIOLATION: &str = "23505";
/// The statement ran longer than `statement_timeout`.
const QUERY_CANCELED: &str = "57014";

/// The SQLSTATE of an error of the server.
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(Into::into)
}

/// Classes 22 (data exception) and 23 (integrity constraint violation) are the fault of the content, for ever. All else
/// may pass: a lost connection, a deadlock, a full disk, a server that is starting or that somebody is stopping.
pub fn store_error(error: sqlx::Error) -> StoreError {
    match sqlstate(&error).as_deref() {
        Some(QUERY_CANCELED) => StoreError::TooBroad,
        Some(code) if code.starts_with("22") || code.starts_with("23") => StoreError::Rejected(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}
