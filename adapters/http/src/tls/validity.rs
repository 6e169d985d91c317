//! When a certificate ends.
//!
//! The TLS library checks that of the other side and does not tell that of its own, so it is read here: a walk over the
//! first elements of the certificate (RFC 5280, section 4.1; X.690).

use domain::timestamp::Timestamp;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of the certificate.
const VERSION: u8 = 0xa0;

/// When a certificate (DER) ends; `None` if it is not one.
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, behind)) = element(rest, VERSION) {
        rest = behind;
    }
    // Serial number, algorithm of the signature, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, not_after) = time(validity)?;
    time(not_after)?.0
}

/// The first element, if it has this tag: its content, and what is behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length))?
}

/// The first element as a time (`None` within, if it is not one that is understood), and what is behind it.
fn time(der: &[u8]) -> Option<(Option<Timestamp>, &[u8])> {
    if let Some((text, rest)) = element(der, GENERALIZED_TIME) {
        return Some((parsed("", text), rest));
    }
    let (text, rest) = element(der, UTC_TIME)?;
    // Years from 50 on are those of the last century (section 4.1.2.5.1).
    let century = if text.first().is_some_and(|digit| *digit >= b'5') { "19" } else { "20" };
    Some((parsed(century, text), rest))
}

/// `YYYYMMDDHHMMSSZ`, whose century is given if the text has none.
fn parsed(century: &str, text: &[u8]) -> Option<Timestamp> {
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let part = |range| text.get(range);
    let (date, clock) = ((part(0..4)?, part(4..6)?, part(6..8)?), (part(8..10)?, part(10..12)?, part(12..14)?));
    if part(14..15)? != "Z" || text.len() != 15 {
        return None;
    }
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, clock.0, clock.1, clock.2);
    Timestamp::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..=0x7f => vec![tag, length as u8],
            0x80..=0xff => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [head, content.to_vec()].concat()
    }

    /// The beginning of a certificate, with an issuer of so many bytes.
    fn certificate(versioned: bool, issuer_bytes: usize, not_after: &[u8]) -> Vec<u8> {
        let version = if versioned { der(VERSION, &der(INTEGER, &[2])) } else { Vec::new() };
        let validity = [der(UTC_TIME, b"240101000000Z"), not_after.to_vec()].concat();
        let parts = [
            version,
            der(INTEGER, &[1]),
            der(SEQUENCE, &[6, 1, 42]),
            der(SEQUENCE, &vec![0; issuer_bytes]),
            der(SEQUENCE, &validity),
            der(SEQUENCE, &[]),
        ];
        der(SEQUENCE, &[der(SEQUENCE, &parts.concat()), der(SEQUENCE, &[])].concat())
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        for (time, expected) in [
            (der(UTC_TIME, b"271124000000Z"), Some("2027-11-24T00:00:00Z")),
            (der(UTC_TIME, b"491231235959Z"), Some("2049-12-31T23:59:59Z")),
            (der(UTC_TIME, b"500101000000Z"), Some("1950-01-01T00:00:00Z")),
            (der(GENERALIZED_TIME, b"20500101000000Z"), Some("2050-01-01T00:00:00Z")),
            (der(GENERALIZED_TIME, b"99991231235959Z"), Some("9999-12-31T23:59:59Z")),
            (der(UTC_TIME, b"2711240000Z"), None),
            (der(UTC_TIME, b"271124000000+"), None),
            (der(INTEGER, b"271124000000Z"), None),
        ] {
            for (versioned, issuer_bytes) in [(true, 10), (false, 200), (true, 1_000)] {
                let found = not_after(&certificate(versioned, issuer_bytes, &time));
                assert_eq!(found.map(|time| time.to_string()), expected.map(str::to_owned), "{time:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in any::<Vec<u8>>(), cut in 0_usize..200) {
            not_after(&bytes);
            let whole = certificate(true, 50, &der(UTC_TIME, b"271124000000Z"));
            not_after(whole.get(..cut.min(whole.len())).unwrap_or_default());
        }
    }
}
