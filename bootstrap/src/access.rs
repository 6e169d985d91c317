//! Who is let in: the keys of this process, and whether it may listen where it is told to.
//!
//! Invariants:
//! * A listener that other machines reach has keys, unless the operator has said that everyone is let in.
//! * A keys file that the settings name exists, or keys are required nevertheless: a typing error in its path, or a volume that
//!   is not mounted, lets nobody in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adapter_http::{AccessControl, AccessRules};
use adapter_keys::{KeysFile, Requirement, Sessions};
use application::alerts::FaultAlert;
use domain::access::KeyId;
use domain::alert::Alert;
use domain::ports::{Alerter, KeyRing, SessionSealer, Telemetry};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::role::Role;
use crate::settings::{AuthModeKind, MetricsAccessKind, Settings};
use crate::system::SystemClock;
use crate::task::{Task, Tasks};
use crate::tls::syslog_clients_are_verified;

/// How often the file of the keys is read again. It is used when it was the same twice: a change takes effect within a
/// second.
const RELOAD_INTERVAL: Duration = Duration::from_millis(500);

/// Most ids of keys in one field of a line.
const IDS_SHOWN_MAX: usize = 50;

/// Why a process may not listen: one message that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AccessUnusable(String);

/// The keys of a process of this role; `None` if it lets everyone in.
///
/// # Errors
/// The keys cannot be used; or there are none, and the settings name their file or other machines reach the process.
pub fn open_keys(role: Role, settings: &Settings) -> Result<Option<Arc<KeysFile>>, AccessUnusable> {
    let requirement = match settings.auth.mode {
        AuthModeKind::Off => return Ok(None),
        AuthModeKind::Auto => Requirement::OnceThereIsAFile,
        AuthModeKind::Required => Requirement::Always,
    };
    // Who has chosen that keys are required has no use for this advice.
    let or_open = match requirement {
        Requirement::OnceThereIsAFile => ", or let everyone in with SPILLWAY_AUTH__MODE=off",
        Requirement::Always => "",
    };
    let reached = reached_by_others(role, settings);
    let Some(path) = keys_path(role, settings) else {
        return match (requirement, reached) {
            (Requirement::OnceThereIsAFile, None) => Ok(None),
            (_, reached) => Err(AccessUnusable(format!(
                "auth.keys_file: {} needs the file of the keys that all roles share: create it with `spillway key create \
                 --keys-file FILE --name admin --role admin` and set SPILLWAY_AUTH__KEYS_FILE=FILE for each role{or_open}",
                reached.map_or_else(|| "auth.mode=required".to_owned(), |(key, address)| format!("{key}={address}")),
            ))),
        };
    };
    let unusable = |error| AccessUnusable(format!("auth.keys_file: {}: {error}", path.display()));
    let keys = KeysFile::open(&path, requirement, Arc::new(SystemClock)).map_err(unusable)?;
    if keys.requires_keys() && takes_syslog_of_everyone(role, settings) {
        return Err(AccessUnusable(
            "syslog.allow: syslog carries no keys, and keys are required: list the networks that may send it in \
             SPILLWAY_SYSLOG__ALLOW, such as 10.0.0.0/8, or listen at SPILLWAY_SYSLOG__TLS_LISTEN alone with \
             SPILLWAY_SYSLOG__TLS_CLIENT_AUTH=required"
                .to_owned(),
        ));
    }
    let is_named = !settings.auth.keys_file.as_os_str().is_empty();
    if is_named && !keys.exists() && requirement == Requirement::OnceThereIsAFile {
        let path = path.display();
        return Err(AccessUnusable(format!(
            "auth.keys_file: {path} does not exist: restore or mount it, create it with `spillway key create --keys-file {path} \
             --name admin --role admin`, or let everyone in with SPILLWAY_AUTH__MODE=off",
        )));
    }
    match reached {
        Some((key, address)) if !keys.exists() => Err(AccessUnusable(format!(
            "{key}: other machines reach {address}, and there are no keys in {}: create one with `spillway key create \
             --name admin --role admin`{or_open}",
            path.display(),
        ))),
        _ => Ok(Some(Arc::new(keys))),
    }
}

/// Logs whether requests need keys, and which file has them.
pub fn log_requirement(role: Role, settings: &Settings, keys: Option<&KeysFile>) {
    if is_open_behind_proxies(role, settings, keys) {
        tracing::warn!(
            "no keys are required, so everyone is let in whose requests the proxies in GATEWAY__TRUSTED_PROXIES pass on: create \
             a key, and set SPILLWAY_AUTH__MODE=required, so that a missing keys file lets nobody in"
        );
    }
    let Some(keys) = keys else {
        tracing::info!("no keys are required");
        return;
    };
    let path = keys.path().display();
    match (keys.requires_keys(), keys.exists()) {
        (true, true) => tracing::info!(%path, "keys are required"),
        (true, false) => tracing::warn!(
            %path,
            "keys are required, and their file does not exist: no request is let in until spillway key create makes it"
        ),
        (false, _) => tracing::info!(%path, "no keys are required until their file exists"),
    }
}

/// Whether no keys are required, without the operator having said so, and proxies pass on the requests of other machines.
fn is_open_behind_proxies(role: Role, settings: &Settings, keys: Option<&KeysFile>) -> bool {
    role.includes(Role::Gateway)
        && !settings.gateway.trusted_proxies.0.is_empty()
        && settings.auth.mode != AuthModeKind::Off
        && keys.is_none_or(|keys| !keys.requires_keys())
}

/// Whether a role takes syslog from all networks, of clients that show no certificate. It cannot where keys are required.
pub fn takes_syslog_of_everyone(role: Role, settings: &Settings) -> bool {
    let in_clear = settings.syslog.listen.0.is_some();
    let unverified = settings.syslog.tls_listen.0.is_some() && !syslog_clients_are_verified(settings);
    role.includes(Role::Producer) && (in_clear || unverified) && settings.syslog.allow.0.is_empty()
}

/// The file of the keys. Roles of their own have no data directory in common.
pub fn keys_path(role: Role, settings: &Settings) -> Option<PathBuf> {
    if !settings.auth.keys_file.as_os_str().is_empty() {
        return Some(settings.auth.keys_file.clone());
    }
    (role == Role::All).then(|| settings.data_dir.join("keys.toml"))
}

/// The first listener of a role that other machines reach: its key and its address.
fn reached_by_others(role: Role, settings: &Settings) -> Option<(&'static str, SocketAddr)> {
    let listens = [
        (Role::Gateway, "gateway.listen", Some(settings.gateway.listen)),
        (Role::Producer, "producer.listen", Some(settings.producer.listen)),
        (Role::Producer, "otlp.listen", settings.otlp.listen.0),
        (Role::Producer, "otlp.grpc_listen", settings.otlp.grpc_listen.0),
        (Role::Producer, "syslog.listen", settings.syslog.listen.0),
        (Role::Producer, "syslog.tls_listen", settings.syslog.tls_listen.0),
        (Role::Consumer, "consumer.listen", Some(settings.consumer.listen)),
    ];
    let own = listens.into_iter().filter(|(of, ..)| role.includes(*of));
    let mut addresses = own.filter_map(|(_, key, address)| Some((key, address?)));
    addresses.find(|(_, address)| !address.ip().is_loopback())
}

/// What seals the sessions of browsers; `None` if there are none.
///
/// # Errors
/// The secrets cannot be used.
pub fn open_sessions(role: Role, settings: &Settings) -> Result<Option<Arc<Sessions>>, AccessUnusable> {
    let path = &settings.auth.session_key_file;
    if path.as_os_str().is_empty() {
        // Roles of their own could not read what another one sealed.
        let own = (role == Role::All).then(|| Sessions::of_this_process(Arc::new(SystemClock))).flatten();
        return Ok(own.map(Arc::new));
    }
    let unusable = |error| AccessUnusable(format!("auth.session_key_file: {}: {error}", path.display()));
    Sessions::open(path, Arc::new(SystemClock)).map(|sessions| Some(Arc::new(sessions))).map_err(unusable)
}

/// Judges the requests of a process.
pub fn access_control(
    settings: &Settings,
    keys: Option<&Arc<KeysFile>>,
    sessions: Option<Arc<Sessions>>,
    telemetry: Arc<dyn Telemetry>,
) -> AccessControl {
    AccessControl::new(AccessRules {
        sessions: sessions.map(|sessions| sessions as Arc<dyn SessionSealer>),
        origins: settings.cors.origins.0.clone().into(),
        hosts: settings.http.hosts.0.clone().into(),
        keys: keys.map(|keys| Arc::<KeysFile>::clone(keys) as Arc<dyn KeyRing>),
        open_metrics: anyone_may_scrape(settings),
        telemetry: Some(telemetry),
    })
}

/// Whether the operator says that anyone may scrape the metrics: of these, or of all that there is.
fn anyone_may_scrape(settings: &Settings) -> bool {
    settings.auth.metrics == MetricsAccessKind::Anonymous || settings.auth.mode == AuthModeKind::Off
}

/// Reads the keys again whenever the file changes, and alerts if it cannot be used.
pub fn watch_keys(tasks: &Tasks, keys: &Arc<KeysFile>, alerter: Arc<dyn Alerter>) -> Vec<Task> {
    let (read, asked) = (Arc::clone(keys), Arc::clone(keys));
    let alert = FaultAlert::new(alerter, Alert::keys_unusable);
    let check = Arc::new(move || asked.fault());
    vec![tasks.spawn("keys", |stop| reload(read, stop)), tasks.spawn("keys alert", |stop| alert.run(check, stop))]
}

async fn reload(keys: Arc<KeysFile>, mut stop: watch::Receiver<bool>) {
    while timeout(RELOAD_INTERVAL, stop.wait_for(|stop| *stop)).await.is_err() {
        let keys = Arc::clone(&keys);
        let reloaded = tokio::task::spawn_blocking(move || Some((keys.reload()?, keys.path().display().to_string())));
        if let Ok(Some((changes, path))) = reloaded.await {
            let (added, revoked) = (listed(&changes.added), listed(&changes.revoked));
            let (changed, removed) = (listed(&changes.changed), listed(&changes.removed));
            tracing::info!(target: "audit", path, added, revoked, changed, removed, "the keys were read again");
        }
    }
}

/// The ids of keys as one field of a line; `None` without any.
fn listed(ids: &[KeyId]) -> Option<String> {
    let shown: Vec<String> = ids.iter().take(IDS_SHOWN_MAX).map(ToString::to_string).collect();
    let rest = ids.len().saturating_sub(IDS_SHOWN_MAX);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    (!ids.is_empty()).then(|| format!("{}{more}", shown.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &std::path::Path, variables: &[(&str, &str)]) -> Settings {
        let own = ("SPILLWAY_DATA_DIR".to_owned(), directory.display().to_string());
        let given = variables.iter().map(|(name, value)| (format!("SPILLWAY_{name}"), (*value).to_owned()));
        Settings::load(None, std::iter::once(own).chain(given)).expect("valid")
    }

    fn refusal(role: Role, settings: &Settings) -> String {
        open_keys(role, settings).err().map(|error| error.to_string()).unwrap_or_default()
    }

    const REACHED: (&str, &str) = ("PRODUCER__LISTEN", "0.0.0.0:8081");

    #[test]
    fn loopback_needs_no_keys_and_any_other_address_does_unless_everyone_is_let_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let of = |variables: &[(&str, &str)]| settings(directory.path(), variables);
        assert!(open_keys(Role::All, &of(&[])).expect("loopback").is_some_and(|keys| !keys.requires_keys()));
        assert!(open_keys(Role::Producer, &of(&[])).expect("loopback").is_none());
        assert!(open_keys(Role::All, &of(&[REACHED, ("AUTH__MODE", "off")])).expect("off").is_none());
        let refused = refusal(Role::All, &of(&[REACHED]));
        for part in ["producer.listen", "0.0.0.0:8081", "spillway key create", "SPILLWAY_AUTH__MODE=off"] {
            assert!(refused.contains(part), "{part} is missing in {refused}");
        }
        // The address of another role is not its concern.
        assert_eq!(refusal(Role::Consumer, &of(&[REACHED])), "");
        for variables in [&[REACHED][..], &[("AUTH__MODE", "required")]] {
            let refused = refusal(Role::Producer, &of(variables));
            assert!(refused.contains("SPILLWAY_AUTH__KEYS_FILE"), "{refused}");
        }
        // Even an empty file is one.
        let path = directory.path().join("keys.toml");
        std::fs::write(&path, "").expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
        assert!(open_keys(Role::All, &of(&[REACHED])).expect("a file").is_some_and(|keys| keys.requires_keys()));
        let file = path.display().to_string();
        assert!(open_keys(Role::Producer, &of(&[REACHED, ("AUTH__KEYS_FILE", &file)])).expect("a file").is_some());
        let syslog = ("SYSLOG__LISTEN", "127.0.0.1:5514");
        assert!(refusal(Role::All, &of(&[syslog])).contains("SPILLWAY_SYSLOG__ALLOW"));
        assert_eq!(refusal(Role::All, &of(&[syslog, ("SYSLOG__ALLOW", "10.0.0.0/8")])), "");
        let (over_tls, verified) = (("SYSLOG__TLS_LISTEN", "127.0.0.1:6514"), ("SYSLOG__TLS_CLIENT_AUTH", "required"));
        assert!(refusal(Role::All, &of(&[over_tls])).contains("SPILLWAY_SYSLOG__ALLOW"));
        assert_eq!(refusal(Role::All, &of(&[over_tls, verified])), "");
        assert!(refusal(Role::All, &of(&[over_tls, verified, syslog])).contains("SPILLWAY_SYSLOG__ALLOW"));
        std::fs::write(&path, "[[key").expect("written");
        assert!(refusal(Role::All, &of(&[])).contains("keys.toml: line 1"));
    }

    #[test]
    fn a_keys_file_that_is_named_and_missing_lets_nobody_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("elsewhere.toml");
        let file = path.display().to_string();
        let of = |mode: &str| settings(directory.path(), &[("AUTH__KEYS_FILE", &file), ("AUTH__MODE", mode)]);
        for role in [Role::All, Role::Gateway, Role::Producer, Role::Consumer] {
            let refused = refusal(role, &of("auto"));
            for part in [file.as_str(), "does not exist", "spillway key create --keys-file", "SPILLWAY_AUTH__MODE=off"]
            {
                assert!(refused.contains(part), "{part} is missing in {refused}");
            }
            let keys = open_keys(role, &of("required")).expect("it starts").expect("keys");
            assert!(keys.requires_keys() && !keys.exists(), "the first key can be created later");
            assert!(open_keys(role, &of("off")).expect("off").is_none());
        }
        std::fs::write(&path, "").expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
        assert!(open_keys(Role::All, &of("auto")).expect("a file").is_some_and(|keys| keys.requires_keys()));
    }

    #[test]
    fn an_operator_is_warned_of_proxies_that_let_everyone_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let warned = |role, variables: &[(&str, &str)]| {
            let settings = settings(directory.path(), variables);
            let keys = open_keys(role, &settings).expect("usable");
            is_open_behind_proxies(role, &settings, keys.as_deref())
        };
        let proxies = ("GATEWAY__TRUSTED_PROXIES", "127.0.0.0/8");
        assert!(warned(Role::All, &[proxies]) && warned(Role::Gateway, &[proxies]));
        assert!(!warned(Role::All, &[]) && !warned(Role::Producer, &[proxies]));
        assert!(!warned(Role::All, &[proxies, ("AUTH__MODE", "off")]), "the operator has said so");
        assert!(!warned(Role::All, &[proxies, ("AUTH__MODE", "required")]));
    }

    #[test]
    fn the_ids_of_keys_in_a_line_are_bounded() {
        let ids = |count: usize| vec!["AAAAAAAA".parse::<KeyId>().expect("an id"); count];
        assert_eq!((listed(&ids(0)), listed(&ids(2))), (None, Some("AAAAAAAA,AAAAAAAA".to_owned())));
        assert!(listed(&ids(1_000)).is_some_and(|text| text.len() < 500 && text.ends_with(" and 950 more")));
    }

    #[test]
    fn anyone_may_scrape_only_where_the_operator_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let may = |variables: &[(&str, &str)]| anyone_may_scrape(&settings(directory.path(), variables));
        assert!(!may(&[]) && !may(&[("AUTH__MODE", "required")]));
        assert!(may(&[("AUTH__MODE", "off")]) && may(&[("AUTH__METRICS", "anonymous")]));
    }

    #[test]
    fn there_are_sessions_where_all_roles_know_the_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = |role, variables: &[(&str, &str)]| {
            let opened = open_sessions(role, &settings(directory.path(), variables));
            opened.map(|sessions| sessions.is_some()).map_err(|error| error.to_string())
        };
        assert_eq!(open(Role::All, &[]), Ok(true));
        assert_eq!(open(Role::Gateway, &[]), Ok(false));
        let path = directory.path().join("secrets").display().to_string();
        let file = [("AUTH__SESSION_KEY_FILE", path.as_str())];
        assert!(open(Role::Gateway, &file).is_err_and(|error| error.contains("auth.session_key_file")));
        std::fs::write(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
        assert_eq!(open(Role::Gateway, &file), Ok(true));
    }
}
