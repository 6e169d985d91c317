use async_trait::async_trait;
use uuid::Uuid;

use super::{Client, RequestClass};

/// Most bytes of an answer that is kept for a repeat.
pub const KEPT_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A request that came with an `Idempotency-Key`.
///
/// The key counts for one client and one class of requests: two clients that know nothing of each other may both use the
/// key `1`. A client is what a rate limit takes for one, so that clients behind one address share their keys, and a
/// client whose address changes begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotentRequest<'a> {
    /// Who sent it.
    pub client: Client,
    /// What it was sent to.
    pub class: RequestClass,
    /// The key: 1 to [`crate::idempotency::IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII characters.
    pub key: &'a str,
    /// What tells its body from others: [`crate::idempotency::DerivedIds::fingerprint`].
    pub fingerprint: Uuid,
}

/// What is remembered of earlier requests with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recollection {
    /// No answer: go on.
    New,
    /// The same body was answered before, with these bytes.
    Answered(Vec<u8>),
    /// The key came with another body before.
    OtherBody,
}

/// Remembers answers, so that a request that is sent again gets the answer that it got before.
///
/// Promises: a key belongs to the body that came with it first, and keeps its first answer. Both are remembered for a
/// configured time, which begins anew with the answer. A request whose body is not answered yet is new, however often it
/// comes: what it does twice has the same event ids (see [`crate::idempotency`]), and the store keeps one of each.
/// Never fails: while its server is away every request is new and nothing is remembered.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// What is remembered of this key; from now on it belongs to this body, unless it belonged to another one before.
    async fn begin<'a>(&self, request: &IdempotentRequest<'a>) -> Recollection;

    /// Keeps the answer to a request that was begun, unless the key has an answer or another body by now. An answer of
    /// more than [`KEPT_ANSWER_BYTES_MAX`] is not kept, and an empty one is none.
    async fn finish<'a>(&self, request: &IdempotentRequest<'a>, answer: &[u8]);
}
