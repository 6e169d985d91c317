//! Ids of events whose request has an `Idempotency-Key`.
//!
//! Invariant: the same key, body and position always produce the same id, in every process and version, so that the
//! store recognises a repeated request, also from another address or with another access key. A different body under the
//! same key produces other ids; another client does not, unless it belongs to another tenant.

use sha1_smol::Sha1;
use uuid::{Builder, Uuid};

use crate::access::TenantId;

/// Maximum length of the key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The namespace of the ids. It never changes: otherwise repeats would look new.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d1f_4c0e_9a54_5b7e_8f3a_2b60_c7d1_e894);

/// The key is empty, too long, or contains characters other than visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters")]
pub struct InvalidIdempotencyKey;

/// The ids of the events of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerivedIds {
    request: Uuid,
}

impl DerivedIds {
    /// The ids of the events in `body`, sent under `key`. They are UUIDs of version 8 (RFC 9562, section 5.8): a hash
    /// of key and body, with the position at the end, so that events with the same time keep the order of the request.
    ///
    /// # Errors
    /// The key is not 1 to [`IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII characters.
    pub fn new(key: &[u8], body: &[u8]) -> Result<Self, InvalidIdempotencyKey> {
        Self::of_tenant(None, key, body)
    }

    /// The same in a request of this tenant, if there is one: other tenants get other ids.
    ///
    /// # Errors
    /// See [`DerivedIds::new`].
    pub fn of_tenant(tenant: Option<TenantId>, key: &[u8], body: &[u8]) -> Result<Self, InvalidIdempotencyKey> {
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !key.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidIdempotencyKey);
        }
        // A UUID of version 5. Hashed in parts, because `Uuid::new_v5` would need a copy of key and body in one buffer.
        let mut hash = Sha1::new();
        // The key has no zero byte, so no part of the body can be mistaken for the key.
        [NAMESPACE.as_bytes(), key, &[0], body].into_iter().for_each(|part| hash.update(part));
        if let Some(tenant) = tenant {
            // Without a tenant the ids are those that every version has derived.
            hash.update(tenant.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash.digest().bytes()).for_each(|(byte, of_hash)| *byte = of_hash);
        Ok(Self { request: Builder::from_sha1_bytes(bytes).into_uuid() })
    }

    /// Identifies this key and body.
    #[must_use]
    pub fn fingerprint(&self) -> Uuid {
        self.request
    }

    /// The id of the event at this position in the request, from 0 to 65,535.
    #[must_use]
    pub fn id(&self, index: usize) -> Uuid {
        let mut bytes = self.request.into_bytes();
        if let Some(position) = bytes.last_chunk_mut() {
            *position = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
        }
        Uuid::new_v8(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ids(key: &str, body: &str) -> DerivedIds {
        DerivedIds::new(key.as_bytes(), body.as_bytes()).expect("valid")
    }

    #[test]
    fn the_ids_of_a_request_never_change() {
        assert_eq!(ids("order-42", "[1]").id(0).to_string(), "f158f4dd-ef22-8efc-b413-62d4fb9e0000");
        assert_eq!(ids("order-42", "[1]").id(9_999).to_string(), "f158f4dd-ef22-8efc-b413-62d4fb9e270f");
    }

    #[test]
    fn hashing_in_parts_equals_hashing_in_one_piece() {
        for bytes in [0, 1, 54, 55, 56, 63, 64, 65, 1_000] {
            let body = "x".repeat(bytes);
            let whole = Uuid::new_v5(&NAMESPACE, format!("key\0{body}").as_bytes());
            assert_eq!(ids("key", &body).fingerprint(), whole, "{bytes}");
        }
    }

    #[test]
    fn another_key_body_or_position_produces_another_id() {
        let mut all = HashSet::new();
        for (key, body) in [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "b"), ("a", "")] {
            for index in [0, 1, 256, 9_999] {
                assert!(all.insert(ids(key, body).id(index)), "{key} {body} {index}");
            }
            assert!((0..10_000).map(|index| ids(key, body).id(index)).is_sorted(), "{key} {body}");
            assert!(all.insert(ids(key, body).fingerprint()), "{key} {body}");
            assert_eq!(ids(key, body).fingerprint(), ids(key, body).fingerprint());
        }
    }

    #[test]
    fn each_tenant_has_other_ids_and_so_have_requests_without_one() {
        let of = |tenant: Option<&str>| {
            DerivedIds::of_tenant(tenant.map(TenantId::of_name), b"order-42", b"[1]").expect("valid").id(0)
        };
        assert_eq!(of(None), ids("order-42", "[1]").id(0));
        let all: HashSet<Uuid> = [of(None), of(Some("shop")), of(Some("till"))].into();
        assert_eq!(all.len(), 3);
        assert_eq!(of(Some("shop")), of(Some("shop")));
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        for key in ["", "a b", "a\t", "\u{e9}", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(DerivedIds::new(key.as_bytes(), b""), Err(InvalidIdempotencyKey), "{key:?}");
        }
        assert!(DerivedIds::new("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"".as_bytes(), b"").is_ok());
        assert!(DerivedIds::new("x".repeat(255).as_bytes(), b"").is_ok());
    }
}
