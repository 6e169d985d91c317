//! Additional headers of requests: `--header 'Name: value'`.
//!
//! * A value may be a secret: no error and no debug output shows one.
//! * Headers that describe the body or the connection belong to the client and are refused.

use std::str::FromStr;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Maximum number of additional headers.
pub const HEADERS_MAX: usize = 20;
/// Maximum bytes of a name and of a value.
const BYTES_MAX: usize = 8 * 1024;
/// The headers that the client sets itself, or that concern one request or one connection only.
const REFUSED: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header that every request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHeader {
    name: HeaderName,
    /// Marked as sensitive.
    value: HeaderValue,
}

/// Headers that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// There is no colon, the name is not a token (RFC 9110, section 5.6.2), or the value has control characters.
    #[error("not a header: write 'Name: value', without control characters")]
    Form,
    /// The name or the value is too long.
    #[error("a name and a value of a header have at most {BYTES_MAX} bytes each")]
    TooLong,
    /// The header belongs to the client.
    #[error("`send` decides about {0} itself: leave this header out")]
    Refused(&'static str),
    /// There are too many headers.
    #[error("--header may be given at most {HEADERS_MAX} times")]
    TooMany,
}

impl FromStr for ExtraHeader {
    type Err = InvalidHeader;

    fn from_str(text: &str) -> Result<Self, InvalidHeader> {
        let (name, value) = text.split_once(':').ok_or(InvalidHeader::Form)?;
        let value = value.trim();
        if name.len() > BYTES_MAX || value.len() > BYTES_MAX {
            return Err(InvalidHeader::TooLong);
        }
        let name: HeaderName = name.parse().map_err(|_| InvalidHeader::Form)?;
        if let Some(refused) = REFUSED.iter().find(|refused| name == **refused) {
            return Err(InvalidHeader::Refused(refused));
        }
        let mut value = HeaderValue::try_from(value).map_err(|_| InvalidHeader::Form)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

/// The headers as a map. The same name may occur several times.
///
/// # Errors
/// There are more than [`HEADERS_MAX`].
pub fn header_map(headers: &[ExtraHeader]) -> Result<HeaderMap, InvalidHeader> {
    if headers.len() > HEADERS_MAX {
        return Err(InvalidHeader::TooMany);
    }
    let mut map = HeaderMap::new();
    for header in headers {
        map.append(header.name.clone(), header.value.clone());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_parsed_and_their_values_are_not_shown() {
        for (text, name, value) in [
            ("X-Tenant: shop", "x-tenant", "shop"),
            ("authorization:Bearer a:b", "authorization", "Bearer a:b"),
            ("X-Empty:", "x-empty", ""),
            ("X-Name: ä", "x-name", "ä"),
        ] {
            let header: ExtraHeader = text.parse().unwrap();
            assert_eq!((header.name.as_str(), header.value.as_bytes()), (name, value.as_bytes()), "{text}");
            assert!(value.is_empty() || !format!("{header:?}").contains(value), "{header:?}");
        }
    }

    #[test]
    fn headers_of_the_client_and_invalid_ones_are_refused() {
        let long = format!("X: {}", "y".repeat(BYTES_MAX + 1));
        for (text, error) in [
            ("secret", InvalidHeader::Form),
            ("", InvalidHeader::Form),
            (": secret", InvalidHeader::Form),
            ("a name: secret", InvalidHeader::Form),
            ("X : secret", InvalidHeader::Form),
            ("X: secret\r\nY: z", InvalidHeader::Form),
            (&long, InvalidHeader::TooLong),
        ] {
            assert_eq!(text.parse::<ExtraHeader>(), Err(error.clone()), "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for name in REFUSED {
            for name in [name.to_owned(), name.to_uppercase()] {
                let error = format!("{name}: secret").parse::<ExtraHeader>().unwrap_err();
                assert!(matches!(error, InvalidHeader::Refused(_)), "{name}: {error:?}");
            }
        }
    }

    #[test]
    fn names_may_repeat_and_their_number_is_limited() {
        let header: ExtraHeader = "X: y".parse().unwrap();
        let map = header_map(&vec![header.clone(); HEADERS_MAX]).unwrap();
        assert_eq!(map.get_all("x").iter().count(), HEADERS_MAX);
        assert_eq!(header_map(&vec![header; HEADERS_MAX + 1]), Err(InvalidHeader::TooMany));
    }
}
