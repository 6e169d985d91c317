//! Why an instance does not answer, in words that say what to do about it.
//!
//! A connection with TLS 1.3 is there before the instance has judged the certificate of the gateway: what it says against that
//! comes when the answer is read. It has then read nothing of the request.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;
use poem::http::StatusCode;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// Why an instance does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing listens at its address.
    #[error("nobody listens there: check whether the instance runs")]
    NobodyListens,
    /// Connections to its address are not answered.
    #[error("no connection to it: check the network, and whether its machine runs")]
    NoConnection,
    /// It does not speak TLS, and its URL says so.
    #[error("it does not speak TLS at this port: begin its URL with http://")]
    NotTls,
    /// Both sides agree to no encryption.
    #[error("it agrees to no TLS connection: see its log")]
    NoAgreement,
    /// Its certificate has another issuer than those that are trusted.
    #[error("no authority in GATEWAY__UPSTREAM_CA has issued its certificate")]
    UnknownAuthority,
    /// Its certificate is that of another name.
    #[error("its certificate has not the name in its URL: use a name of the certificate in the URL")]
    OtherName,
    /// Its certificate is over, or not yet valid.
    #[error("its certificate has expired or is not valid yet: renew it, and check the clocks")]
    Expired,
    /// Its certificate cannot be used for another reason.
    #[error("its certificate cannot be used: it is damaged, or that of an authority itself (CA:TRUE)")]
    UnusableCertificate,
    /// It asks for a certificate, and the gateway has none.
    #[error("it asks for a certificate of this gateway: set GATEWAY__UPSTREAM_CERTIFICATE and GATEWAY__UPSTREAM_KEY")]
    OwnMissing,
    /// It does not trust the authority of the gateway's certificate.
    #[error("it refuses the certificate of this gateway: no authority in its TLS_CLIENT_CA has issued it")]
    OwnUnknownAuthority,
    /// It allows none of the names of the gateway's certificate.
    #[error("it refuses the certificate of this gateway: none of its names is in the instance's TLS_CLIENT_NAMES")]
    OwnOtherName,
    /// The gateway's certificate is over, or not yet valid.
    #[error("it refuses the certificate of this gateway: it has expired or is not valid yet")]
    OwnExpired,
    /// It refuses the gateway's certificate for another reason.
    #[error("it refuses the certificate of this gateway: see the log of the instance")]
    OwnRefused,
    /// What it answers is not HTTP.
    #[error("it does not answer in HTTP: if it speaks TLS at this port, begin its URL with https://")]
    NotHttp,
    /// It answers the question whether it is ready with this status.
    #[error("it answers the readiness check with {0}: check whether Spillway listens there")]
    Status(StatusCode),
    /// It ended the connection.
    #[error("it broke off the connection")]
    BrokenOff,
    /// It takes too long.
    #[error("it does not answer in time")]
    TimedOut,
}

impl Failure {
    /// What an error of a request is about.
    pub fn of(error: &legacy::Error) -> Self {
        let otherwise = if error.is_connect() { Self::NoConnection } else { Self::BrokenOff };
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(inner) = cause {
            if let Some(found) = Self::of_cause(inner) {
                // Bytes that are no TLS also end a connection that has carried requests.
                let is_certain = error.is_connect() || found.is_refusal() || !found.is_before_request();
                return if is_certain { found } else { otherwise };
            }
            // The source of an I/O error is not the error that it holds, but the source of that.
            cause = match inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(held) => {
                    let held: &(dyn Error + 'static) = held;
                    Some(held)
                }
                None => inner.source(),
            };
        }
        otherwise
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return Self::of_tls(error);
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Some(Self::NotHttp);
        }
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        cause.downcast_ref::<io::Error>().is_some_and(is_refused).then_some(Self::NobodyListens)
    }

    /// `None` if the error says nothing about how the connection began.
    fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Some(Self::NotTls),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::PeerIncompatible(_) => Some(Self::NoAgreement),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            // The second: another authority has the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            _ => Self::UnusableCertificate,
        }
    }

    /// What the instance says of the certificate of the gateway, or of the connection before it has one.
    fn of_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::CertificateRequired => Some(Self::OwnMissing),
            AlertDescription::UnknownCA | AlertDescription::DecryptError => Some(Self::OwnUnknownAuthority),
            AlertDescription::AccessDenied => Some(Self::OwnOtherName),
            AlertDescription::CertificateExpired => Some(Self::OwnExpired),
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => Some(Self::OwnRefused),
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => Some(Self::NoAgreement),
            _ => None,
        }
    }

    /// Whether the instance has certainly read nothing of the request.
    pub fn is_before_request(self) -> bool {
        !matches!(self, Self::NotHttp | Self::Status(_) | Self::BrokenOff | Self::TimedOut)
    }

    /// Whether the instance refuses the gateway for its certificate.
    fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::OwnMissing | Self::OwnUnknownAuthority | Self::OwnOtherName | Self::OwnExpired | Self::OwnRefused
        )
    }

    /// Whether it passes by itself, such as when the instance is started again. The log repeats what does not.
    pub fn passes(self) -> bool {
        matches!(self, Self::NobodyListens | Self::NoConnection | Self::BrokenOff | Self::TimedOut | Self::Status(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tls_says_of_either_certificate_is_told_apart() {
        let certificate = |error| Failure::of_tls(&rustls::Error::InvalidCertificate(error));
        assert_eq!(certificate(CertificateError::UnknownIssuer), Some(Failure::UnknownAuthority));
        assert_eq!(certificate(CertificateError::NotValidForName), Some(Failure::OtherName));
        assert_eq!(certificate(CertificateError::Expired), Some(Failure::Expired));
        assert_eq!(certificate(CertificateError::BadEncoding), Some(Failure::UnusableCertificate));
        let alert = |alert| Failure::of_tls(&rustls::Error::AlertReceived(alert));
        assert_eq!(alert(AlertDescription::CertificateRequired), Some(Failure::OwnMissing));
        assert_eq!(alert(AlertDescription::UnknownCA), Some(Failure::OwnUnknownAuthority));
        assert_eq!(alert(AlertDescription::AccessDenied), Some(Failure::OwnOtherName));
        assert_eq!(alert(AlertDescription::CertificateExpired), Some(Failure::OwnExpired));
        assert_eq!(alert(AlertDescription::InternalError), None, "the request may have been read");
        let not_tls: rustls::Error = InvalidMessage::InvalidContentType.into();
        assert_eq!(Failure::of_tls(&not_tls), Some(Failure::NotTls));
    }

    #[test]
    fn only_what_the_instance_has_not_read_may_be_sent_to_another() {
        for failure in [Failure::NobodyListens, Failure::UnknownAuthority, Failure::OwnMissing, Failure::OwnOtherName] {
            assert!(failure.is_before_request(), "{failure}");
        }
        for failure in [Failure::NotHttp, Failure::BrokenOff, Failure::TimedOut, Failure::Status(StatusCode::OK)] {
            assert!(!failure.is_before_request(), "{failure}");
        }
    }
}
