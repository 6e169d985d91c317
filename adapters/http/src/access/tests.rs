//! What becomes of each request with each key.

pub mod lines;
mod refusals;
mod sessions;

use std::sync::Mutex;

use domain::access::{KeyHash, KeyLimits, KeyText, SourceRestriction, Tenant, TenantId};
use poem::http::{HeaderName, Method, Uri};

use super::admitted::{end_of_right, tenant_of};
use super::*;
use crate::routes::ROUTES;

const PEER: [u8; 4] = [127, 0, 0, 1];

/// A request from this peer.
fn request(method: Method, peer: [u8; 4], headers: &[(&str, &str)]) -> Request {
    let (mut parts, ()) = hyper::Request::new(()).into_parts();
    parts.method = method;
    for (name, value) in headers {
        parts.headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
    }
    let peer = RemoteAddr(SocketAddr::from((peer, 5_000)).into());
    Request::from_parts(RequestParts::from((parts, LocalAddr::default(), peer, Scheme::HTTP)), Body::empty())
}

fn route(method: Method, path: &str) -> Option<&'static Route> {
    match find(&method, path, |_| true) {
        Found::Route(route) => Some(route),
        Found::OtherMethods(_) | Found::Nothing => None,
    }
}

fn queries() -> Option<&'static Route> {
    route(Method::GET, "/api/logs")
}

fn open() -> AccessControl {
    AccessControl::new(AccessRules::default())
}

fn gateway(proxies: &[&str]) -> AccessControl {
    let proxies: Vec<ipnet::IpNet> = proxies.iter().map(|network| network.parse().expect("a network")).collect();
    open().of_gateway(proxies.into())
}

#[test]
fn a_rebinding_name_is_refused_whatever_the_method_except_by_probes() {
    for method in [Method::GET, Method::POST] {
        let mut rebound = request(method.clone(), PEER, &[("host", "evil.test:8080")]);
        assert_eq!(open().judge(&mut rebound, queries()), Err(Denial::HostNotAllowed), "{method}");
        assert_eq!(open().judge(&mut rebound, None), Err(Denial::HostNotAllowed), "{method}");
        for exempt in ["/actuator/health/liveness", "/actuator/health/readiness", "/services/collector/health"] {
            let mut rebound = request(method.clone(), PEER, &[("host", "evil.test:8080")]);
            assert_eq!(open().judge(&mut rebound, route(Method::GET, exempt)), Ok(()), "{exempt}");
        }
    }
    let mut own = request(Method::POST, PEER, &[("host", "localhost:8080"), ("origin", "http://localhost:8080")]);
    assert_eq!(open().judge(&mut own, queries()), Ok(()));
    let mut foreign = request(Method::POST, PEER, &[("host", "localhost:8080"), ("origin", "http://evil.test")]);
    assert_eq!(open().judge(&mut foreign, queries()), Err(Denial::CrossOrigin));
}

#[test]
fn a_page_of_another_site_begins_no_answer_and_a_person_may_follow_its_link() {
    let judge = |path: &str, headers: &[(&str, &str)]| {
        let headers = [&[("host", "localhost:8080")][..], headers].concat();
        open().judge(&mut request(Method::GET, PEER, &headers), route(Method::GET, path))
    };
    let (site, mode) = (("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"));
    for path in ["/api/logs/tail", "/api/logs/export", "/api/logs", "/actuator/health", "/console/", "/", "/unknown"] {
        for foreign in [
            &[site][..],
            &[site, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
            &[site, mode, ("sec-fetch-dest", "iframe")],
            &[("origin", "http://localhost:3000")],
        ] {
            assert_eq!(judge(path, foreign), Err(Denial::CrossOrigin), "{path} {foreign:?}");
        }
        assert_eq!(judge(path, &[site, mode, ("sec-fetch-dest", "document")]), Ok(()), "{path}");
        assert_eq!(judge(path, &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]), Ok(()), "{path}");
    }
    assert_eq!(judge("/actuator/health/liveness", &[site]), Ok(()), "a probe");
}

#[test]
fn the_host_of_the_request_target_comes_before_the_header() {
    let mut absolute = request(Method::GET, PEER, &[("host", "localhost")]);
    *absolute.uri_mut() = Uri::from_static("http://evil.test/api/logs");
    assert_eq!(open().judge(&mut absolute, queries()), Err(Denial::HostNotAllowed));
}

#[test]
fn a_gateway_refuses_what_an_unknown_proxy_passed_on_and_a_role_behind_it_does_not() {
    let host = ("host", "localhost");
    for header in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "X-Forwarded-Proto"] {
        let forwarded = || request(Method::GET, PEER, &[host, (header, "for=192.0.2.1")]);
        assert_eq!(gateway(&[]).judge(&mut forwarded(), queries()), Err(Denial::ProxyNotTrusted), "{header}");
        assert_eq!(gateway(&["192.0.2.0/24"]).judge(&mut forwarded(), queries()), Err(Denial::ProxyNotTrusted));
        assert_eq!(gateway(&["127.0.0.0/8"]).judge(&mut forwarded(), queries()), Ok(()), "{header}");
        assert_eq!(open().judge(&mut forwarded(), queries()), Ok(()), "{header}");
    }
    assert_eq!(gateway(&[]).judge(&mut request(Method::GET, PEER, &[host]), queries()), Ok(()));
}

#[test]
fn a_role_believes_the_gateway_of_its_process_and_nobody_else() {
    let mut judged = request(Method::GET, PEER, &[("host", "localhost")]);
    assert_eq!(gateway(&[]).judge(&mut judged, queries()), Ok(()));
    judged.headers_mut().insert("host", "evil.test".parse().expect("a header"));
    assert_eq!(open().judge(&mut judged, queries()), Ok(()), "the gateway has judged it");
    let mut claimed = request(Method::GET, PEER, &[("host", "evil.test"), ("admitted", "true")]);
    assert_eq!(open().judge(&mut claimed, queries()), Err(Denial::HostNotAllowed));
}

/// Keys whose secrets are all alike but for one byte.
struct Ring {
    keys: Vec<(KeyText, Result<Arc<Key>, KeyRejection>)>,
    required: bool,
}

impl KeyRing for Ring {
    fn requires_keys(&self) -> bool {
        self.required
    }

    fn verify(&self, presented: &KeyText) -> Result<Arc<Key>, KeyRejection> {
        let found = self.keys.iter().find(|(text, _)| text == presented);
        found.map_or(Err(KeyRejection::Unknown), |(_, key)| key.clone())
    }

    fn find(&self, id: KeyId) -> Result<Arc<Key>, KeyRejection> {
        let found = self.keys.iter().find(|(text, _)| text.id() == id);
        found.map_or(Err(KeyRejection::Unknown), |(_, key)| key.clone())
    }
}

fn text(byte: u8) -> KeyText {
    KeyText::from_random(&[byte; 40]).expect("enough bytes")
}

fn shop() -> SourceRestriction {
    vec!["shop-*".parse().expect("a pattern")].into()
}

/// The credentials of the matrix: what each is called, its header, and what it may do.
const CREDENTIALS: [(&str, u8); 12] = [
    ("none", 0),
    ("malformed", 1),
    ("unknown", 2),
    ("wrong", 3),
    ("expired", 4),
    ("revoked", 5),
    ("ingest", 6),
    ("read", 7),
    ("operate", 8),
    ("admin", 9),
    ("tenant that may ingest and read", 10),
    ("tenant that may operate", 11),
];

fn ring() -> Ring {
    let key = |byte: u8, roles: &[Role], sources: Option<SourceRestriction>| {
        let key = Key {
            id: text(byte).id(),
            name: "shop".parse().expect("a name"),
            hash: KeyHash::new([byte; 32]),
            roles: roles.to_vec(),
            sources,
            expires: None,
            revoked: None,
            limits: KeyLimits::default(),
        };
        (text(byte), Ok(Arc::new(key)))
    };
    let keys = vec![
        (text(3), Err(KeyRejection::WrongSecret)),
        (text(4), Err(KeyRejection::Expired)),
        (text(5), Err(KeyRejection::Revoked)),
        key(6, &[Role::Ingest], None),
        key(7, &[Role::Read], None),
        key(8, &[Role::Operate], None),
        key(9, &[Role::Admin], None),
        key(10, &[Role::Ingest, Role::Read], Some(shop())),
        key(11, &[Role::Operate], Some(shop())),
    ];
    Ring { keys, required: true }
}

fn with_keys(ring: Ring, open_metrics: bool) -> AccessControl {
    AccessControl::new(AccessRules { keys: Some(Arc::new(ring)), open_metrics, ..AccessRules::default() })
}

/// A request with a credential of the matrix. Each comes from an address of its own, since failures are limited.
fn presenting(credential: u8, method: Method) -> Request {
    let header = match credential {
        0 => None,
        1 => Some("Bearer nonsense".to_owned()),
        byte => Some(format!("Bearer {}", text(byte).reveal())),
    };
    let mut headers = vec![("host", "localhost")];
    headers.extend(header.as_ref().map(|value| ("authorization", value.as_str())));
    request(method, [10, 0, 0, credential], &headers)
}

/// What the design says about a credential and an operation.
fn expected(credential: u8, access: Access) -> Result<(), &'static str> {
    let (role, whole) = match access {
        Access::Monitor | Access::Anyone => return Ok(()),
        Access::AnyKey => {
            return match credential {
                0 => Err("unauthenticated"),
                1..=5 => Err("credentials_invalid"),
                _ => Ok(()),
            };
        }
        Access::Scrape => (Role::Operate, true),
        Access::Role(role) => (role, false),
        Access::WholeRole(role) => (role, true),
    };
    let (roles, restricted): (&[Role], bool) = match credential {
        0 => return Err("unauthenticated"),
        1..=5 => return Err("credentials_invalid"),
        6 => (&[Role::Ingest], false),
        7 => (&[Role::Read], false),
        8 => (&[Role::Operate], false),
        9 => (&Role::ALL, false),
        10 => (&[Role::Ingest, Role::Read], true),
        _ => (&[Role::Operate], true),
    };
    if roles.contains(&role) && !(whole && restricted) { Ok(()) } else { Err("role_missing") }
}

#[test]
fn each_operation_is_open_to_the_keys_with_its_role_and_to_nobody_else() {
    let mut cells = 0;
    for route in ROUTES {
        for (name, credential) in CREDENTIALS {
            // A new one for each, since failures are counted.
            let access = with_keys(ring(), false);
            let mut request = presenting(credential, route.method.clone());
            let judged = access.judge(&mut request, Some(route)).map_err(|denial| denial.code());
            assert_eq!(judged, expected(credential, route.access), "{} {} with {name}", route.method, route.path);
            // A request that is let in sees what its key says, and another one nothing.
            let tenant = tenant_of(&request);
            match (judged.is_ok(), credential) {
                (true, 6..=9) if key_of(&request).is_some() => assert_eq!(tenant, None),
                (true, 10 | 11) if key_of(&request).is_some() => {
                    assert_eq!(tenant, Some(Tenant { id: TenantId::of_name("shop"), sources: shop() }));
                }
                _ => assert_eq!(tenant, Some(Tenant::nobody())),
            }
            cells += 1;
        }
    }
    assert_eq!(cells, ROUTES.len() * CREDENTIALS.len());
}

#[test]
fn metrics_may_be_open_to_anyone_and_nothing_else_is_opened_with_them() {
    let access = with_keys(ring(), true);
    let judge = |path| access.judge(&mut presenting(0, Method::GET), route(Method::GET, path));
    assert_eq!(judge("/actuator/prometheus"), Ok(()));
    assert_eq!(judge("/actuator/metrics"), Err(Denial::Unauthenticated));
    assert_eq!(judge("/actuator/health"), Err(Denial::Unauthenticated));
}

#[test]
fn a_scrape_may_use_any_name_where_a_key_protects_the_metrics_or_the_operator_opens_them() {
    let judge = |access: &AccessControl, credential: u8| {
        let mut scrape = presenting(credential, Method::GET);
        scrape.headers_mut().insert("host", "producer:8081".parse().expect("a header"));
        access.judge(&mut scrape, route(Method::GET, "/actuator/prometheus")).map_err(|denial| denial.code())
    };
    let (none, operate, restricted) = (0, 8, 11);
    let without_keys = || Ring { required: false, ..ring() };
    assert_eq!(judge(&open(), none), Err("host_not_allowed"));
    assert_eq!(judge(&with_keys(without_keys(), false), none), Err("host_not_allowed"));
    assert_eq!(judge(&with_keys(without_keys(), true), none), Ok(()));
    assert_eq!(judge(&with_keys(ring(), true), none), Ok(()));
    assert_eq!(judge(&with_keys(ring(), false), none), Err("unauthenticated"));
    assert_eq!(judge(&with_keys(ring(), false), operate), Ok(()));
    assert_eq!(judge(&with_keys(ring(), false), restricted), Err("role_missing"));
    assert_eq!(judge(&with_keys(ring(), true), restricted), Ok(()), "as anyone may");
    let everyone = AccessControl::new(AccessRules { open_metrics: true, ..AccessRules::default() });
    assert_eq!(judge(&everyone, none), Ok(()));
}

#[test]
fn where_no_keys_are_required_all_is_open_and_a_key_changes_nothing() {
    let access = with_keys(Ring { required: false, ..ring() }, false);
    for credential in [0, 1, 5, 10] {
        let mut request = presenting(credential, Method::GET);
        assert_eq!(access.judge(&mut request, queries()), Ok(()));
        assert_eq!((tenant_of(&request), key_of(&request).is_none()), (None, true));
    }
    assert_eq!(tenant_of(&presenting(9, Method::GET)), Some(Tenant::nobody()), "it was not judged");
}

#[test]
fn where_keys_are_required_a_proxy_may_be_unknown_to_the_gateway() {
    let access = with_keys(ring(), false).of_gateway(TrustedProxies::default());
    let mut request = presenting(7, Method::GET);
    request.headers_mut().insert("x-forwarded-for", "198.51.100.1".parse().expect("a header"));
    assert_eq!(access.judge(&mut request, queries()), Ok(()));
}

#[test]
fn two_different_keys_are_refused_as_such() {
    let access = with_keys(ring(), false);
    let (one, other) = (format!("Bearer {}", text(7).reveal()), text(9));
    let headers = [("host", "localhost"), ("authorization", one.as_str()), ("x-api-key", other.reveal())];
    let judged = access.judge(&mut request(Method::GET, PEER, &headers), queries());
    assert_eq!(judged, Err(Denial::SeveralKeys));
}

#[test]
fn a_listed_origin_may_ask_for_anything_and_no_other_may() {
    let origins: Vec<Origin> = vec!["https://console.example.com".parse().expect("an origin")];
    let access = AccessControl::new(AccessRules { origins: origins.into(), ..AccessRules::default() });
    for method in [Method::POST, Method::GET] {
        let judge = |origin: &str| {
            let headers = [("host", "localhost"), ("origin", origin), ("sec-fetch-site", "cross-site")];
            access.judge(&mut request(method.clone(), PEER, &headers), route(method.clone(), "/api/logs"))
        };
        assert_eq!(judge("https://console.example.com"), Ok(()), "{method}");
        assert_eq!(judge("https://evil.test"), Err(Denial::CrossOrigin), "{method}");
    }
}

/// The keys without those of these bytes.
fn later(revoked: &[u8], required: bool) -> Ring {
    let mut ring = Ring { required, ..ring() };
    for byte in revoked {
        ring.keys.retain(|(key, _)| *key != text(*byte));
    }
    ring
}

/// Keys that change.
struct Changing(Mutex<Ring>);

impl KeyRing for Changing {
    fn requires_keys(&self) -> bool {
        self.0.lock().expect("lock").requires_keys()
    }

    fn verify(&self, presented: &KeyText) -> Result<Arc<Key>, KeyRejection> {
        self.0.lock().expect("lock").verify(presented)
    }

    fn find(&self, id: KeyId) -> Result<Arc<Key>, KeyRejection> {
        self.0.lock().expect("lock").find(id)
    }
}

/// Whether an answer to a request with this credential ends when the keys change.
async fn ends(credential: u8, before: Ring, after: Ring) -> bool {
    let keys = Arc::new(Changing(Mutex::new(before)));
    let access = AccessControl::new(AccessRules { keys: Some(keys.clone()), ..AccessRules::default() });
    let mut request = presenting(credential, Method::GET);
    assert_eq!(access.judge(&mut request, queries()), Ok(()));
    let mut end = std::pin::pin!(end_of_right(&request));
    let while_valid = tokio::time::timeout(std::time::Duration::from_secs(60), end.as_mut()).await;
    assert!(while_valid.is_err(), "nothing has changed");
    *keys.0.lock().expect("lock") = after;
    tokio::time::timeout(std::time::Duration::from_secs(60), end).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_an_end_ends_with_its_key() {
    let with_other_sources = || {
        let mut ring = later(&[10], true);
        let (_, like) = ring.keys.iter().find(|(key, _)| *key == text(7)).cloned().expect("a key");
        let key = Key { id: text(10).id(), ..Key::clone(&like.expect("a key")) };
        ring.keys.push((text(10), Ok(Arc::new(key))));
        ring
    };
    assert!(ends(7, ring(), later(&[7], true)).await, "it was revoked");
    assert!(!ends(7, ring(), later(&[9], true)).await, "another one was");
    assert!(ends(10, ring(), with_other_sources()).await, "it may do something else");
    assert!(ends(0, later(&[], false), ring()).await, "keys are required by now");
    assert!(!ends(0, later(&[], false), later(&[7], false)).await, "none are");
}
