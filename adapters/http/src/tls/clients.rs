//! Certificates of clients: which are allowed, and what the log says of those that are not.
//!
//! Constraints and invariants:
//! * A client is refused within the handshake, with an alert that tells it why.
//! * Clients can cause refusals in any number: each reason has at most one line a minute.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::time::Instant;

use crate::access::host::HostName;

/// How often the log says the same reason.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Verifies what another verifier does, and the names of a certificate.
#[derive(Debug)]
pub struct NamedClients {
    /// Verifies everything but the names.
    pub of_authority: Arc<dyn ClientCertVerifier>,
    /// Names of which a certificate must have one.
    pub names: Vec<HostName>,
}

impl NamedClients {
    /// Whether a certificate has a name that is allowed.
    pub fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = ParsedCertificate::try_from(certificate) else { return false };
        self.names.iter().any(|name| {
            let name = ServerName::try_from(name.to_string());
            name.is_ok_and(|name| rustls::client::verify_server_name(&certificate, &name).is_ok())
        })
    }
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.of_authority.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.of_authority.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.of_authority.verify_client_cert(end_entity, intermediates, now)?;
        // The client gets the alert `access_denied`.
        if self.allows(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_authority.supported_verify_schemes()
    }
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It shows no certificate.
    #[error("it shows no certificate, and TLS_CLIENT_AUTH=required asks for one")]
    NoCertificate,
    /// Its certificate has another issuer than those that are trusted.
    #[error("no authority in TLS_CLIENT_CA has issued its certificate")]
    UnknownAuthority,
    /// Its certificate has other names than those that are allowed.
    #[error("its certificate has none of the names in TLS_CLIENT_NAMES")]
    OtherName,
    /// Its certificate is over, or not yet valid.
    #[error("its certificate has expired or is not valid yet")]
    Expired,
    /// Its certificate cannot be used for another reason.
    #[error("its certificate cannot be used: it is damaged, not for clients, or that of an authority itself (CA:TRUE)")]
    Unusable,
}

impl Refusal {
    /// The refusal that a failed handshake is about, if it is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::NoCertificatesPresented => Some(Self::NoCertificate),
            rustls::Error::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            // The second: another authority has the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::ApplicationVerificationFailure => Self::OtherName,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            _ => Self::Unusable,
        }
    }
}

/// The clients that a listener has refused, for the log.
#[derive(Default)]
pub struct Refusals {
    of_reasons: Mutex<Vec<Refused>>,
}

/// The clients that were refused for one reason.
struct Refused {
    reason: Refusal,
    logged_at: Instant,
    unlogged: u64,
}

impl Refusals {
    /// Notes that a listener has refused a client. Neither has an address if the connection is already over.
    pub fn note(&self, reason: Refusal, listener: Option<SocketAddr>, client: Option<SocketAddr>) {
        let Some(refused_since_last_line) = self.due(reason) else { return };
        let (listener, client) = (listener.map(tracing::field::display), client.map(tracing::field::display));
        tracing::warn!(listener, client, %reason, refused_since_last_line, "a client is refused for its certificate");
    }

    /// Counts a refusal. Returns how many there are to log, if it is time.
    fn due(&self, reason: Refusal) -> Option<u64> {
        let mut of_reasons = self.of_reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some(refused) = of_reasons.iter_mut().find(|refused| refused.reason == reason) else {
            of_reasons.push(Refused { reason, logged_at: now, unlogged: 0 });
            return Some(1);
        };
        refused.unlogged = refused.unlogged.saturating_add(1);
        if now.duration_since(refused.logged_at) < LOG_INTERVAL {
            return None;
        }
        refused.logged_at = now;
        Some(std::mem::take(&mut refused.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_reason_is_told_once_a_minute_with_its_number() {
        let refusals = Refusals::default();
        assert_eq!(refusals.due(Refusal::NoCertificate), Some(1));
        assert_eq!(refusals.due(Refusal::NoCertificate), None);
        assert_eq!(refusals.due(Refusal::OtherName), Some(1));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(refusals.due(Refusal::NoCertificate), Some(2), "with the one that was not told");
        assert_eq!(refusals.due(Refusal::NoCertificate), None);
    }
}
