//! The address of the Spillway that receives the events.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// The base URL of a Spillway: `http://host:port`, with an optional path before its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    base: String,
    pub(super) batch: Uri,
}

/// The text is not a base URL of a Spillway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base URL of a Spillway, such as http://127.0.0.1:8080 (TLS is not supported yet)")]
pub struct InvalidTarget;

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let base = text.trim_end_matches('/').to_owned();
        let batch: Uri = format!("{base}/api/logs/batch").parse().map_err(|_| InvalidTarget)?;
        let complete = batch.scheme_str() == Some("http") && batch.host().is_some_and(|host| !host.is_empty());
        if complete && !base.contains('?') { Ok(Self { base, batch }) } else { Err(InvalidTarget) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_may_have_a_path_and_must_be_plain_http() {
        for (text, batch) in [
            ("http://localhost:8080", "http://localhost:8080/api/logs/batch"),
            ("http://[::1]/logs/", "http://[::1]/logs/api/logs/batch"),
        ] {
            assert_eq!(text.parse::<Target>().map(|target| target.batch.to_string()).as_deref(), Ok(batch));
        }
        for text in ["", "localhost:8080", "https://host", "http://", "http://host?a", "ftp://host", "http://a b"] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text}");
        }
    }
}
