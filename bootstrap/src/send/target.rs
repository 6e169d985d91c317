//! The address of a Spillway.

use std::fmt;
use std::str::FromStr;

use adapter_webhook::basic_authorization;
use hyper::Uri;
use hyper::header::HeaderValue;

/// The variable that names the server of a command without `--url`.
pub const URL_VARIABLE: &str = "SPILLWAY_CLIENT__URL";
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// The base URL of a Spillway: `http://host:port` or `https://host`, with an optional path before its API, and a user
/// and password for a proxy that asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Without user and password, which are never shown.
    base: String,
    pub(super) batch: Uri,
    authorization: Option<HeaderValue>,
}

impl Target {
    /// The server that an option names; otherwise that of the environment, or the default.
    ///
    /// # Errors
    /// [`URL_VARIABLE`] is not a base URL.
    pub fn or_default(option: Option<&Self>) -> Result<Self, InvalidVariable> {
        match option {
            Some(target) => Ok(target.clone()),
            None => Self::of_variable(std::env::var(URL_VARIABLE).ok().as_deref()),
        }
    }

    fn of_variable(text: Option<&str>) -> Result<Self, InvalidVariable> {
        let text = text.filter(|text| !text.is_empty()).unwrap_or(URL_DEFAULT);
        text.parse().map_err(InvalidVariable)
    }

    /// The URI of a path of the API, such as `/api/logs?limit=1`.
    ///
    /// # Errors
    /// The text cannot be part of a URI, or makes it longer than 64 KiB.
    pub fn uri(&self, path: &str) -> Result<Uri, InvalidTarget> {
        format!("{}{path}", self.base).parse().map_err(|_| InvalidTarget)
    }

    /// The header for a proxy that asks for user and password.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.batch.scheme_str() == Some("https")
    }
}

/// The text is not a base URL of a Spillway. It is not repeated, because it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base URL of a Spillway, such as http://127.0.0.1:8080 or https://user:password@logs.example.com")]
pub struct InvalidTarget;

/// The variable of the environment is not a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{URL_VARIABLE} is {0}")]
pub struct InvalidVariable(InvalidTarget);

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let base = text.trim_end_matches('/');
        let (scheme, rest) = base.split_once("://").ok_or(InvalidTarget)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let path = rest.strip_prefix(authority).unwrap_or_default();
        let base = format!("{scheme}://{host}{path}");
        let authorization = match user {
            Some(user) => Some(basic_authorization(user).ok_or(InvalidTarget)?),
            None => None,
        };
        let batch: Uri = format!("{base}/api/logs/batch").parse().map_err(|_| InvalidTarget)?;
        let has_scheme = matches!(batch.scheme_str(), Some("http" | "https"));
        let has_host = batch.host().is_some_and(|host| !host.is_empty());
        // An invalid port would be taken for the usual one.
        let has_valid_port = batch.authority().is_some_and(|authority| {
            authority.as_str().len() == authority.host().len() || authority.port_u16().is_some()
        });
        let complete = has_scheme && has_host && has_valid_port && !base.contains('?');
        if complete { Ok(Self { base, batch, authorization }) } else { Err(InvalidTarget) }
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
    fn the_variable_replaces_the_default() {
        let shown = |variable| Target::of_variable(variable).map(|target| target.to_string());
        assert_eq!(shown(None).as_deref(), Ok(URL_DEFAULT));
        assert_eq!(shown(Some("")).as_deref(), Ok(URL_DEFAULT));
        assert_eq!(shown(Some("http://user:secret@logs:80/x")).as_deref(), Ok("http://logs:80/x"));
        let error = shown(Some("secret")).expect_err("no URL").to_string();
        assert!(error.starts_with(URL_VARIABLE) && !error.contains("secret"), "{error}");
    }

    #[test]
    fn user_and_password_become_a_header_and_are_not_shown() {
        for scheme in ["http", "https"] {
            let target: Target = format!("{scheme}://user:p%40ss@host:8080/logs").parse().expect("a target");
            assert_eq!(target.to_string(), format!("{scheme}://host:8080/logs"));
            assert_eq!(target.batch.to_string(), format!("{scheme}://host:8080/logs/api/logs/batch"));
            let dead_letter = target.uri("/api/dlq?id=1").expect("a URI").to_string();
            assert_eq!(dead_letter, format!("{scheme}://host:8080/logs/api/dlq?id=1"));
            let authorization = target.authorization.as_ref().expect("a header");
            assert_eq!(authorization, "Basic dXNlcjpwQHNz");
            assert!(!format!("{target:?}").contains("dXNl"), "it is not shown");
        }
        assert_eq!("http://user:%zz@host".parse::<Target>(), Err(InvalidTarget));
    }

    #[test]
    fn base_urls_may_have_a_path_and_have_a_scheme_and_a_host() {
        for (text, batch, encrypted) in [
            ("http://localhost:8080", "http://localhost:8080/api/logs/batch", false),
            ("http://[::1]/logs/", "http://[::1]/logs/api/logs/batch", false),
            ("https://logs.example.com", "https://logs.example.com/api/logs/batch", true),
            ("https://[::1]:8443/logs", "https://[::1]:8443/logs/api/logs/batch", true),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!((target.batch.to_string().as_str(), target.is_encrypted()), (batch, encrypted), "{text}");
        }
        for text in [
            "",
            "localhost:8080",
            "https://",
            "http://",
            "http://host?a",
            "ftp://host",
            "http://a b",
            "http://host:99999",
            "http://host:port",
        ] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text}");
        }
    }
}
