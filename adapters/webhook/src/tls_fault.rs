//! Failures of HTTPS that last until someone changes something.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// A failure of HTTPS that lasts until someone changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// No trusted authority has issued the certificate of the server.
    UntrustedAuthority,
    /// The certificate of the server is for these other names.
    OtherNames(Vec<String>),
    /// The certificate of the server has expired.
    Expired,
    /// The certificate of the server cannot be accepted for another reason.
    Certificate(String),
    /// The server asks for a certificate of the client.
    ClientCertificateRequired,
    /// The server refuses the certificate of the client, for this reason.
    ClientCertificateRefused(&'static str),
    /// The server does not speak TLS.
    NotTls,
}

impl TlsFault {
    /// The fault that an error of a connection is about, if it is one.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
            // The source of an I/O error is not the error that it holds, but the source of that.
            cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(held) => {
                    let held: &(dyn Error + 'static) = held;
                    Some(held)
                }
                None => error.source(),
            };
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Some(Self::NotTls),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            _ => None,
        }
    }

    /// What a server says of the certificate of the client.
    fn of_alert(alert: AlertDescription) -> Option<Self> {
        Some(Self::ClientCertificateRefused(match alert {
            AlertDescription::CertificateRequired => return Some(Self::ClientCertificateRequired),
            AlertDescription::UnknownCA => "no authority that it trusts has issued it",
            AlertDescription::AccessDenied => "it has none of the names that it allows",
            AlertDescription::CertificateExpired => "it has expired or is not valid yet",
            AlertDescription::CertificateRevoked => "it was revoked",
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => "it cannot be accepted",
            _ => return None,
        }))
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UntrustedAuthority,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidForName => Self::OtherNames(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherNames(presented.iter().map(|name| name_in(name)).collect())
            }
            // rustls has no variant of its own for this one.
            CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => Self::Certificate(
                "it is the certificate of an authority (CA:TRUE): issue one with CA:FALSE for the server".to_owned(),
            ),
            error => Self::Certificate(error.to_string()),
        }
    }
}

/// The name in rustls' text for it, such as `DnsName("localhost")` or `IpAddress(127.0.0.1)`.
fn name_in(text: &str) -> String {
    let name = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    name.unwrap_or(text).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    /// The error as a client gets it: within two errors of I/O.
    fn nested(error: rustls::Error) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn faults_are_found_within_errors_of_connections() {
        let certificate = |error| TlsFault::of(&nested(rustls::Error::InvalidCertificate(error)));
        assert_eq!(certificate(CertificateError::UnknownIssuer), Some(TlsFault::UntrustedAuthority));
        assert_eq!(certificate(CertificateError::Expired), Some(TlsFault::Expired));
        assert_eq!(certificate(CertificateError::NotValidForName), Some(TlsFault::OtherNames(vec![])));
        let presented = vec!["DnsName(\"localhost\")".to_owned(), "IpAddress(127.0.0.1)".to_owned(), "shop".to_owned()];
        let expected = ServerName::try_from("example.org").unwrap();
        assert_eq!(
            certificate(CertificateError::NotValidForNameContext { expected, presented }),
            Some(TlsFault::OtherNames(["localhost", "127.0.0.1", "shop"].map(str::to_owned).to_vec()))
        );
        assert!(matches!(certificate(CertificateError::BadSignature), Some(TlsFault::Certificate(_))));
        let other = |error| TlsFault::of(&nested(error));
        assert_eq!(other(InvalidMessage::InvalidContentType.into()), Some(TlsFault::NotTls));
        let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(other(required), Some(TlsFault::ClientCertificateRequired));
        for alert in [AlertDescription::UnknownCA, AlertDescription::AccessDenied, AlertDescription::CertificateExpired]
        {
            let fault = other(rustls::Error::AlertReceived(alert));
            assert!(matches!(fault, Some(TlsFault::ClientCertificateRefused(_))), "{fault:?}");
        }
    }

    #[test]
    fn what_may_pass_is_not_a_fault() {
        assert_eq!(TlsFault::of(&nested(rustls::Error::DecryptError)), None);
        assert_eq!(TlsFault::of(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
