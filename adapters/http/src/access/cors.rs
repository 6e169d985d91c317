//! Pages of other origins that may use Spillway (Fetch, section 3.2: CORS).
//!
//! Constraint: they present a key, as programs do. Cookies are never theirs: no answer allows credentials, and
//! [`super::session`] takes none from another page.

use std::str::FromStr;
use std::sync::Arc;

use poem::http::uri::Authority;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, Request, Response};

use super::admitted::Admitted;

/// Headers that pages may send.
const REQUEST_HEADERS: &str = "authorization, content-encoding, content-type, idempotency-key, last-event-id, traceparent, x-api-key, x-request-id";
/// Headers that pages may read.
const RESPONSE_HEADERS: &str =
    "allow, ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, www-authenticate, x-request-id";
/// Methods that pages may use.
const METHODS: &str = "GET, HEAD, POST, PUT";
/// How long a browser need not ask again, in seconds.
const MAX_AGE: &str = "600";
/// Which pages may have an answer that they do not ask for with CORS, such as an image (Fetch, section 3.7).
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// An origin as browsers write it: `https://console.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// The text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an origin such as https://console.example.com: a scheme and a host in lower case, a port unless it is the one of the \
     scheme, and no slash at the end"
)]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, host) = text.split_once("://").ok_or(InvalidOrigin)?;
        let implied = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(InvalidOrigin),
        };
        let authority: Authority = host.parse().map_err(|_| InvalidOrigin)?;
        let is_canonical = authority.as_str() == host && !authority.host().is_empty() && !host.contains(['@', '*']);
        if !is_canonical || host.ends_with(implied) || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidOrigin);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| InvalidOrigin)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// The origins whose pages may use Spillway.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[Origin]>);

impl From<Vec<Origin>> for Origins {
    fn from(origins: Vec<Origin>) -> Self {
        Self(origins.into())
    }
}

impl Origins {
    /// The origin of the page that made a request, if it is one of these.
    pub fn of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut given = headers.get_all(header::ORIGIN).iter();
        let origin = given.next().filter(|_| given.next().is_none())?;
        self.0.iter().find(|Origin(listed)| listed == origin).map(|Origin(listed)| listed.clone())
    }
}

/// An endpoint whose answers the pages of these origins and of its own may have, and no others.
pub fn readable_by<E: Endpoint<Output = Response> + 'static>(
    origins: Origins,
    endpoint: E,
) -> impl Endpoint<Output = Response> + 'static {
    endpoint.around(move |endpoint, request: Request| {
        // The gateway of this process has asked already.
        let is_within = request.extensions().get::<Admitted>().is_some();
        let origin = if is_within { None } else { origins.of(request.headers()) };
        async move {
            let asks = origin.is_some() && is_preflight(&request);
            let mut response = if asks { preflight() } else { endpoint.get_response(request).await };
            let headers = response.headers_mut();
            headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
            let Some(origin) = origin else { return Ok(response) };
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
            headers.append(header::VARY, HeaderValue::from_static("origin"));
            Ok(response)
        }
    })
}

/// Whether a browser asks what a page may send.
fn is_preflight(request: &Request) -> bool {
    *request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "https://console.example.com";

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for text in [CONSOLE, "http://localhost:3000", "https://[2001:db8::1]:8443", "http://192.0.2.1", "http://a:443"]
        {
            assert_eq!(text.parse::<Origin>().expect("an origin").to_string(), text);
        }
        for text in [
            "",
            "*",
            "null",
            "https://*",
            "https://*.example.com",
            "console.example.com",
            "ftp://a",
            "HTTPS://a",
            "https://A",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a:443",
            "http://a:80",
            "https://",
            "https://me@a",
            "https://a b",
            "https://a\r\nx: y",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text}");
        }
    }

    fn origins() -> Origins {
        vec![CONSOLE.parse::<Origin>().expect("an origin")].into()
    }

    /// Lets nobody in.
    struct Refusing;

    impl Endpoint for Refusing {
        type Output = Response;

        async fn call(&self, _: Request) -> poem::Result<Response> {
            Ok(Response::builder().status(StatusCode::FORBIDDEN).finish())
        }
    }

    async fn answer(method: Method, headers: &[(&str, &str)]) -> Response {
        let endpoint = readable_by(origins(), Refusing);
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        endpoint.get_response(request.finish()).await
    }

    #[tokio::test]
    async fn only_listed_origins_may_read_and_none_with_cookies() {
        let listed = answer(Method::GET, &[("origin", CONSOLE)]).await;
        assert_eq!(listed.status(), StatusCode::FORBIDDEN);
        assert_eq!(listed.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], CONSOLE);
        assert_eq!(listed.headers()[header::VARY], "origin");
        assert!(!listed.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        for other in ["https://evil.test", "null", "http://console.example.com", "https://console.example.com:444"] {
            let foreign = answer(Method::GET, &[("origin", other)]).await;
            assert!(!foreign.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{other}");
            assert_eq!(foreign.headers()[CROSS_ORIGIN_RESOURCE_POLICY], "same-origin");
        }
        assert_eq!(listed.headers()[CROSS_ORIGIN_RESOURCE_POLICY], "same-origin");
        let twice = answer(Method::GET, &[("origin", CONSOLE), ("origin", CONSOLE)]).await;
        assert!(!twice.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[tokio::test]
    async fn a_browser_is_told_what_a_listed_page_may_send() {
        let asks = ("access-control-request-method", "POST");
        let listed = answer(Method::OPTIONS, &[("origin", CONSOLE), asks]).await;
        assert_eq!(listed.status(), StatusCode::NO_CONTENT);
        assert_eq!(listed.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], CONSOLE);
        assert!(listed.headers().contains_key(header::ACCESS_CONTROL_ALLOW_HEADERS));
        assert_eq!(answer(Method::OPTIONS, &[("origin", CONSOLE)]).await.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            answer(Method::OPTIONS, &[("origin", "https://evil.test"), asks]).await.status(),
            StatusCode::FORBIDDEN
        );
    }
}
