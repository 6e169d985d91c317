use async_trait::async_trait;
use uuid::Uuid;

use super::{Client, RequestClass};

/// Maximum bytes of an answer that is kept for a repeat.
pub const KEPT_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A request that came with an `Idempotency-Key`.
///
/// The key is scoped to one client and one class of requests: two independent clients may both use the key `1`. A client
/// that shows an access key is identified by the name of that key. Others are identified as in rate limiting, so clients
/// behind one address share their keys, and a client whose address changes starts afresh. That concerns remembered answers: ids
/// do not depend on the client ([`crate::idempotency`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotentRequest<'a> {
    /// The client that sent it.
    pub client: Client,
    /// Its request class.
    pub class: RequestClass,
    /// The key: 1 to [`crate::idempotency::IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII characters.
    pub key: &'a str,
    /// Identifies key and body: [`crate::idempotency::DerivedIds::fingerprint`].
    pub fingerprint: Uuid,
}

/// What is remembered of earlier requests with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recollection {
    /// No answer: process the request.
    New,
    /// The same body was answered with these bytes.
    Answered(Vec<u8>),
    /// The key was used with another body.
    OtherBody,
}

/// Remembers answers, so that a repeated request gets the same answer again.
///
/// Promises: a key belongs to the body that it first came with, and keeps its first answer. Both are remembered for a
/// configured time, which restarts with the answer. A request whose body has not been answered yet counts as new,
/// however often it is repeated: its events have the same ids each time (see [`crate::idempotency`]), and the store
/// keeps one of each. Never fails: while its server is unavailable every request is new and nothing is remembered.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// What is remembered of this key; from now on it belongs to this body, unless it already belongs to another one.
    async fn begin<'a>(&self, request: &IdempotentRequest<'a>) -> Recollection;

    /// Keeps the answer to a request that was begun, unless the key meanwhile has an answer or another body. Answers of
    /// more than [`KEPT_ANSWER_BYTES_MAX`] and empty answers are not kept.
    async fn finish<'a>(&self, request: &IdempotentRequest<'a>, answer: &[u8]);
}
