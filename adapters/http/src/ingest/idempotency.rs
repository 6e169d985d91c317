//! `Idempotency-Key`: the ids that follow from it, and the answer to the same request before.

use domain::idempotency::{DerivedIds, InvalidIdempotencyKey};
use domain::ports::{Client, IdempotencyStore, IdempotentRequest, Recollection, RequestClass};
use poem::http::HeaderMap;

use crate::error::ApiError;

/// Names a request that may be repeated.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that an answer was given before.
pub const REPLAYED: &str = "Idempotency-Replayed";

/// The one `Idempotency-Key` of a request. Its rules are those of [`DerivedIds::new`].
///
/// # Errors
/// There are several, or one that is not text.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(ApiError::InvalidParameter { detail: "Idempotency-Key is given more than once".to_owned() });
    }
    let key = key.to_str().map_err(|_| ApiError::InvalidParameter { detail: InvalidIdempotencyKey.to_string() });
    key.map(Some)
}

/// A request with a key, and the store that remembers its answer.
pub struct Remembered<'a> {
    store: &'a dyn IdempotencyStore,
    request: IdempotentRequest<'a>,
}

impl<'a> Remembered<'a> {
    /// The request of a client whose body gave `ids`.
    pub fn new(
        store: &'a dyn IdempotencyStore,
        client: Client,
        class: RequestClass,
        key: &'a str,
        ids: &DerivedIds,
    ) -> Self {
        Self { store, request: IdempotentRequest { client, class, key, fingerprint: ids.fingerprint() } }
    }

    /// The answer that the same request got before, if it did.
    ///
    /// # Errors
    /// The key was used with another body.
    pub async fn earlier_answer(&self) -> Result<Option<Vec<u8>>, ApiError> {
        match self.store.begin(&self.request).await {
            Recollection::New => Ok(None),
            Recollection::Answered(answer) => Ok(Some(answer)),
            Recollection::OtherBody => Err(ApiError::IdempotencyKeyReused),
        }
    }

    /// Keeps the answer for the next request with this key.
    pub async fn keep(&self, answer: &[u8]) {
        self.store.finish(&self.request, answer).await;
    }
}
