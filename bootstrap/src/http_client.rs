//! What the HTTP clients of the command line share: connections, and the words for their failures.

use std::error::Error;
use std::time::Duration;

pub use adapter_webhook::{Connector, HttpsError, HttpsFiles};
use hyper_util::client::legacy::connect::HttpConnector;

/// Timeout for a connection, without the handshake of TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
