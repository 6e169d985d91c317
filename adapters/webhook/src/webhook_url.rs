//! Where a webhook is. What may be a secret, all but the host, is never shown.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, Scheme};

/// What is shown in place of what is not.
const MASK: &str = "********";

/// The URL of a webhook: `http://` or `https://`, and a user and password before the host if it wants them.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// Without user and password.
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// The text is no URL of a webhook. It is not repeated, since it may have a secret in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a webhook, such as http://127.0.0.1:9000/alerts or https://user:password@example.com/alerts")]
pub struct InvalidWebhookUrl;

impl WebhookUrl {
    /// Where to send.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// With what to log in, if at all.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

impl FromStr for WebhookUrl {
    type Err = InvalidWebhookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidWebhookUrl> {
        let mut parts = text.parse::<Uri>().map_err(|_| InvalidWebhookUrl)?.into_parts();
        let scheme = parts.scheme.as_ref().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let (Some(_), Some(authority)) = (scheme, parts.authority) else { return Err(InvalidWebhookUrl) };
        let (user, place) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        let place: Authority = place.parse().map_err(|_| InvalidWebhookUrl)?;
        // A port that is none would be taken for the usual one.
        let has_port = place.as_str().len() > place.host().len();
        if place.host().is_empty() || (has_port && place.port_u16().is_none()) {
            return Err(InvalidWebhookUrl);
        }
        let authorization =
            if user.is_empty() { None } else { Some(basic_authorization(user).ok_or(InvalidWebhookUrl)?) };
        parts.authority = Some(place);
        let uri = Uri::from_parts(parts).map_err(|_| InvalidWebhookUrl)?;
        Ok(Self { uri, authorization })
    }
}

/// The header `Authorization` for `user:password` as a URL has it, percent-encoded. It is never shown in logs.
#[must_use]
pub fn basic_authorization(user: &str) -> Option<HeaderValue> {
    let mut decoded = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((byte, others)) = rest.split_first() {
        rest = others;
        if *byte == b'%' {
            let (digits, others) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = others;
        } else {
            decoded.push(*byte);
        }
    }
    if !decoded.contains(&b':') {
        decoded.push(b':');
    }
    let header = format!("Basic {}", STANDARD.encode(decoded));
    let mut header = HeaderValue::try_from(header).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.authorization.is_some() { format!("{MASK}@") } else { String::new() };
        let place = self.uri.authority().map_or("", Authority::as_str);
        write!(f, "{}://{user}{place}", self.uri.scheme_str().unwrap_or_default())?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        if path == "/" { Ok(()) } else { write!(f, "/{MASK}") }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_a_secret() {
        for (text, shown) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://[::1]:9000/", "http://[::1]:9000"),
            ("https://hooks.example.com/services/T0/secret", "https://hooks.example.com/********"),
            ("https://example.com/?token=secret", "https://example.com/********"),
            ("https://me:secret@example.com:8443/a#b", "https://********@example.com:8443/********"),
        ] {
            let url: WebhookUrl = text.parse().expect(text);
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(url.is_encrypted(), text.starts_with("https"));
        }
    }

    #[test]
    fn user_and_password_become_a_header() {
        for (text, expected) in [
            ("http://me:secret@host/a?b=c", Some("me:secret")),
            ("http://me:p%40%3a%C3%A4ss@host", Some("me:p@:äss")),
            ("http://me@host", Some("me:")),
            ("http://host", None),
        ] {
            let url: WebhookUrl = text.parse().expect(text);
            let expected = expected.map(|user| format!("Basic {}", STANDARD.encode(user)));
            assert_eq!(url.authorization().map(|header| header.to_str().expect("text")), expected.as_deref());
            assert_eq!(url.uri().authority().map(Authority::as_str), Some("host"));
            assert!(url.authorization().is_none_or(HeaderValue::is_sensitive), "not for logs");
        }
        assert_eq!("http://me:secret@host/a?b=c".parse::<WebhookUrl>().expect("a URL").uri(), "http://host/a?b=c");
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_repeated() {
        for text in [
            "",
            "hook",
            "host:9000/secret",
            "/secret",
            "ftp://host/secret",
            "http://",
            "http:///secret",
            "http://host:/secret",
            "http://host:99999/secret",
            "http://host:port/secret",
            "http://me:secret@",
            "http://me:sec%zzret@host",
            "http://me:secret%4@host",
            "http://a b/secret",
        ] {
            let error = text.parse::<WebhookUrl>().expect_err(text);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
