//! The key that a request presents, in the spellings of the clients that exist.
//!
//! Constraints and invariants:
//! * A key comes in a header, never in the query string, which proxies and browsers keep.
//! * Of several headers, those that do not have a key of Spillway are for someone else, such as a proxy in front. Two different
//!   keys are refused: what the request may do would depend on the order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::access::KeyText;
use poem::http::{HeaderMap, HeaderName, header};

/// The header of clients that have one for keys.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Longest value of a header that is looked at, in bytes: a user name and a key in base64.
const VALUE_BYTES_MAX: usize = 1_024;

/// What a request presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Nothing.
    Nothing,
    /// Something that is not a key.
    Malformed,
    /// Different keys.
    Several,
    /// A key.
    Key(KeyText),
}

/// What the headers of a request present.
pub fn presented(headers: &HeaderMap) -> Presented {
    let authorizations = headers.get_all(header::AUTHORIZATION).iter().map(|value| key_of(value.as_bytes(), in_scheme));
    let own = headers.get_all(X_API_KEY).iter().map(|value| key_of(value.as_bytes(), |text| text.trim().parse().ok()));
    let mut found = Presented::Nothing;
    for key in authorizations.chain(own) {
        found = match (found, key) {
            (Presented::Key(one), Some(other)) if one != other => return Presented::Several,
            (Presented::Key(one), _) => Presented::Key(one),
            (_, Some(key)) => Presented::Key(key),
            (_, None) => Presented::Malformed,
        };
    }
    found
}

fn key_of(value: &[u8], parse: impl Fn(&str) -> Option<KeyText>) -> Option<KeyText> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= VALUE_BYTES_MAX)?;
    parse(text)
}

/// The key in a value of `Authorization`: its scheme, in any case, and what belongs to it (RFC 9110, section 11.4).
fn in_scheme(value: &str) -> Option<KeyText> {
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let credentials = credentials.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "splunk" => credentials.parse().ok(),
        // The user says who sends, for people; the password is the key.
        "basic" => decoded(credentials)?.split_once(':')?.1.parse().ok(),
        "apikey" => credentials.parse().ok().or_else(|| {
            let pair = decoded(credentials)?;
            let (id, secret) = pair.split_once(':')?;
            KeyText::from_parts(id, secret).ok().or_else(|| secret.parse().ok())
        }),
        _ => None,
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> KeyText {
        KeyText::from_random(&[byte; 40]).expect("enough bytes")
    }

    fn of(headers: &[(&str, &str)]) -> Presented {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        presented(&map)
    }

    #[test]
    fn a_key_is_found_in_each_spelling() {
        let key = key(10);
        let text = key.reveal();
        let (id, secret) = (&text[4..12], &text[13..]);
        for (name, value) in [
            ("authorization", format!("Bearer {text}")),
            ("authorization", format!("bearer   {text} ")),
            ("authorization", format!("Splunk {text}")),
            ("authorization", format!("ApiKey {text}")),
            ("authorization", format!("ApiKey {}", STANDARD.encode(format!("{id}:{secret}")))),
            ("authorization", format!("APIKEY {}", STANDARD.encode(format!("{id}:{text}")))),
            ("authorization", format!("Basic {}", STANDARD.encode(format!("anyone:{text}")))),
            ("authorization", format!("Basic {}", STANDARD.encode(format!(":{text}")))),
            ("x-api-key", text.to_owned()),
        ] {
            assert_eq!(of(&[(name, &value)]), Presented::Key(key.clone()), "{value}");
        }
        assert_eq!(of(&[]), Presented::Nothing);
        assert_eq!(of(&[("cookie", text)]), Presented::Nothing);
    }

    #[test]
    fn what_is_no_key_is_malformed() {
        let key = key(10);
        let text = key.reveal();
        for value in [
            String::new(),
            text.to_owned(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer {}", &text[1..]),
            format!("Bearer {text} {text}"),
            format!("Basic {text}"),
            format!("Basic {}", STANDARD.encode(text)),
            format!("Basic {}", STANDARD.encode(b"\xff:\xff")),
            format!("Basic {}", STANDARD.encode(format!("{}:{text}", "x".repeat(2_000)))),
            format!("Digest {text}"),
        ] {
            assert_eq!(of(&[("authorization", &value)]), Presented::Malformed, "{value}");
        }
    }

    #[test]
    fn headers_for_someone_else_do_not_matter_and_two_keys_are_refused() {
        let (one, other) = (key(10), key(11));
        let bearer = |key: &KeyText| format!("Bearer {}", key.reveal());
        let proxy = "Basic dXNlcjpwYXNzd29yZA==";
        assert_eq!(of(&[("authorization", proxy), ("x-api-key", one.reveal())]), Presented::Key(one.clone()));
        assert_eq!(of(&[("authorization", &bearer(&one)), ("x-api-key", "other")]), Presented::Key(one.clone()));
        assert_eq!(of(&[("authorization", &bearer(&one)), ("x-api-key", one.reveal())]), Presented::Key(one.clone()));
        assert_eq!(of(&[("authorization", &bearer(&one)), ("x-api-key", other.reveal())]), Presented::Several);
        let twice = [bearer(&one), bearer(&other)];
        let twice: Vec<(&str, &str)> = twice.iter().map(|value| ("authorization", value.as_str())).collect();
        assert_eq!(of(&twice), Presented::Several);
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(
            value in "(Basic |Bearer |ApiKey |Splunk )?[ -~]{0,80}",
            bytes in any::<Vec<u8>>(),
        ) {
            of(&[("authorization", &value)]);
            of(&[("authorization", &format!("Basic {}", STANDARD.encode(&bytes)))]);
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value);
                prop_assert_eq!(presented(&headers), Presented::Malformed);
            }
        }
    }
}
