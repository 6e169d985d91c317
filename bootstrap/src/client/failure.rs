//! Why a command ended early, and the exit code for it.
//!
//! The codes are those of sysexits.h where one fits: scripts distinguish a mistake in the command from a server that is
//! away.

use hyper::StatusCode;
use serde::Deserialize;

use super::advice::{with_option, with_place};
use super::escape::printable;

/// Why a command ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The reader of standard output closed it, as `head` does.
    #[error("standard output was closed")]
    Closed,
    /// Nothing was found, and the exit code was asked to say so.
    #[error("nothing was found")]
    NothingFound,
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// The command or its conditions are invalid.
    #[error("{0}")]
    Usage(String),
    /// The text of the query language is not understood.
    #[error("{message}")]
    Query {
        /// What the server says.
        message: String,
        /// Where, as a number of characters from 1.
        position: usize,
    },
    /// The server cannot be reached, or cannot answer at present.
    #[error("{0}")]
    Unreachable(String),
    /// A part of the work was done or written, and the rest failed.
    #[error("{0}")]
    Incomplete(String),
    /// The server or a proxy in front of it refuses this client.
    #[error("{0}")]
    Forbidden(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Other(_) => 1,
            Self::NothingFound => 3,
            Self::Usage(_) | Self::Query { .. } => 64,
            Self::Unreachable(_) => 69,
            Self::Incomplete(_) => 75,
            Self::Forbidden(_) => 77,
            Self::Interrupted => 130,
        }
    }

    /// What is printed to standard error, if anything.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Closed | Self::NothingFound | Self::Interrupted => None,
            failure => Some(failure.to_string()),
        }
    }

    /// The same failure after a part of the output was written.
    #[must_use]
    pub fn after_output(self) -> Self {
        match self {
            Self::Usage(reason)
            | Self::Query { message: reason, .. }
            | Self::Unreachable(reason)
            | Self::Forbidden(reason)
            | Self::Other(reason) => Self::Incomplete(format!("the output is incomplete: {reason}")),
            failure => failure,
        }
    }

    /// The same failure; if it is a fault of this query, with the place of the fault.
    #[must_use]
    pub fn with_place(self, query: &str) -> Self {
        match self {
            Self::Query { message, position } => Self::Usage(with_place(&message, position, query)),
            failure => failure,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// The body of a failed answer, if it comes from Spillway.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    /// Where in the query, if that is what is wrong.
    position: Option<usize>,
}

/// The failure that an answer with this `status` means.
#[must_use]
pub fn failure_of(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let title = title.trim_end();
    let detail = match problem.detail.as_str() {
        "" => format!("the server answered {title}"),
        detail => format!("{} ({title})", printable(detail)),
    };
    match status.as_u16() {
        400 => match problem.position {
            Some(position) => Failure::Query { message: detail, position },
            None => Failure::Usage(with_option(&detail)),
        },
        401 | 403 => Failure::Forbidden(format!(
            "{detail}: check the access key (--key-file, SPILLWAY_CLIENT__KEY), or the user and password in --url"
        )),
        502..=504 => Failure::Unreachable(detail),
        _ => Failure::Other(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_code_and_the_detail_of_the_server() {
        let body =
            br#"{"type":"about:blank","title":"x","status":400,"code":"invalid_parameter","detail":"level: no\u001b"}"#;
        for (status, code) in
            [(400, 64), (401, 77), (403, 77), (404, 1), (429, 1), (500, 1), (502, 69), (503, 69), (504, 69)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = failure_of(status, body);
            assert_eq!(failure.exit_code(), code, "{status}");
            let detail = if code == 64 { r"--level: no\x1b" } else { r"level: no\x1b" };
            assert!(failure.to_string().starts_with(detail), "{failure}");
            assert_eq!(failure_of(status, b"<html>").exit_code(), code, "{status}");
        }
        assert_eq!(failure_of(StatusCode::BAD_GATEWAY, b"").to_string(), "the server answered 502 Bad Gateway");
    }

    #[test]
    fn a_fault_of_a_query_has_its_position() {
        let body = br#"{"code":"query_invalid","detail":"query at character 7: x","position":7}"#;
        let failure = failure_of(StatusCode::BAD_REQUEST, body);
        let message = "query at character 7: x (400 Bad Request)".to_owned();
        assert_eq!((failure.exit_code(), failure), (64, Failure::Query { message, position: 7 }));
    }

    #[test]
    fn after_output_failures_of_the_server_mean_incomplete_output() {
        assert_eq!(Failure::Unreachable("away".to_owned()).after_output().exit_code(), 75);
        assert_eq!(Failure::Closed.after_output().exit_code(), 0);
        assert_eq!(Failure::Interrupted.after_output().exit_code(), 130);
    }
}
