//! Values of settings that must not be shown, or only in part.

use std::fmt;

use adapter_webhook::WebhookUrl;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is shown instead of a secret.
pub(super) const MASK: &str = "********";

/// A value that must not be shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// A URL whose password must not be shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value that is not a URL may contain anything.
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(if self.0.is_empty() { "" } else { MASK });
        };
        if rest.rfind('@') > rest.find('?') && rest.contains('?') {
            return f.write_str(MASK);
        }
        let (place, parameters) = rest.split_once('?').map_or((rest, None), |(place, all)| (place, Some(all)));
        // The last @, as a password that is not percent-encoded may contain others.
        match place.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
            Some((Some((name, _)), host)) => write!(f, "{scheme}://{name}:{MASK}@{host}")?,
            _ => write!(f, "{scheme}://{place}")?,
        }
        for (index, parameter) in parameters.iter().flat_map(|all| all.split('&')).enumerate() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = if is_secret(name) { MASK } else { value };
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// The URL of a webhook, if there is one; only its host is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhook(pub Option<WebhookUrl>);

impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|url| Self(Some(url))).map_err(de::Error::custom)
    }
}

impl Serialize for Webhook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.as_ref().map(ToString::to_string).unwrap_or_default())
    }
}

/// Whether the value of a setting with this name must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passphrase", "secret", "token", "pem", "oauthbearer.config"].iter().any(|word| name.contains(word))
}
