//! What is sent to the port of syslog and is not syslog.
//!
//! A browser sends a request of any page to any port of its machine, and each line of such a request would be an event. Other
//! clients take the port for one of HTTP or TLS by mistake.

/// Methods of requests that browsers and probes send.
const HTTP_METHODS: [&[u8]; 7] = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"];
/// A control character that begins colours in text.
const ESCAPE: u8 = 0x1b;

/// Whether the first frame of a connection, or a datagram, shows that its sender does not speak syslog: a request of HTTP, or
/// a control character as in TLS, STUN and DTLS. Later frames may contain anything.
pub fn is_of_other_protocol(first: &[u8]) -> bool {
    let text = first.trim_ascii_start();
    let is_binary = text.first().is_some_and(|byte| byte.is_ascii_control() && *byte != ESCAPE);
    let is_request = |method: &&[u8]| text.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" /"));
    is_binary || HTTP_METHODS.iter().any(is_request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_binary_protocols_are_not_syslog() {
        for other in [
            &b"POST / HTTP/1.1\r"[..],
            b"GET /api/logs HTTP/1.1",
            b"OPTIONS / HTTP/1.1",
            // A path of more than a frame has no end.
            b"POST /aaaa",
            // TLS, STUN.
            b"\x16\x03\x01\x02",
            b"\x00\x01\x00\x08!\x12\xa4B",
        ] {
            assert!(is_of_other_protocol(other), "{}", other.escape_ascii());
        }
        for syslog in [
            &b"<14>1 2026-11-29T08:05:00Z host app - - - GET / HTTP/1.1"[..],
            b"<14>app: POST / HTTP/1.1",
            b"Nov 29 08:05:00 host app: text",
            b"POST of a letter",
            b"GET",
            b"POSTGRES /tmp",
            b"\tat com.example.Shop",
            b"\x1b[31mred",
            "\u{feff}text".as_bytes(),
            b"",
        ] {
            assert!(!is_of_other_protocol(syslog), "{}", syslog.escape_ascii());
        }
    }
}
