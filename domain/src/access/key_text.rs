//! Keys as their owners have them: `spw_<id>_<secret><checksum>`.
//!
//! Constraints and invariants:
//! * The prefix and the checksum let a scanner find a key that leaked, and tell a typing error from an unknown key
//!   without a look-up.
//! * The secret has 32 digits of base 62: 190 bits, so a fast hash of it is as good as a slow one.
//! * No `Debug` or `Display` shows a secret.

use std::fmt;
use std::str::FromStr;

/// What every key begins with.
pub const KEY_PREFIX: &str = "spw_";
/// Length of a whole key, in bytes.
pub const KEY_TEXT_BYTES: usize = KEY_PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS;

const ID_DIGITS: usize = 8;
const SECRET_DIGITS: usize = 32;
/// 62⁶ is more than 2³².
const CHECKSUM_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random bytes from here on are skipped, so that each digit is equally likely: the largest multiple of 62.
const RANDOM_BYTE_MAX: u8 = 248;

/// Names a key in logs, in the keys file and on the command line. It is not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_DIGITS]);

/// The text is not the id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a key: 8 letters or digits")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let bytes: [u8; ID_DIGITS] = text.as_bytes().try_into().map_err(|_| InvalidKeyId)?;
        if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(bytes)) } else { Err(InvalidKeyId) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A whole key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    id: KeyId,
    text: String,
}

/// The text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyText {
    /// It has another form.
    #[error("not a key of Spillway: a key begins with {KEY_PREFIX} and has {KEY_TEXT_BYTES} characters")]
    Form,
    /// It has the form of a key, and its checksum is that of another one.
    #[error("not a key of Spillway: it has a typing error, as its checksum says")]
    Checksum,
}

impl KeyText {
    /// A new key from random bytes; `None` if there are too few of them. 256 are enough but for one case in 10³⁰.
    #[must_use]
    pub fn from_random(bytes: &[u8]) -> Option<Self> {
        let digits: Vec<u8> = bytes
            .iter()
            .filter(|byte| **byte < RANDOM_BYTE_MAX)
            .filter_map(|byte| DIGITS.get(usize::from(byte % 62)).copied())
            .take(ID_DIGITS + SECRET_DIGITS)
            .collect();
        let (id, secret) = digits.split_first_chunk::<ID_DIGITS>()?;
        let secret = std::str::from_utf8(secret).ok().filter(|secret| secret.len() == SECRET_DIGITS)?;
        let mut text = format!("{KEY_PREFIX}{}_{secret}", KeyId(*id));
        text.push_str(&checksum(text.as_bytes()));
        Some(Self { id: KeyId(*id), text })
    }

    /// A key from its parts: what stands between the two underscores, and what stands behind the second.
    ///
    /// # Errors
    /// They are not those of a key.
    pub fn from_parts(id: &str, secret: &str) -> Result<Self, InvalidKeyText> {
        if id.len() != ID_DIGITS || secret.len() != SECRET_DIGITS + CHECKSUM_DIGITS {
            return Err(InvalidKeyText::Form);
        }
        format!("{KEY_PREFIX}{id}_{secret}").parse()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The whole text, which is secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl FromStr for KeyText {
    type Err = InvalidKeyText;

    fn from_str(text: &str) -> Result<Self, InvalidKeyText> {
        let digits = text.strip_prefix(KEY_PREFIX).filter(|_| text.len() == KEY_TEXT_BYTES);
        let (id, secret) = digits.and_then(|digits| digits.split_once('_')).ok_or(InvalidKeyText::Form)?;
        let id: KeyId = id.parse().map_err(|_| InvalidKeyText::Form)?;
        let is_secret = secret.bytes().all(|digit| digit.is_ascii_alphanumeric());
        let (whole, sum) = text.split_at_checked(KEY_TEXT_BYTES - CHECKSUM_DIGITS).ok_or(InvalidKeyText::Form)?;
        if !is_secret {
            return Err(InvalidKeyText::Form);
        }
        if checksum(whole.as_bytes()) != sum {
            return Err(InvalidKeyText::Checksum);
        }
        Ok(Self { id, text: text.to_owned() })
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_PREFIX}{}_…", self.id)
    }
}

/// The checksum of a key in base 62.
fn checksum(bytes: &[u8]) -> String {
    let mut rest = crc32c(bytes);
    let mut digits = [b'0'; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit: a key has few bytes, and the domain needs no library for them.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A key whose digits are all `A`, or rather 10.
    fn key() -> KeyText {
        KeyText::from_random(&[10; 40]).expect("enough bytes")
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of the catalogue of parametrised CRC algorithms, and 32 zeros of RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_key_has_its_form_and_hides_its_secret() {
        let key = key();
        let text = key.reveal();
        assert!(text.starts_with("spw_AAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "{text}");
        assert_eq!((text.len(), key.id().to_string().as_str()), (KEY_TEXT_BYTES, "AAAAAAAA"));
        assert_eq!(
            (format!("{key:?}"), format!("{:?}", key.id())),
            ("spw_AAAAAAAA_…".to_owned(), "AAAAAAAA".to_owned())
        );
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(KeyText::from_parts("AAAAAAAA", &text[13..]), Ok(key.clone()));
    }

    #[test]
    fn other_texts_are_not_keys() {
        let key = key();
        let text = key.reveal();
        for wrong in [
            String::new(),
            text[1..].to_owned(),
            text[..50].to_owned(),
            format!("{text}0"),
            format!(" {}", &text[1..]),
            text.replace("spw_", "SPW_"),
            text.replacen("_A", "__", 1),
            format!("spw_AAAAAAA_A{}", &text[13..]),
            "ä".repeat(26),
        ] {
            assert_eq!(wrong.parse::<KeyText>(), Err(InvalidKeyText::Form), "{wrong}");
        }
        for typed in [text.to_ascii_lowercase(), text.replacen('A', "B", 1)] {
            assert_eq!(typed.parse::<KeyText>(), Err(InvalidKeyText::Checksum), "{typed}");
        }
        for (id, secret) in [("", ""), ("AAAAAAA", &text[12..]), ("AAAAAAAA", &text[14..]), ("AAAA_AAA", &text[13..])] {
            assert_eq!(KeyText::from_parts(id, secret), Err(InvalidKeyText::Form), "{id}");
        }
        for wrong in ["", "AAAAAAA", "AAAAAAAAA", "AAAAAAA-", "ÄAAAAAA"] {
            assert_eq!(wrong.parse::<KeyId>(), Err(InvalidKeyId), "{wrong}");
        }
        assert_eq!(KeyText::from_random(&[255; 1_000]), None);
        assert_eq!(KeyText::from_random(&[0; 39]), None);
    }

    proptest! {
        #[test]
        fn each_key_parses_and_no_key_with_one_other_character_does(
            random in vec(0..RANDOM_BYTE_MAX, 40),
            place in 4..KEY_TEXT_BYTES,
            other in "[0-9A-Za-z_]",
        ) {
            let key = KeyText::from_random(&random).expect("enough bytes");
            prop_assert_eq!(key.reveal().parse::<KeyText>(), Ok(key.clone()));
            let mut changed = key.reveal().to_owned();
            changed.replace_range(place..=place, &other);
            prop_assert_eq!(changed.parse::<KeyText>().is_ok(), changed == key.reveal());
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in "(spw_)?[ -~ä]{0,60}") {
            let _ = text.parse::<KeyText>();
        }
    }
}
