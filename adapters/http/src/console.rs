//! The console: a page in the browser, from files that are part of the program.
//!
//! Constraints and invariants:
//! * The files are not secret and have no data in them, so anyone may have them, under the host rules of every page. What the
//!   page shows, it asks the API for.
//! * The page may load scripts, styles and data from its own origin only, and no markup can become script
//!   (`Content-Security-Policy`, `require-trusted-types-for`).
//! * A browser asks each time whether its copy is current: after an update no page mixes files of two versions. What an open page
//!   imports later has a hash of its content in its name, so it is found only as it was when the page was loaded.
//! * Only files of the table are served, by their exact names.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};
use poem::{IntoResponse, Request, Response, ResponseBuilder};

use crate::error::ApiError;
use crate::routes::CONSOLE;

/// The page itself.
const INDEX: &str = "index.html";

/// What the page may do, and who may show it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Headers of all answers below `/console`.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// A file of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleFile {
    /// Its path below `/console/`, with `/` between folders.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// What tells its content from any other: letters and digits.
    pub tag: &'static str,
    /// Its content.
    pub content: &'static [u8],
}

/// The files of the console.
#[derive(Clone)]
pub struct Console {
    files: Arc<[Served]>,
}

struct Served {
    file: ConsoleFile,
    /// Compressed when it is first asked for; `None` if that makes it no smaller.
    gzip: OnceLock<Option<Bytes>>,
}

impl Console {
    /// Serves these files.
    #[must_use]
    pub fn new(files: &[ConsoleFile]) -> Self {
        Self { files: files.iter().map(|file| Served { file: *file, gzip: OnceLock::new() }).collect() }
    }

    /// Answers a request for a file of the console, or for the console without a slash at the end.
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let Some(below) = request.uri().path().strip_prefix(CONSOLE) else {
            return ApiError::nothing_here().into_response();
        };
        let Some(path) = below.strip_prefix('/') else {
            // The names of the files are relative to the slash.
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            return with_headers(StatusCode::TEMPORARY_REDIRECT)
                .header(header::LOCATION, format!("{CONSOLE}/{query}"))
                .finish();
        };
        let path = if path.is_empty() { INDEX } else { path };
        match self.files.iter().find(|served| served.file.path == path) {
            Some(served) => served.answer(request.headers()),
            None => ApiError::nothing_here().into_response(),
        }
    }
}

impl Served {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let gzip = if accepts_gzip(headers) { self.gzip() } else { None };
        let etag = |coding: &str| format!("\"{}{coding}\"", self.file.tag);
        // Each coding is a representation of its own (RFC 9110, section 8.8.3.3).
        let own = etag(if gzip.is_some() { "-gzip" } else { "" });
        let is_current = is_among(headers, &etag("")) || is_among(headers, &etag("-gzip"));
        let status = if is_current { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let response =
            with_headers(status).header(header::ETAG, own).header(header::VARY, header::ACCEPT_ENCODING.as_str());
        if is_current {
            return response.finish();
        }
        let response = response.header(header::CONTENT_TYPE, self.file.media_type);
        match gzip {
            Some(compressed) => response.header(header::CONTENT_ENCODING, "gzip").body(compressed),
            None => response.body(Bytes::from_static(self.file.content)),
        }
    }

    fn gzip(&self) -> Option<Bytes> {
        let compressed = self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing into memory does not fail.
            encoder.write_all(self.file.content).ok()?;
            encoder.finish().ok().filter(|gzip| gzip.len() < self.file.content.len()).map(Bytes::from)
        });
        compressed.clone()
    }
}

fn with_headers(status: StatusCode) -> ResponseBuilder {
    HEADERS.into_iter().fold(Response::builder().status(status), |response, (name, value)| response.header(name, value))
}

/// Whether a client takes gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let is_excluded = parts.any(|weight| {
            weight.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
        });
        is_gzip && !is_excluded
    })
}

/// Whether a client has the representation with this tag (RFC 9110, section 13.1.2).
fn is_among(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use poem::http::{Method, Uri};

    use super::*;

    const PAGE: &[u8] = b"<!doctype html>";
    const SCRIPT: &[u8] = b"let a = 1;let a = 1;let a = 1;let a = 1;let a = 1;let a = 1;let a = 1;let a = 1;";

    fn console() -> Console {
        let file = |path, media_type, content: &'static [u8]| ConsoleFile { path, media_type, tag: "0a1b", content };
        Console::new(&[
            file(INDEX, "text/html; charset=utf-8", PAGE),
            file("assets/console.js", "text/javascript; charset=utf-8", SCRIPT),
        ])
    }

    fn get(path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let uri: Uri = path.parse().expect("a path");
        let mut request = Request::builder().method(Method::GET).uri(uri);
        for (name, value) in headers {
            request = request.header(name.clone(), *value);
        }
        console().answer(&request.finish())
    }

    fn header_of(response: &Response, name: HeaderName) -> Option<&str> {
        response.headers().get(name).map(|value| value.to_str().expect("text"))
    }

    #[tokio::test]
    async fn files_are_served_with_their_type_and_the_headers_of_the_design() {
        for (path, media_type, content) in [
            ("/console/", "text/html; charset=utf-8", PAGE),
            ("/console/?query=a", "text/html; charset=utf-8", PAGE),
            ("/console/index.html", "text/html; charset=utf-8", PAGE),
            ("/console/assets/console.js", "text/javascript; charset=utf-8", SCRIPT),
        ] {
            let response = get(path, &[]);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header_of(&response, header::CONTENT_TYPE), Some(media_type), "{path}");
            assert_eq!(header_of(&response, header::ETAG), Some("\"0a1b\""));
            assert_eq!(header_of(&response, header::VARY), Some("accept-encoding"));
            for (name, value) in HEADERS {
                assert_eq!(header_of(&response, name), Some(value), "{path}");
            }
            assert_eq!(response.into_body().into_bytes().await.expect("a body"), content, "{path}");
        }
    }

    #[test]
    fn nothing_else_is_served() {
        for path in [
            "/console/console.js",
            "/console/assets",
            "/console/assets/",
            "/console//index.html",
            "/console/../index.html",
            "/console/INDEX.HTML",
            "/console/explore",
            "//console/",
        ] {
            assert_eq!(get(path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
        }
        let redirect = get("/console?query=a%20b", &[]);
        assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(header_of(&redirect, header::LOCATION), Some("/console/?query=a%20b"));
    }

    #[test]
    fn a_current_copy_is_not_sent_again() {
        for tags in ["\"0a1b\"", "\"0a1b-gzip\"", "W/\"0a1b\"", "\"x\", \"0a1b\"", "*"] {
            let response = get("/console/", &[(header::IF_NONE_MATCH, tags)]);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert!(header_of(&response, header::ETAG).is_some());
            assert_eq!(header_of(&response, header::CACHE_CONTROL), Some("no-cache"));
        }
        for tags in ["\"0a1c\"", "0a1b", ""] {
            assert_eq!(get("/console/", &[(header::IF_NONE_MATCH, tags)]).status(), StatusCode::OK, "{tags}");
        }
    }

    #[tokio::test]
    async fn a_file_is_compressed_if_the_client_takes_that_and_it_is_smaller_then() {
        let response = get("/console/assets/console.js", &[(header::ACCEPT_ENCODING, "br, GZIP;q=0.5")]);
        assert_eq!(header_of(&response, header::CONTENT_ENCODING), Some("gzip"));
        assert_eq!(header_of(&response, header::ETAG), Some("\"0a1b-gzip\""));
        let compressed = response.into_body().into_bytes().await.expect("a body");
        let mut content = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut content).expect("gzip");
        assert_eq!(content, SCRIPT);
        for accepted in ["br", "gzip;q=0", "identity", "gzipped", ""] {
            let response = get("/console/assets/console.js", &[(header::ACCEPT_ENCODING, accepted)]);
            assert_eq!(header_of(&response, header::CONTENT_ENCODING), None, "{accepted}");
        }
        let response = get("/console/", &[(header::ACCEPT_ENCODING, "gzip")]);
        assert_eq!(header_of(&response, header::CONTENT_ENCODING), None, "it would be longer");
    }
}
