//! The id of a request: the client's own or a new one. It is on the answer and on every log line about the request.

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Names a request in logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that a client can give to a request, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

#[expect(clippy::disallowed_methods, reason = "names a line in the log, not an event")]
fn new_request_id() -> Uuid {
    Uuid::now_v7()
}

/// The id that the client gave, if it is short and visible, or else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers
        .get(X_REQUEST_ID)
        .filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
    given.cloned().unwrap_or_else(|| {
        let id = new_request_id().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_the_id_that_it_came_with_unless_it_is_unfit_for_a_log() {
        let id = |given: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given).expect("a header"));
            request_id(&headers)
        };
        assert_eq!(id(b"abc-1"), "abc-1");
        assert_eq!(id(&[b'x'; 128]).as_bytes(), [b'x'; 128]);
        for unfit in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(id(unfit).len(), 36, "{unfit:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
