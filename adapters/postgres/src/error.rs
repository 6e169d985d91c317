//! How to handle a PostgreSQL error, by its SQLSTATE (PostgreSQL manual, appendix A).

use domain::ports::{Cause, StoreError};

/// A record with this id and receipt time exists already.
pub const UNIQUE_VIOLATION: &str = "23505";
/// The table, schema, type or catalog key exists already, or a table was attached meanwhile: another process was faster.
pub const ALREADY_THERE: [&str; 5] = ["42710", "42P06", "42P07", "42P17", UNIQUE_VIOLATION];
/// The statement ran longer than `statement_timeout`.
const QUERY_CANCELED: &str = "57014";

/// The SQLSTATE of an error of the server.
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(Into::into)
}

/// Classes 22 (data exception) and 23 (integrity constraint violation) are permanent errors of the content. All others
/// may be transient: a lost connection, a deadlock, a full disk, a server that is starting or stopping.
pub fn store_error(error: sqlx::Error) -> StoreError {
    match sqlstate(&error).as_deref() {
        Some(QUERY_CANCELED) => StoreError::TooBroad,
        Some(code) if code.starts_with("22") || code.starts_with("23") => StoreError::Rejected(cause(error)),
        _ => StoreError::Unavailable(cause(error)),
    }
}

/// The server's message and its SQLSTATE. sqlx adds the source line of the server, and prints everything twice.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL: {message} (SQLSTATE {code})")]
struct Refusal {
    message: String,
    code: String,
}

fn cause(error: sqlx::Error) -> Cause {
    let refusal = error
        .as_database_error()
        .and_then(|of| Some(Refusal { message: of.message().to_owned(), code: of.code()?.into_owned() }));
    refusal.map_or_else(|| error.into(), Cause::from)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// A server error with a SQLSTATE.
    #[derive(Debug)]
    struct Failure(&'static str);

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failure {}

    impl DatabaseError for Failure {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn of_server(code: &'static str) -> StoreError {
        store_error(sqlx::Error::Database(Box::new(Failure(code))))
    }

    #[test]
    fn transient_errors_are_retried() {
        for code in [
            "08006", // connection_failure
            "25006", // read_only_sql_transaction: a standby
            "25P03", // idle_in_transaction_session_timeout
            "40001", // serialization_failure
            "40P01", // deadlock_detected
            "42501", // insufficient_privilege: an operator can grant it
            "42P01", // undefined_table: a day that was removed meanwhile
            "53100", // disk_full
            "53200", // out_of_memory
            "53300", // too_many_connections
            "55P03", // lock_not_available
            "57P01", // admin_shutdown
            "57P02", // crash_shutdown
            "57P03", // cannot_connect_now
            "58030", // io_error
            "XX000", // internal_error
        ] {
            assert!(matches!(of_server(code), StoreError::Unavailable(_)), "{code}");
        }
        for error in
            [sqlx::Error::PoolTimedOut, sqlx::Error::PoolClosed, sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into())]
        {
            assert!(matches!(store_error(error), StoreError::Unavailable(_)));
        }
    }

    #[test]
    fn only_errors_of_the_content_reject_it() {
        for code in [
            "22001", // string_data_right_truncation
            "22021", // character_not_in_repertoire
            "22P05", // untranslatable_character
            "23502", // not_null_violation
            "23514", // check_violation
        ] {
            assert!(matches!(of_server(code), StoreError::Rejected(_)), "{code}");
        }
        assert!(matches!(of_server("57014"), StoreError::TooBroad), "query_canceled");
    }
}
