//! Whether a page of another site made a request.
//!
//! A browser sends requests of any page to any server, and refuses only to show the answer. So what changes something
//! is refused unless the browser says that the request is of this site (Fetch Metadata, W3C; RFC 6454, section 7).
//! Programs send neither header.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Which page made a request, relative to the host that it was sent to.
pub const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request that may change something was made by a page of another site. `authority` is the host that it was
/// sent to.
pub fn is_cross_origin(method: &Method, headers: &HeaderMap, authority: Option<&str>) -> bool {
    !method.is_safe() && is_of_other_page(headers, authority)
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
    fn what_changes_something_comes_from_a_program_or_a_page_of_this_site() {
        let (site, origin) = (SEC_FETCH_SITE, header::ORIGIN);
        let own: [&[(HeaderName, &str)]; 5] = [
            &[],
            &[(site.clone(), "same-origin")],
            &[(site.clone(), "none")],
            &[(origin.clone(), "http://localhost:8080")],
            &[(origin.clone(), "https://LOCALHOST:8080")],
        ];
        for given in own {
            assert!(!refused(Method::POST, given), "{given:?}");
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
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert!(refused(method, given), "{given:?}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(!refused(method, given), "{given:?}");
            }
        }
    }

    #[test]
    fn without_a_host_no_origin_is_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        assert!(is_cross_origin(&Method::POST, &headers, None));
        assert!(!is_cross_origin(&Method::POST, &HeaderMap::new(), None));
    }
}
