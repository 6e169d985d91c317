//! Whether a page of another site made a request.
//!
//! A browser sends requests of any page to any server, and refuses only to show the answer. By then something is changed, or
//! an answer without an end holds a connection and a place among the tails. So a request is refused unless the browser says
//! that it is of this site (Fetch Metadata, W3C; RFC 6454, section 7). Programs send none of these headers.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Which page made a request, relative to the host that it was sent to.
pub const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a browser does with the answer to a request, and where it shows it.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Says that a browser fetches a page in advance.
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// Whether a page of another site made a request, and not a person who follows a link of that page. `authority` is the host
/// that the request was sent to.
pub fn is_cross_origin(method: &Method, headers: &HeaderMap, authority: Option<&str>) -> bool {
    is_of_other_page(headers, authority) && !(method.is_safe() && opens_page(headers))
}

/// Whether the answer to a request takes the place of the page that made it, or has a window of its own. No page can cause that
/// in any number.
fn opens_page(headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, value: &str| headers.get(name).is_some_and(|given| given == value);
    is(SEC_FETCH_MODE, "navigate") && is(SEC_FETCH_DEST, "document") && !headers.contains_key(SEC_PURPOSE)
}

/// Whether a page of another site made a request, whatever it asks for.
pub fn is_of_other_page(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        return !sites.all(|site| site == "same-origin" || site == "none");
    }
    !headers.get_all(header::ORIGIN).iter().all(|origin| is_own(origin, authority))
}

/// Whether an origin has this authority. Both leave out the port that its scheme implies.
fn is_own(origin: &HeaderValue, authority: Option<&str>) -> bool {
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    of_origin.zip(authority).is_some_and(|(of_origin, authority)| of_origin.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: Method, given: &[(HeaderName, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name, value.parse().expect("a header"));
        }
        is_cross_origin(&method, &headers, Some("localhost:8080"))
    }

    #[test]
    fn requests_come_from_a_program_or_a_page_of_this_site() {
        let (site, origin) = (SEC_FETCH_SITE, header::ORIGIN);
        let own: [&[(HeaderName, &str)]; 5] = [
            &[],
            &[(site.clone(), "same-origin")],
            &[(site.clone(), "none")],
            &[(origin.clone(), "http://localhost:8080")],
            &[(origin.clone(), "https://LOCALHOST:8080")],
        ];
        for given in own {
            assert!(!refused(Method::POST, given) && !refused(Method::GET, given), "{given:?}");
        }
        let foreign: [&[(HeaderName, &str)]; 11] = [
            &[(site.clone(), "cross-site")],
            &[(site.clone(), "same-site")],
            &[(site.clone(), "")],
            &[(site.clone(), "same-origin"), (site.clone(), "cross-site")],
            // The browser knows better than the header that older ones have.
            &[(site.clone(), "cross-site"), (origin.clone(), "http://localhost:8080")],
            &[(origin.clone(), "http://evil.test")],
            &[(origin.clone(), "http://localhost")],
            &[(origin.clone(), "http://localhost:8080.evil.test")],
            &[(origin.clone(), "null")],
            &[(origin.clone(), "localhost:8080")],
            &[(origin.clone(), "http://localhost:8080"), (origin.clone(), "http://evil.test")],
        ];
        for given in foreign {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(refused(method, given), "{given:?}");
            }
        }
    }

    #[test]
    fn a_person_may_follow_a_link_of_another_page() {
        let link = |mode, dest| {
            [(SEC_FETCH_SITE, "cross-site"), (SEC_FETCH_MODE, mode), (SEC_FETCH_DEST, dest), (header::ORIGIN, "null")]
        };
        let opened = link("navigate", "document");
        assert!(!refused(Method::GET, &opened) && !refused(Method::HEAD, &opened));
        assert!(refused(Method::POST, &opened), "a form");
        for (mode, dest) in
            [("navigate", "iframe"), ("navigate", "embed"), ("no-cors", "document"), ("no-cors", "image")]
        {
            assert!(refused(Method::GET, &link(mode, dest)), "{mode} {dest}");
        }
        let prefetched = [&opened[..], &[(SEC_PURPOSE, "prefetch")]].concat();
        assert!(refused(Method::GET, &prefetched));
    }

    #[test]
    fn without_a_host_no_origin_is_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        assert!(is_cross_origin(&Method::POST, &headers, None));
        assert!(!is_cross_origin(&Method::POST, &HeaderMap::new(), None));
    }
}
