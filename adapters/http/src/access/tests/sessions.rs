//! Sessions of browsers: where one begins, what a page is told about it, and what it is worth.

use poem::http::header;

use super::lines::lines_of;
use super::*;

/// Sessions that are the id of their key.
struct PlainSessions;

impl SessionSealer for PlainSessions {
    fn seal(&self, key: KeyId) -> Option<String> {
        Some(key.to_string())
    }

    fn unseal(&self, session: &str) -> Option<KeyId> {
        session.parse().ok()
    }
}

fn with_sessions() -> AccessControl {
    AccessControl::new(AccessRules {
        keys: Some(Arc::new(ring())),
        sessions: Some(Arc::new(PlainSessions)),
        ..AccessRules::default()
    })
}

/// Begins a session with the key of this byte: the status, and the cookie if there is one.
fn begin(access: &AccessControl, peer: [u8; 4], headers: &[(&str, &str)]) -> (u16, Option<String>) {
    let bearer = format!("Bearer {}", text(7).reveal());
    let mut given = vec![("host", "localhost"), ("authorization", bearer.as_str())];
    given.extend_from_slice(headers);
    let mut request = request(Method::POST, peer, &given);
    assert_eq!(access.judge(&mut request, route(Method::POST, "/api/session")), Ok(()));
    let response = access.begin_session(&request);
    let cookie = response.headers().get(header::SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
    (response.status().as_u16(), cookie.map(str::to_owned))
}

#[test]
fn a_session_begins_only_where_nobody_reads_along() {
    let id = text(7).id();
    let (status, cookie) = begin(&with_sessions(), PEER, &[]);
    let plain = format!("spillway={id}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    assert_eq!((status, cookie), (204, Some(plain.clone())));
    assert_eq!(begin(&with_sessions(), [192, 0, 2, 1], &[]), (403, None));
    let https = ("x-forwarded-proto", "https");
    assert_eq!(begin(&with_sessions(), [192, 0, 2, 1], &[https]), (403, None), "anyone can say so");
    for header in ["via", "x-forwarded-for", "forwarded"] {
        // A proxy on this machine stands for browsers that are not.
        assert_eq!(begin(&with_sessions(), PEER, &[(header, "192.0.2.7")]), (403, None), "{header}");
    }
    let behind = with_sessions().of_gateway(vec!["192.0.2.0/24".parse::<ipnet::IpNet>().expect("a network")].into());
    assert_eq!(begin(&behind, [192, 0, 2, 1], &[https]), (204, Some(format!("__Host-{plain}; Secure"))));
    assert_eq!(begin(&with_keys(ring(), false), PEER, &[]), (403, None), "sessions are off");
    let open = with_keys(Ring { required: false, ..ring() }, false);
    assert_eq!(begin(&open, PEER, &[]), (204, None), "no keys are required");
}

/// What a page is told about its session.
async fn shown(access: &AccessControl, peer: [u8; 4], headers: &[(&str, &str)]) -> String {
    let mut given = vec![("host", "localhost")];
    given.extend_from_slice(headers);
    let mut request = request(Method::GET, peer, &given);
    assert_eq!(access.judge(&mut request, route(Method::GET, "/api/session")), Ok(()));
    let response = access.show_session(&request);
    assert_eq!(response.headers().get(header::CACHE_CONTROL).map(|value| value.as_bytes()), Some(&b"no-store"[..]));
    response.into_body().into_string().await.expect("a body")
}

#[tokio::test]
async fn a_page_is_told_whether_it_needs_a_key_and_whose_session_it_has() {
    const REMOTE: [u8; 4] = [192, 0, 2, 1];
    let cookie = |byte: u8| format!("spillway={}", text(byte).id());
    let (reader, tenant, revoked) = (cookie(7), cookie(10), cookie(5));
    let signed_out = r#"{"authentication":"keys","signIn":"possible"}"#;
    for (headers, expected) in [
        (&[][..], signed_out),
        (&[("cookie", revoked.as_str())][..], signed_out),
        (&[("cookie", "spillway=no session")][..], signed_out),
        (
            &[
                ("cookie", reader.as_str()),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ][..],
            signed_out,
        ),
        (
            &[("cookie", reader.as_str())][..],
            r#"{"authentication":"keys","signIn":"possible","key":{"name":"shop","roles":["read"]}}"#,
        ),
        (
            &[("cookie", tenant.as_str())][..],
            r#"{"authentication":"keys","signIn":"possible","key":{"name":"shop","roles":["ingest","read"],"sources":["shop-*"]}}"#,
        ),
    ] {
        assert_eq!(shown(&with_sessions(), PEER, headers).await, expected, "{headers:?}");
    }
    // A key in a header is not looked at: guesses are counted where keys are needed, and not here.
    let bearer = format!("Bearer {}", text(7).reveal());
    assert_eq!(shown(&with_sessions(), PEER, &[("authorization", &bearer)]).await, signed_out);
    let needs_https = r#"{"authentication":"keys","signIn":"needs_https"}"#;
    assert_eq!(shown(&with_sessions(), REMOTE, &[]).await, needs_https);
    let unavailable = r#"{"authentication":"keys","signIn":"unavailable"}"#;
    assert_eq!(shown(&with_keys(ring(), false), PEER, &[]).await, unavailable);
    let open_to_all = with_keys(Ring { required: false, ..ring() }, false);
    let off = r#"{"authentication":"off","signIn":"not_needed"}"#;
    assert_eq!(shown(&open_to_all, REMOTE, &[]).await, off);
    assert_eq!(shown(&open(), REMOTE, &[]).await, off);
}

#[test]
fn a_session_is_worth_its_key_and_only_for_pages_of_this_site() {
    let session = |byte: u8| format!("spillway={}", text(byte).id());
    let judge = |headers: &[(&str, &str)], method: Method, path: &str| {
        let mut given = vec![("host", "localhost")];
        given.extend_from_slice(headers);
        let mut request = request(method.clone(), PEER, &given);
        let judged = with_sessions().judge(&mut request, route(method, path)).map_err(|denial| denial.code());
        judged.map(|()| tenant_of(&request).is_some())
    };
    let read = |headers: &[(&str, &str)]| judge(headers, Method::GET, "/api/logs");
    let (reader, tenant, revoked) = (session(7), session(10), session(5));
    assert_eq!(read(&[("cookie", &reader)]), Ok(false));
    assert_eq!(read(&[("cookie", &tenant)]), Ok(true), "restricted as its key is");
    assert_eq!(read(&[("cookie", &revoked)]), Err("credentials_invalid"));
    assert_eq!(read(&[("cookie", "spillway=no session")]), Err("unauthenticated"));
    assert_eq!(read(&[("cookie", &session(6))]), Err("role_missing"));
    for (site, expected) in [
        ("same-origin", Ok(false)),
        ("none", Ok(false)),
        ("same-site", Err("cross_origin")),
        ("cross-site", Err("cross_origin")),
    ] {
        assert_eq!(read(&[("cookie", &reader), ("sec-fetch-site", site)]), expected, "{site}");
    }
    assert_eq!(read(&[("cookie", &reader), ("origin", "http://localhost:3000")]), Err("cross_origin"));
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(read(&[&[("cookie", reader.as_str())][..], &link].concat()), Err("unauthenticated"));
    // A password for a proxy is not a key; a key is meant instead of the session.
    assert_eq!(read(&[("cookie", &reader), ("authorization", "Basic dXNlcjpwYXNzd29yZA==")]), Ok(false));
    let wrong = format!("Bearer {}", text(3).reveal());
    assert_eq!(read(&[("cookie", &reader), ("authorization", &wrong)]), Err("credentials_invalid"));
    // It cannot prolong itself.
    assert_eq!(judge(&[("cookie", &reader)], Method::POST, "/api/session"), Err("unauthenticated"));
}

#[test]
fn over_tls_only_the_cookie_counts_that_nobody_else_can_set() {
    let gateway = with_sessions().of_gateway(vec!["127.0.0.0/8".parse::<ipnet::IpNet>().expect("a network")].into());
    let judge = |access: &AccessControl, cookie: &str| {
        let headers = [("host", "localhost"), ("x-forwarded-proto", "https"), ("cookie", cookie)];
        access.judge(&mut request(Method::GET, PEER, &headers), queries())
    };
    let (plain, secure) = (format!("spillway={}", text(7).id()), format!("__Host-spillway={}", text(7).id()));
    assert_eq!(judge(&gateway, &plain), Err(Denial::Unauthenticated));
    assert_eq!(judge(&gateway, &secure), Ok(()));
    assert_eq!(judge(&with_sessions(), &plain), Ok(()), "a role knows only its gateway");
}

#[test]
fn an_ended_session_is_told_from_none_and_a_valid_key_is_let_in_with_it() {
    let judge = |headers: &[(&str, &str)]| {
        let given = [&[("host", "localhost")][..], headers].concat();
        with_sessions().judge(&mut request(Method::GET, PEER, &given), queries())
    };
    let ended = ("cookie", "spillway=no session");
    assert_eq!(judge(&[ended]), Err(Denial::SessionEnded));
    assert!(Denial::SessionEnded.detail().contains("has ended"));
    assert_eq!(judge(&[]), Err(Denial::Unauthenticated));
    assert_eq!(judge(&[("cookie", "other=1")]), Err(Denial::Unauthenticated));
    let bearer = format!("Bearer {}", text(7).reveal());
    assert_eq!(judge(&[ended, ("authorization", &bearer)]), Ok(()));
    assert_eq!(judge(&[ended, ("authorization", "Bearer nonsense")]), Err(Denial::CredentialsInvalid));
}

#[test]
fn the_end_of_a_session_is_audited_and_nothing_else_is_that_anyone_could_send() {
    let end = |cookie: &str| {
        let (access, mut request) = (with_sessions(), request(Method::DELETE, PEER, &[("cookie", cookie)]));
        lines_of(|| assert_eq!(access.end_session(&mut request, "/api/session").status().as_u16(), 204))
    };
    let lines = end(&format!("spillway={}", text(7).id()));
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in ["DELETE /api/session", "outcome=\"allowed\"", "principal=shop", &text(7).id().to_string()] {
        assert!(line.contains(part), "{part} in {line}");
    }
    for nobody in ["spillway=no session", "other=1", &format!("spillway={}", text(5).id())] {
        assert!(end(nobody).is_empty(), "{nobody}");
    }
}
