//! What a role answers to requests that may not go on.

use std::net::SocketAddr;

use poem::http::uri::Scheme;
use poem::http::{HeaderName, Method};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, RequestParts};

use super::*;

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

const READ: Option<Access> = Some(Access::Role(domain::access::Role::Read));
const PEER: [u8; 4] = [127, 0, 0, 1];

fn gateway(proxies: &[&str]) -> AccessControl {
    let proxies: Vec<ipnet::IpNet> = proxies.iter().map(|network| network.parse().expect("a network")).collect();
    AccessControl::new(AccessRules::default()).of_gateway(proxies.into())
}

#[test]
fn a_rebinding_name_is_refused_whatever_the_method_except_by_probes() {
    let access = AccessControl::new(AccessRules::default());
    for method in [Method::GET, Method::POST] {
        let mut rebound = request(method.clone(), PEER, &[("host", "evil.test:8080")]);
        assert_eq!(access.judge(&mut rebound, READ), Err(Denial::HostNotAllowed), "{method}");
        assert_eq!(access.judge(&mut rebound, Some(Access::Probe)), Ok(()));
    }
    let mut own = request(Method::POST, PEER, &[("host", "localhost:8080"), ("origin", "http://localhost:8080")]);
    assert_eq!(access.judge(&mut own, READ), Ok(()));
    let mut foreign = request(Method::POST, PEER, &[("host", "localhost:8080"), ("origin", "http://evil.test")]);
    assert_eq!(access.judge(&mut foreign, READ), Err(Denial::CrossOrigin));
}

#[test]
fn the_host_of_the_request_target_comes_before_the_header() {
    let mut absolute = request(Method::GET, PEER, &[("host", "localhost")]);
    *absolute.uri_mut() = poem::http::Uri::from_static("http://evil.test/api/logs");
    let judged = AccessControl::new(AccessRules::default()).judge(&mut absolute, READ);
    assert_eq!(judged, Err(Denial::HostNotAllowed));
}

#[test]
fn a_gateway_refuses_what_an_unknown_proxy_passed_on_and_a_role_behind_it_does_not() {
    let host = ("host", "localhost");
    for header in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "X-Forwarded-Proto"] {
        let forwarded = || request(Method::GET, PEER, &[host, (header, "for=192.0.2.1")]);
        assert_eq!(gateway(&[]).judge(&mut forwarded(), READ), Err(Denial::ProxyNotTrusted), "{header}");
        assert_eq!(gateway(&["192.0.2.0/24"]).judge(&mut forwarded(), READ), Err(Denial::ProxyNotTrusted));
        assert_eq!(gateway(&["127.0.0.0/8"]).judge(&mut forwarded(), READ), Ok(()), "{header}");
        assert_eq!(AccessControl::new(AccessRules::default()).judge(&mut forwarded(), READ), Ok(()), "{header}");
    }
    assert_eq!(gateway(&[]).judge(&mut request(Method::GET, PEER, &[host]), READ), Ok(()));
}

#[test]
fn a_role_believes_the_gateway_of_its_process_and_nobody_else() {
    let role = AccessControl::new(AccessRules::default());
    let mut judged = request(Method::GET, PEER, &[("host", "localhost")]);
    assert_eq!(gateway(&[]).judge(&mut judged, READ), Ok(()));
    judged.headers_mut().insert("host", "evil.test".parse().expect("a header"));
    assert_eq!(role.judge(&mut judged, READ), Ok(()), "the gateway has judged it");
    let mut claimed = request(Method::GET, PEER, &[("host", "evil.test"), ("admitted", "true")]);
    assert_eq!(role.judge(&mut claimed, READ), Err(Denial::HostNotAllowed));
}
