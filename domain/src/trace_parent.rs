//! The trace of a request.

use std::fmt;

/// A `traceparent` of version 00 (W3C Trace Context, section 3.2), unchanged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; Self::BYTES]);

impl TraceParent {
    /// Length of the value, in bytes.
    pub const BYTES: usize = 55;

    /// Parses the value of the header; `None` if it is invalid, in which case the header is ignored.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let bytes: [u8; Self::BYTES] = value.try_into().ok()?;
        let mut fields = bytes.split(|byte| *byte == b'-');
        let hex = |len: usize| {
            move |field: &&[u8]| {
                field.len() == len && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
        };
        let known = |field: &&[u8]| field.iter().any(|byte| *byte != b'0');
        fields.next().filter(|version| *version == b"00")?;
        fields.next().filter(hex(32)).filter(known)?;
        fields.next().filter(hex(16)).filter(known)?;
        fields.next().filter(hex(2))?;
        fields.next().is_none().then_some(Self(bytes))
    }

    /// The value of the header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_values_that_the_standard_allows_are_propagated() {
        assert_eq!(TraceParent::parse(VALID.as_bytes()).expect("valid").as_bytes(), VALID.as_bytes());
        for invalid in [
            String::new(),
            VALID.replacen("00", "01", 1),
            VALID.to_uppercase(),
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            VALID.replace('-', "_"),
            format!("{VALID}-00"),
            VALID.replace("a3ce", "a3-e"),
            VALID.replace("-01", "-0g"),
        ] {
            assert_eq!(TraceParent::parse(invalid.as_bytes()), None, "{invalid}");
        }
    }
}
