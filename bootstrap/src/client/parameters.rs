//! The query string of a request.

/// Parameters of a request, percent-encoded (RFC 3986).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(String);

impl Parameters {
    /// Adds a parameter; a name may be added several times.
    pub fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }

    /// Adds a parameter that may be absent.
    pub fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// The same parameters and another one.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut parameters = self.clone();
        parameters.add(name, value);
        parameters
    }

    /// The path with these parameters.
    #[must_use]
    pub fn on(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0) }
    }
}

/// The text with every byte escaped that is not unreserved: `%` and two hexadecimal digits.
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_and_names_may_repeat() {
        let mut parameters = Parameters::default();
        assert_eq!(parameters.on("/api/logs"), "/api/logs");
        parameters.add("level", "WARN+");
        parameters.add("level", "a&b=ä%");
        parameters.add_some("cursor", None);
        assert_eq!(parameters.with("to", "-1h").on("/x"), "/x?level=WARN%2B&level=a%26b%3D%C3%A4%25&to=-1h");
    }
}
