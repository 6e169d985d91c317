//! The TLS of the listeners of this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_http::{ClientAuth, HostName, Tls, TlsOptions, UpstreamTls, UpstreamTlsOptions};
use application::alerts::FaultAlert;
use domain::alert::Alert;
use domain::ports::{Alerter, Clock};
use domain::timestamp::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::role::Role;
use crate::settings::{
    ClientAuthKind, GatewaySettings, HttpSettings, List, ServiceSettings, Settings, SyslogSettings, TlsVersionKind,
};
use crate::system::SystemClock;
use crate::task::{Task, Tasks};

/// How often the files are read again. They are used when they were the same twice: a change takes effect within five seconds.
const RELOAD_INTERVAL: Duration = Duration::from_millis(2_500);

/// How long before its end a certificate is warned of, as by the rule `tls_certificate_expiring` of Prometheus.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often the warning is repeated.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Why TLS cannot be used: one message that names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsUnusable(String);

/// The TLS of each listener; `None` where connections are not encrypted.
#[derive(Clone, Default)]
pub struct ListenerTls {
    /// Of the gateway.
    pub gateway: Option<Arc<Tls>>,
    /// Of the producer, and of where it listens for OTLP.
    pub producer: Option<Arc<Tls>>,
    /// Of the consumer.
    pub consumer: Option<Arc<Tls>>,
    /// Of where the producer listens for syslog over TLS.
    pub syslog: Option<Arc<Tls>>,
    /// From the gateway to its instances.
    pub upstream: Option<Arc<UpstreamTls>>,
}

impl ListenerTls {
    /// Reads the files of the listeners of a role.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(role: Role, settings: &Settings) -> Result<Self, TlsUnusable> {
        check_clients_of_all(settings)?;
        let open = |of: Role, own: Own<'_>| if role.includes(of) { own.open(of.name(), settings) } else { Ok(None) };
        Ok(Self {
            gateway: open(Role::Gateway, (&settings.gateway).into())?,
            producer: open(Role::Producer, (&settings.producer).into())?,
            consumer: open(Role::Consumer, (&settings.consumer).into())?,
            syslog: if role.includes(Role::Producer) { syslog(settings)? } else { None },
            upstream: if role.includes(Role::Gateway) { upstream(role, settings)? } else { None },
        })
    }

    /// Those that there are, by role.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Arc<Tls>)> {
        let all = [
            ("gateway", &self.gateway),
            ("producer", &self.producer),
            ("consumer", &self.consumer),
            ("syslog", &self.syslog),
        ];
        all.into_iter().filter_map(|(role, tls)| Some((role, tls.as_ref()?)))
    }

    /// Reads the files again whenever they change, and alerts if they cannot be used.
    pub fn watch(&self, tasks: &Tasks, alerter: &Arc<dyn Alerter>) -> Vec<Task> {
        let watched = self.all().flat_map(|(role, tls)| {
            let (read, asked) = (Arc::clone(tls), Arc::clone(tls));
            let alert = FaultAlert::new(Arc::clone(alerter), Alert::tls_certificate_unusable);
            let check = Arc::new(move || asked.fault().map(|fault| format!("{role}: {fault}")));
            [
                tasks.spawn("tls", |stop| reload(role, read, stop)),
                tasks.spawn("tls alert", |stop| alert.run(check, stop)),
            ]
        });
        let upstream = self.upstream.iter().flat_map(|tls| {
            let (read, asked) = (Arc::clone(tls), Arc::clone(tls));
            let alert = FaultAlert::new(Arc::clone(alerter), Alert::tls_certificate_unusable);
            let check = Arc::new(move || asked.fault().map(|fault| format!("upstream of the gateway: {fault}")));
            [
                tasks.spawn("upstream tls", |stop| reload_upstream(read, stop)),
                tasks.spawn("upstream tls alert", |stop| alert.run(check, stop)),
            ]
        });
        watched.chain(upstream).collect()
    }
}

/// The files of all listeners and of the gateway's connections, whatever the role: those that are read again.
pub fn tls_files(settings: &Settings) -> Vec<PathBuf> {
    let Settings { http, gateway, producer, consumer, syslog, .. } = settings;
    let files = [
        [&http.tls_certificate, &http.tls_key, &http.tls_client_ca],
        [&gateway.tls_certificate, &gateway.tls_key, &gateway.tls_client_ca],
        [&producer.tls_certificate, &producer.tls_key, &producer.tls_client_ca],
        [&consumer.tls_certificate, &consumer.tls_key, &consumer.tls_client_ca],
        [&syslog.tls_certificate, &syslog.tls_key, &syslog.tls_client_ca],
        [&gateway.upstream_ca, &gateway.upstream_certificate, &gateway.upstream_key],
    ];
    files.into_iter().flatten().filter(|path| !path.as_os_str().is_empty()).cloned().collect()
}

/// Refuses rules for the clients of all listeners that apply to none of them.
fn check_clients_of_all(settings: &Settings) -> Result<(), TlsUnusable> {
    let Settings { http, gateway, producer, consumer, syslog, .. } = settings;
    let listeners: [Own<'_>; 4] = [gateway.into(), producer.into(), consumer.into(), syslog.into()];
    let names = [
        ("tls_client_ca", http.tls_client_ca.as_os_str().is_empty()),
        ("tls_client_names", http.tls_client_names.0.is_empty()),
    ];
    let set = names.iter().find(|(_, is_empty)| !is_empty);
    match set {
        Some((name, _)) if listeners.iter().all(|own| own.asks(http).is_none()) => Err(TlsUnusable(format!(
            "http.{name}: no listener asks its clients for a certificate, so each may connect: set http.tls_client_auth to \
             required, or that of one listener, such as producer.tls_client_auth"
        ))),
        _ => Ok(()),
    }
}

fn syslog(settings: &Settings) -> Result<Option<Arc<Tls>>, TlsUnusable> {
    let Some(address) = settings.syslog.tls_listen.0 else {
        let is_heard = settings.syslog.listen.0.is_some();
        return match settings.syslog.tls_client_auth {
            ClientAuthKind::Optional | ClientAuthKind::Required if is_heard => Err(TlsUnusable(
                "syslog.tls_client_auth: senders to syslog.listen show no certificate: set syslog.tls_listen in its place"
                    .to_owned(),
            )),
            _ => Ok(None),
        };
    };
    match Own::from(&settings.syslog).open("syslog", settings)? {
        Some(tls) => Ok(Some(tls)),
        None => Err(TlsUnusable(format!(
            "syslog.tls_listen={address} needs a certificate: set syslog.tls_certificate and syslog.tls_key, or those in http"
        ))),
    }
}

/// Whether those who send syslog over TLS must show a certificate.
pub fn syslog_clients_are_verified(settings: &Settings) -> bool {
    Own::from(&settings.syslog).client_auth(&settings.http) == ClientAuthKind::Required
}

fn upstream(role: Role, settings: &Settings) -> Result<Option<Arc<UpstreamTls>>, TlsUnusable> {
    let gateway = &settings.gateway;
    let set = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let Some(ca) = set(&gateway.upstream_ca) else {
        let urls = if role == Role::Gateway {
            [settings.producer_urls(), settings.consumer_urls()]
        } else {
            // The roles of this process are called without a connection.
            [gateway.producers.0.clone(), gateway.consumers.0.clone()]
        };
        return match urls.iter().flatten().find(|url| url.is_encrypted()) {
            Some(url) => Err(TlsUnusable(format!(
                "gateway.upstream_ca must name the authorities for {url}; if that instance does not use TLS, name it with http:// \
                 in gateway.producers or gateway.consumers"
            ))),
            None => Ok(None),
        };
    };
    let client = match (set(&gateway.upstream_certificate), set(&gateway.upstream_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(TlsUnusable(
                "gateway.upstream_certificate and gateway.upstream_key: set both or none".to_owned(),
            ));
        }
    };
    let tls = UpstreamTls::open(UpstreamTlsOptions { ca, client });
    tls.map(|tls| Some(Arc::new(tls))).map_err(|error| TlsUnusable(format!("gateway.upstream_…: {error}")))
}

/// The settings of one listener, where they differ from those of all.
struct Own<'s> {
    certificate: &'s Path,
    key: &'s Path,
    client_ca: &'s Path,
    client_auth: ClientAuthKind,
    client_names: &'s List<HostName>,
}

impl<'s> From<&'s GatewaySettings> for Own<'s> {
    fn from(settings: &'s GatewaySettings) -> Self {
        Self {
            certificate: &settings.tls_certificate,
            key: &settings.tls_key,
            client_ca: &settings.tls_client_ca,
            client_auth: settings.tls_client_auth,
            client_names: &settings.tls_client_names,
        }
    }
}

impl<'s> From<&'s ServiceSettings> for Own<'s> {
    fn from(settings: &'s ServiceSettings) -> Self {
        Self {
            certificate: &settings.tls_certificate,
            key: &settings.tls_key,
            client_ca: &settings.tls_client_ca,
            client_auth: settings.tls_client_auth,
            client_names: &settings.tls_client_names,
        }
    }
}

impl<'s> From<&'s SyslogSettings> for Own<'s> {
    fn from(settings: &'s SyslogSettings) -> Self {
        Self {
            certificate: &settings.tls_certificate,
            key: &settings.tls_key,
            client_ca: &settings.tls_client_ca,
            client_auth: settings.tls_client_auth,
            client_names: &settings.tls_client_names,
        }
    }
}

impl Own<'_> {
    /// Reads the files of the listener with this name, which is that of its section.
    fn open(&self, role: &str, settings: &Settings) -> Result<Option<Arc<Tls>>, TlsUnusable> {
        let all = &settings.http;
        let of = |own: &Path, all: &Path| if own.as_os_str().is_empty() { all.to_owned() } else { own.to_owned() };
        let certificate = of(self.certificate, &all.tls_certificate);
        let key = of(self.key, &all.tls_key);
        let is_encrypted = match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => false,
            (false, false) => true,
            _ => {
                return Err(TlsUnusable(format!(
                    "http.tls_certificate and http.tls_key: the {role} needs both or none, also as {role}.tls_certificate and \
                     {role}.tls_key"
                )));
            }
        };
        self.check_clients(role, all, is_encrypted)?;
        if !is_encrypted {
            return Ok(None);
        }
        let names = if self.client_names.0.is_empty() { &all.tls_client_names } else { self.client_names };
        let options = TlsOptions {
            certificate,
            key,
            client_ca: Some(of(self.client_ca, &all.tls_client_ca)).filter(|path| !path.as_os_str().is_empty()),
            client_auth: match self.client_auth(all) {
                ClientAuthKind::Inherited | ClientAuthKind::None => ClientAuth::None,
                ClientAuthKind::Optional => ClientAuth::Optional,
                ClientAuthKind::Required => ClientAuth::Required,
            },
            client_names: names.0.clone(),
            only_tls13: all.tls_min == TlsVersionKind::Tls13,
        };
        let tls = Tls::open(options).map_err(|error| TlsUnusable(format!("TLS of the {role}: {error}")))?;
        Ok(Some(Arc::new(tls)))
    }

    /// Whether its clients show a certificate.
    fn client_auth(&self, all: &HttpSettings) -> ClientAuthKind {
        if self.client_auth == ClientAuthKind::Inherited { all.tls_client_auth } else { self.client_auth }
    }

    /// The setting by which its clients are asked for a certificate, if they are.
    fn asks(&self, all: &HttpSettings) -> Option<&'static str> {
        match self.client_auth(all) {
            ClientAuthKind::Inherited | ClientAuthKind::None => None,
            ClientAuthKind::Optional => Some("tls_client_auth=optional"),
            ClientAuthKind::Required => Some("tls_client_auth=required"),
        }
    }

    /// Refuses rules for clients that would not be applied: a client that they keep out would be let in.
    fn check_clients(&self, role: &str, all: &HttpSettings, is_encrypted: bool) -> Result<(), TlsUnusable> {
        let own_rule = if !self.client_ca.as_os_str().is_empty() {
            Some("tls_client_ca")
        } else {
            // A listener that says `none` itself may differ from the names of all.
            let of_all = is_encrypted && self.client_auth != ClientAuthKind::None && !all.tls_client_names.0.is_empty();
            (of_all || !self.client_names.0.is_empty()).then_some("tls_client_names")
        };
        let section = if self.client_auth == ClientAuthKind::Inherited { "http" } else { role };
        let has_authorities = !self.client_ca.as_os_str().is_empty() || !all.tls_client_ca.as_os_str().is_empty();
        Err(TlsUnusable(match (self.asks(all), own_rule) {
            (Some(setting), _) if !is_encrypted => format!(
                "{section}.{setting}: the {role} has no TLS, so its clients show no certificate: set {role}.tls_certificate and \
                 {role}.tls_key, or those in http, or set {role}.tls_client_auth to none"
            ),
            (Some(setting), _) if !has_authorities => format!(
                "{section}.{setting} needs the authorities that sign the certificates of clients: set {role}.tls_client_ca or \
                 http.tls_client_ca"
            ),
            (None, Some(rule)) => format!(
                "{role}.{rule}: clients of the {role} are asked for no certificate, so each may connect: set \
                 {role}.tls_client_auth or http.tls_client_auth to required"
            ),
            _ => return Ok(()),
        }))
    }
}

async fn reload_upstream(tls: Arc<UpstreamTls>, mut stop: watch::Receiver<bool>) {
    let mut warning = EndWarning::of("gateway.upstream_certificate");
    warning.check(tls.expires(), true);
    while timeout(RELOAD_INTERVAL, stop.wait_for(|stop| *stop)).await.is_err() {
        let read = Arc::clone(&tls);
        let is_new = tokio::task::spawn_blocking(move || read.reload()).await.is_ok_and(|reloaded| reloaded);
        if is_new {
            tracing::info!("the certificates for instances were read again");
        }
        warning.check(tls.expires(), is_new);
    }
}

async fn reload(role: &'static str, tls: Arc<Tls>, mut stop: watch::Receiver<bool>) {
    let mut warning = EndWarning::of(role);
    warning.check(Some(tls.expires()), true);
    while timeout(RELOAD_INTERVAL, stop.wait_for(|stop| *stop)).await.is_err() {
        let read = Arc::clone(&tls);
        let is_new = tokio::task::spawn_blocking(move || read.reload()).await.is_ok_and(|reloaded| reloaded);
        let expires = tls.expires();
        if is_new {
            tracing::info!(role, %expires, "the certificate was read again");
        }
        warning.check(Some(expires), is_new);
    }
}

/// How a certificate is with regard to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Far,
    Near,
    Past,
}

impl End {
    fn of(expires: Timestamp, now: Timestamp) -> Self {
        match expires.since(now) {
            Duration::ZERO => Self::Past,
            left if left <= WARN_BEFORE => Self::Near,
            _ => Self::Far,
        }
    }
}

/// Warns of a certificate that ends soon or has ended: when it is read, and once a day.
struct EndWarning {
    certificate: &'static str,
    warned_at: Option<Instant>,
}

impl EndWarning {
    fn of(certificate: &'static str) -> Self {
        Self { certificate, warned_at: None }
    }

    fn check(&mut self, expires: Option<Timestamp>, is_new: bool) {
        let Some(expires) = expires else { return };
        if !is_new && self.warned_at.is_some_and(|at| at.elapsed() < WARN_INTERVAL) {
            return;
        }
        let (end, certificate) = (End::of(expires, SystemClock.now()), self.certificate);
        match end {
            End::Far => {}
            End::Near => tracing::warn!(certificate, %expires, "a certificate ends soon: renew it"),
            End::Past => tracing::warn!(certificate, %expires, "a certificate has expired: renew it"),
        }
        self.warned_at = (end != End::Far).then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(role: Role, variables: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
        let given = variables.iter().map(|(name, value)| (format!("SPILLWAY_{name}"), (*value).to_owned()));
        let settings = Settings::load(None, given).expect("valid");
        let tls = ListenerTls::open(role, &settings).map_err(|error| error.to_string())?;
        Ok(tls.all().map(|(role, _)| role).collect())
    }

    #[test]
    fn each_listener_has_its_own_certificate_or_that_of_all_or_none() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../adapters/http/tests/localhost.pem");
        let of_all = [("HTTP__TLS_CERTIFICATE", file), ("HTTP__TLS_KEY", file)];
        assert_eq!(open(Role::All, &[]), Ok(vec![]));
        assert_eq!(open(Role::All, &of_all), Ok(vec!["gateway", "producer", "consumer"]));
        assert_eq!(open(Role::Consumer, &of_all), Ok(vec!["consumer"]));
        let of_gateway = [("GATEWAY__TLS_CERTIFICATE", file), ("GATEWAY__TLS_KEY", file)];
        assert_eq!(open(Role::All, &of_gateway), Ok(vec!["gateway"]));
        let error = open(Role::All, &of_gateway[..1]).expect_err("no key");
        assert!(error.contains("gateway.tls_key"), "{error}");
        let missing = [("HTTP__TLS_CERTIFICATE", "/missing"), ("HTTP__TLS_KEY", file)];
        assert!(open(Role::All, &missing).expect_err("no file").contains("/missing"));
        let https = ("GATEWAY__PRODUCERS", "https://producers:8081");
        assert!(open(Role::Gateway, &[https]).expect_err("no authorities").contains("gateway.upstream_ca"));
        let authorities = ("GATEWAY__UPSTREAM_CA", file);
        assert_eq!(open(Role::Gateway, &[https, authorities]), Ok(vec![]));
        let error = open(Role::Gateway, &of_all).expect_err("no authorities for the default instances");
        assert!(error.contains("gateway.upstream_ca") && error.contains("https://127.0.0.1:8081"), "{error}");
        assert_eq!(open(Role::Gateway, &[of_all[0], of_all[1], authorities]), Ok(vec!["gateway"]));
        assert_eq!(open(Role::Gateway, &of_gateway), Ok(vec!["gateway"]), "the default instances have no certificate");
        let named = [of_all[0], of_all[1], ("PRODUCER__TLS_CLIENT_NAMES", "log-gateway")];
        assert!(open(Role::All, &named).expect_err("not asked").contains("producer.tls_client_auth"));
        assert_eq!(open(Role::Consumer, &named), Ok(vec!["consumer"]), "the names of another listener");
        let named = [of_all[0], of_all[1], ("HTTP__TLS_CLIENT_NAMES", "log-gateway")];
        assert!(open(Role::All, &named).is_err());
        let open_gateway = [
            of_all[0],
            of_all[1],
            named[2],
            ("HTTP__TLS_CLIENT_AUTH", "required"),
            ("HTTP__TLS_CLIENT_CA", file),
            ("GATEWAY__TLS_CLIENT_AUTH", "none"),
        ];
        assert_eq!(open(Role::All, &open_gateway), Ok(vec!["gateway", "producer", "consumer"]));
        let syslog = ("SYSLOG__TLS_LISTEN", "127.0.0.1:6514");
        assert!(open(Role::Producer, &[syslog]).expect_err("no files").contains("syslog.tls_certificate"));
        assert_eq!(open(Role::Producer, &[of_all[0], of_all[1], syslog]), Ok(vec!["producer", "syslog"]));
        let own = [syslog, ("SYSLOG__TLS_CERTIFICATE", file), ("SYSLOG__TLS_KEY", file)];
        assert_eq!(open(Role::Producer, &own), Ok(vec!["syslog"]));
        let client = [of_all[0], of_all[1], ("HTTP__TLS_CLIENT_AUTH", "required")];
        assert!(open(Role::All, &client).expect_err("no authorities").contains("gateway.tls_client_ca"));
    }

    #[test]
    fn a_certificate_is_warned_of_from_two_weeks_before_its_end() {
        let at = |text| Timestamp::parse(text).expect("a time");
        let end = |now| End::of(at("2027-01-15T00:00:00Z"), at(now));
        assert_eq!(end("2026-12-31T23:59:59Z"), End::Far);
        assert_eq!(end("2027-01-01T00:00:00Z"), End::Near);
        assert_eq!(end("2027-01-14T23:59:59Z"), End::Near);
        assert_eq!(end("2027-01-15T00:00:00Z"), End::Past);
        assert_eq!(end("2028-01-01T00:00:00Z"), End::Past);
    }

    #[test]
    fn a_rule_for_clients_that_would_not_be_applied_is_refused() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../adapters/http/tests/localhost.pem");
        let of_all = [("HTTP__TLS_CERTIFICATE", file), ("HTTP__TLS_KEY", file)];
        let (authorities, required) = (("HTTP__TLS_CLIENT_CA", file), ("HTTP__TLS_CLIENT_AUTH", "required"));
        let refused = |variables: &[(&str, &str)]| open(Role::All, variables).expect_err("it would not be applied");
        let error = refused(&[authorities, required]);
        assert!(error.starts_with("http.tls_client_auth=required: the gateway has no TLS"), "{error}");
        assert!(error.contains("gateway.tls_certificate"), "{error}");
        let error = refused(&[authorities]);
        assert!(error.starts_with("http.tls_client_ca: no listener asks") && error.contains("http.tls_client_auth"));
        assert_eq!(refused(&[of_all[0], of_all[1], authorities]), error);
        let error = refused(&[("HTTP__TLS_CLIENT_NAMES", "log-gateway")]);
        assert!(error.starts_with("http.tls_client_names: no listener asks"), "{error}");
        let own = [of_all[0], of_all[1], ("CONSUMER__TLS_CLIENT_CA", file)];
        let error = refused(&own);
        assert!(error.starts_with("consumer.tls_client_ca: clients of the consumer are asked for no"), "{error}");
        assert!(refused(&own[2..]).contains("consumer.tls_client_auth"), "without a certificate too");
        let syslog = [("SYSLOG__LISTEN", "127.0.0.1:5514"), ("SYSLOG__TLS_CLIENT_AUTH", "required")];
        assert!(refused(&syslog).contains("syslog.tls_listen"));
        // The authorities of all, which one listener needs: also where its role is another process.
        let one = [of_all[0], of_all[1], authorities, ("PRODUCER__TLS_CLIENT_AUTH", "required")];
        for role in [Role::All, Role::Gateway, Role::Producer] {
            let upstream = [&one[..], &[("GATEWAY__UPSTREAM_CA", file)]].concat();
            assert!(open(role, &upstream).is_ok(), "{role:?}");
        }
        let but_gateway = [
            ("PRODUCER__TLS_CERTIFICATE", file),
            ("PRODUCER__TLS_KEY", file),
            authorities,
            ("PRODUCER__TLS_CLIENT_AUTH", "optional"),
        ];
        assert_eq!(open(Role::All, &but_gateway), Ok(vec!["producer"]));
    }
}
