//! How a command shows who it is, and whom it trusts.
//!
//! Constraints:
//! * A key is never an argument, which every user of the machine can see, and is never shown.
//! * It is checked for typing errors before anything is sent.

use std::path::{Path, PathBuf};

use adapter_webhook::HttpsFiles;
use clap::{Args, ValueHint};
use domain::access::{InvalidKeyText, KeyText};
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// The variable with the access key.
pub const KEY_VARIABLE: &str = "SPILLWAY_CLIENT__KEY";
/// Maximum bytes of a file with a key.
const KEY_FILE_BYTES_MAX: u64 = 1_024;
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// How a command shows who it is, and whom it trusts.
#[derive(Args, Clone, Debug, Default)]
pub struct Credentials {
    /// File with the access key; the variable SPILLWAY_CLIENT__KEY has the key itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Common options")]
    key_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities to trust instead of those of the system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Common options")]
    ca: Option<PathBuf>,
    /// Certificate (PEM) to show to the server
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "cert_key", help_heading = "Common options")]
    cert: Option<PathBuf>,
    /// Key (PEM) of that certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "cert", help_heading = "Common options")]
    cert_key: Option<PathBuf>,
}

/// Why there is no key. The text of it is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCredentials {
    /// The file cannot be read.
    #[error("--key-file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The variable has no key.
    #[error("{KEY_VARIABLE} is {0}")]
    Variable(InvalidKeyText),
}

impl Credentials {
    /// The files for https.
    #[must_use]
    pub fn https_files(&self) -> HttpsFiles {
        HttpsFiles { ca: self.ca.clone(), client: self.cert.clone().zip(self.cert_key.clone()) }
    }

    /// The header with the key, if there is one. A URL with a user says who that is to a proxy, in the header that is usual
    /// for both (`taken`); then the key has one of its own.
    ///
    /// # Errors
    /// There is no key where one should be.
    pub fn header(&self, taken: bool) -> Result<Option<(HeaderName, HeaderValue)>, InvalidCredentials> {
        self.header_from(taken, std::env::var(KEY_VARIABLE).ok().as_deref())
    }

    fn header_from(
        &self,
        taken: bool,
        variable: Option<&str>,
    ) -> Result<Option<(HeaderName, HeaderValue)>, InvalidCredentials> {
        let key = match (&self.key_file, variable.map(str::trim).filter(|text| !text.is_empty())) {
            (Some(path), _) => read(path)?,
            (None, Some(text)) => text.parse::<KeyText>().map_err(InvalidCredentials::Variable)?,
            (None, None) => return Ok(None),
        };
        let (name, value) = if taken {
            (X_API_KEY, key.reveal().to_owned())
        } else {
            (AUTHORIZATION, format!("Bearer {}", key.reveal()))
        };
        // A key is visible ASCII.
        Ok(HeaderValue::try_from(value).ok().map(|mut value| {
            value.set_sensitive(true);
            (name, value)
        }))
    }
}

fn read(path: &Path) -> Result<KeyText, InvalidCredentials> {
    let wrong = |reason: String| InvalidCredentials::File { path: path.to_owned(), reason };
    let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if bytes > KEY_FILE_BYTES_MAX {
        return Err(wrong(format!("more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    text.trim().parse().map_err(|error: InvalidKeyText| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_from_the_file_or_else_from_the_environment_and_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let (one, other) = (KeyText::from_random(&[10; 40]).unwrap(), KeyText::from_random(&[11; 40]).unwrap());
        std::fs::write(&path, format!("{}\n", one.reveal())).unwrap();
        let of_file = Credentials { key_file: Some(path.clone()), ..Credentials::default() };
        let header = |credentials: &Credentials, taken, variable: Option<&str>| {
            let header = credentials.header_from(taken, variable).unwrap();
            header.map(|(name, value)| (name, value.to_str().unwrap().to_owned()))
        };
        let none = Credentials::default();
        assert_eq!(header(&none, false, None), None);
        assert_eq!(header(&none, false, Some("")), None);
        let expected = (AUTHORIZATION, format!("Bearer {}", other.reveal()));
        assert_eq!(header(&none, false, Some(other.reveal())), Some(expected));
        let expected = (AUTHORIZATION, format!("Bearer {}", one.reveal()));
        assert_eq!(header(&of_file, false, Some(other.reveal())), Some(expected));
        assert_eq!(header(&of_file, true, None), Some((X_API_KEY, one.reveal().to_owned())));
        let (_, value) = of_file.header_from(false, None).unwrap().unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn an_error_says_where_and_shows_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = KeyText::from_random(&[10; 40]).unwrap();
        let wrong = key.reveal().replacen('A', "B", 1);
        std::fs::write(&path, &wrong).unwrap();
        let of_file = Credentials { key_file: Some(path.clone()), ..Credentials::default() };
        let error = of_file.header_from(false, None).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && !error.contains("AAAA"), "{error}");
        let error = Credentials::default().header_from(false, Some(&wrong)).unwrap_err().to_string();
        assert!(error.contains(KEY_VARIABLE) && !error.contains("AAAA"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(of_file.header_from(false, None).is_err());
    }
}
