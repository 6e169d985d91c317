//! What the HTTP clients of the command line share: connections, and the words for their failures.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use adapter_webhook::TlsFault;
pub use adapter_webhook::{Connector, HttpsError, HttpsFiles};
use hyper_util::client::legacy::connect::HttpConnector;

/// Timeout for a connection, without the handshake of TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Names of a certificate that are shown.
const NAMES_SHOWN_MAX: usize = 5;

/// Connects within [`CONNECT_TIMEOUT`], and sends without delay. With `encrypted`, also over HTTPS, with these files.
///
/// # Errors
/// URLs are encrypted, and a file cannot be used or the system has no certificates of authorities.
pub fn connector(encrypted: bool, files: &HttpsFiles) -> Result<Connector, HttpsError> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    adapter_webhook::connector_with_files(connector, encrypted, files)
}

/// Why https cannot be used on this machine, with what to do.
pub fn https_unusable(error: &HttpsError) -> String {
    let advice = match error {
        HttpsError::File { .. } => "check --ca, --cert and --cert-key",
        HttpsError::NoAuthorities(_) => "--ca also names a file of certificates",
    };
    format!("https cannot be used: {error}; {advice}")
}

/// Why a connection to `target` fails however often it is tried, with what to do: https, or http where it should be https.
/// `None` if the failure is another one.
pub fn https_fault(error: &(dyn Error + 'static), target: &dyn Display) -> Option<String> {
    if is_not_http(error) {
        return Some(format!(
            "cannot use {target}: it does not answer in HTTP at this port; if it speaks TLS, write https:// instead of http://"
        ));
    }
    let reason = match TlsFault::of(error)? {
        TlsFault::UntrustedAuthority => {
            "no trusted authority has issued its certificate; name its authority with --ca or SSL_CERT_FILE".to_owned()
        }
        TlsFault::OtherNames(names) if names.is_empty() => {
            "its certificate is for another name; use that name in --url".to_owned()
        }
        TlsFault::OtherNames(names) => {
            // A certificate may have any number of names.
            let names: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
            format!("its certificate is for other names: {}; use one of them in --url", names.join(", "))
        }
        TlsFault::Expired => "its certificate has expired; renew it".to_owned(),
        TlsFault::Certificate(reason) => format!("its certificate cannot be accepted: {reason}"),
        TlsFault::ClientCertificateRequired => {
            "it asks for a certificate of the client; name one with --cert and --cert-key".to_owned()
        }
        TlsFault::ClientCertificateRefused(reason) => {
            format!("it refuses the certificate of the client: {reason}; name another one with --cert and --cert-key")
        }
        TlsFault::NotTls => {
            "it does not speak TLS at this port; write http:// instead of https://, or another port".to_owned()
        }
    };
    Some(format!("cannot use {target}: {reason}"))
}

/// Whether what the server answers is not HTTP, such as an alert of TLS.
fn is_not_http(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let is_parse = |error: &hyper::Error| error.is_parse() && !error.is_parse_too_large();
        if error.downcast_ref::<hyper::Error>().is_some_and(is_parse) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause, without the operating system's error number.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_options_to_check() {
        let files = HttpsFiles { ca: Some(PathBuf::from("/missing.pem")), client: None };
        let error = connector(true, &files).map(drop).unwrap_err();
        let message = https_unusable(&error);
        assert!(message.starts_with("https cannot be used: /missing.pem: cannot be read: "), "{message}");
        assert!(message.ends_with("; check --ca, --cert and --cert-key"), "{message}");
    }
}
