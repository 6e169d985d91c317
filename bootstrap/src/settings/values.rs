//! Values of settings: sizes, durations, lists, words and addresses, as they are written and shown.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, such as `64MB`, `1GiB` or `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The size as a bound of memory.
    #[must_use]
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// A number of megabytes.
    pub(super) const fn mb(megabytes: u64) -> Self {
        Self(megabytes * 1_000_000)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text
                .parse::<ByteSize>()
                .map(|size| Self(size.as_u64()))
                .map_err(|_| de::Error::custom(format!("{text:?} is not a number of bytes such as 64MB or 1GiB"))),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact, so that it can be parsed again.
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1_000_000, "MB"), (1, "")];
        let (unit, name) = units.into_iter().find(|(unit, _)| self.0.is_multiple_of(*unit)).unwrap_or((1, ""));
        serializer.collect_str(&format_args!("{}{name}", self.0 / unit))
    }
}

/// A duration such as `250ms`, `25s` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationSetting(pub Duration);

impl<'de> Deserialize<'de> for DurationSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            de::Error::custom(format!("{text:?} is not a duration such as 250ms, 25s or 30d: {error}"))
        })
    }
}

impl Serialize for DurationSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A list: a TOML array, or text with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Array(Vec<String>),
            Text(String),
        }
        let elements = match Written::deserialize(deserializer)? {
            Written::Array(elements) => elements,
            Written::Text(text) => {
                text.split(',').map(|element| element.trim().to_owned()).filter(|element| !element.is_empty()).collect()
            }
        };
        let parse =
            |element: &String| element.parse().map_err(|error| de::Error::custom(format!("{element:?}: {error}")));
        elements.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

impl<T: fmt::Display> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value that is one of several words.
pub(super) trait Word: Sized + Copy + 'static {
    /// The words and their values.
    const ALL: &'static [(&'static str, Self)];
}

/// The word of a value.
pub(super) fn word_of<T: Word + PartialEq>(value: T) -> &'static str {
    T::ALL.iter().find(|(_, of)| *of == value).map_or("", |(word, _)| *word)
}

/// Reads one of the words of `T`.
pub(super) fn one_of<'de, D: Deserializer<'de>, T: Word>(deserializer: D) -> Result<T, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = T::ALL.iter().find(|(name, _)| *name == word);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = T::ALL.iter().map(|(name, _)| *name).collect();
        de::Error::custom(format!("{word:?} is none of {}", names.join(", ")))
    })
}

/// Writes the word of a value.
pub(super) fn word<S: Serializer, T: Word + PartialEq>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let name = T::ALL.iter().find(|(_, known)| known == value).map_or("", |(name, _)| *name);
    serializer.serialize_str(name)
}

/// Reads a socket address.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| de::Error::custom(format!("{text:?} is not an address such as 127.0.0.1:8080 or [::1]:8080")))
}

/// A socket address, or none: empty text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalAddress(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for OptionalAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| de::Error::custom(format!("{text:?} is not an address with a port, and not empty")))
    }
}

impl Serialize for OptionalAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.map(|address| address.to_string()).unwrap_or_default())
    }
}

/// An address that only this machine can reach.
pub(super) fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
