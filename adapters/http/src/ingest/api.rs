//! The operations of a producer as poem-openapi describes them. Those that take events are described only: the route table
//! sends their requests to [`ProducerDependencies::accept`].

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{ApiRequest, OpenApi};

use crate::error::ApiError;
use crate::ingest::accept::ProducerDependencies;
use crate::ingest::idempotency::REPLAYED;
use crate::ingest::rate_limit::RATE_LIMIT_HEADERS;
use crate::openapi::payload::{Answer, Documented, Headers, JsonBody, JsonBytes, LinesBody};
use crate::openapi::schemas::{BatchAccepted, EventAccepted, LogEvent, ProducerHealth, SendMetrics, Tag};

/// How ingestion answers.
pub struct Ingestion;

impl Documented for Ingestion {
    const SUCCESS: (u16, &'static str) = (202, "Accepted, with the promise that `durability` names");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "The body cannot be read, or every event breaks a rule"),
        (408, "The body did not arrive in time"),
        (413, "The body is too large, there are too many events, or every event is over the record limit"),
        (415, "The media type or content coding is not supported"),
        (422, "The Idempotency-Key was used with another body (`idempotency_key_reused`)"),
        (429, "Over the rate limit"),
        (502, "An instance broke off: it is not known whether the events were kept"),
        (503, "Nothing was accepted: at capacity"),
        (504, "It is not known whether the events were kept"),
    ];
    const SUCCESS_FLAGS: Headers = &[(REPLAYED, "The request was answered before: this is that answer")];
    const HEADERS: Headers = RATE_LIMIT_HEADERS;
}

/// How health answers.
pub struct AlwaysAnswers;

impl Documented for AlwaysAnswers {
    const SUCCESS: (u16, &'static str) = (200, "How the producer is");
    const FAILURES: &'static [(u16, &'static str)] = &[];
}

/// The ways to write a batch.
#[derive(ApiRequest)]
#[expect(dead_code, reason = "only its schema is used")]
pub enum BatchBody {
    /// A JSON array.
    Array(JsonBody<Vec<LogEvent>>),
    /// JSON lines.
    Lines(LinesBody),
}

/// The operations of a producer.
pub struct ProducerApi;

#[OpenApi(prefix_path = "/api/logs")]
impl ProducerApi {
    /// Hand over one event
    #[oai(path = "/", method = "post", operation_id = "postLog", tag = "Tag::Ingestion")]
    async fn post_log(
        &self,
        /// Gives the event an id that is the same whenever the same body is sent under the same key, so that the store
        /// recognises a repeat. Where answers are remembered, the repeat has the same answer, and another body under
        /// the same key is refused.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        _key: Header<Option<String>>,
        _event: JsonBody<LogEvent>,
    ) -> Answer<JsonBytes<EventAccepted>, Ingestion> {
        ApiError::Internal.into()
    }

    /// Hand over up to 10,000 events
    ///
    /// As a JSON array, or as JSON lines. A bad event never fails its neighbours: `errors` names each one. A body that
    /// should be a JSON array and is not accepts nothing; a bad line fails alone.
    #[oai(path = "/batch", method = "post", operation_id = "postLogBatch", tag = "Tag::Ingestion")]
    async fn post_batch(
        &self,
        /// Gives events without an id one that is the same whenever the same body is sent under the same key, so that
        /// the store recognises repeats. Where answers are remembered, the repeat has the same answer unless that had
        /// an error that is retryable, and another body under the same key is refused.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        _key: Header<Option<String>>,
        _events: BatchBody,
    ) -> Answer<JsonBytes<BatchAccepted>, Ingestion> {
        ApiError::Internal.into()
    }

    /// How a producer is
    #[oai(path = "/health", method = "get", operation_id = "getLogHealth", tag = "Tag::Operations")]
    async fn health(
        &self,
        dependencies: Data<&Arc<ProducerDependencies>>,
    ) -> Answer<Json<ProducerHealth>, AlwaysAnswers> {
        let totals = dependencies.ingest.delivery().status().totals;
        Answer::Success(Json(ProducerHealth {
            status: if dependencies.health.is_ready() { "UP" } else { "DOWN" }.to_owned(),
            metrics: SendMetrics {
                messages_sent: totals.sent,
                messages_failed: totals.failed,
                avg_send_duration: totals.mean_duration_ms,
            },
        }))
    }
}
