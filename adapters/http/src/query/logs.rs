//! Finding events.

use std::sync::Arc;

use domain::query::{LogQuery, StoredEvent};
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented, JsonBytes};
use crate::openapi::schemas::{EventPage, StoredEventSchema, Tag};
use crate::query::cursor;
use crate::query::dependencies::ConsumerDependencies;
use crate::query::params::{filter, invalid, refuse_unknown_parameters};
use crate::query::stored_event::write_stored_event;

/// How a query answers.
pub struct Querying;

impl Documented for Querying {
    const SUCCESS: (u16, &'static str) = (200, "Events, newest first");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "A parameter is unknown or out of range"),
        (503, "The query takes too long (`query_too_broad`), or the store does not answer"),
    ];
}

/// How a look-up answers.
pub struct Finding;

impl Documented for Finding {
    const SUCCESS: (u16, &'static str) = (200, "The event");
    const FAILURES: &'static [(u16, &'static str)] =
        &[(400, "The id is not a UUID"), (404, "There is no such event"), (503, "The store does not answer")];
}

/// Finding events.
pub struct LogsApi;

#[OpenApi(prefix_path = "/api")]
impl LogsApi {
    /// Find events
    ///
    /// Ordered by timestamp and eventId, newest first. All conditions must hold.
    #[oai(path = "/logs", method = "get", operation_id = "getLogs", tag = "Tag::Query")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn get_logs(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Exact source.
        source: Query<Option<String>>,
        /// Level; several are separated by commas, or the parameter is repeated.
        level: Query<Option<Vec<String>>>,
        /// Earliest timestamp, inclusive.
        from: Query<Option<OffsetDateTime>>,
        /// Latest timestamp, exclusive.
        to: Query<Option<OffsetDateTime>>,
        /// Part of the message, in any case.
        #[oai(validator(min_length = 1, max_length = 1024))]
        q: Query<Option<String>>,
        /// W3C trace id.
        #[oai(name = "traceId", validator(pattern = "^[0-9A-Fa-f]{32}$"))]
        trace_id: Query<Option<String>>,
        /// Most events of the page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Answer<JsonBytes<EventPage>, Querying> {
        let answer = async {
            refuse_unknown_parameters(request, &["source", "level", "from", "to", "q", "traceId", "limit", "cursor"])?;
            let filter = filter(source.0, level.0, from.0, to.0, q.0, trace_id.0)?;
            let after = cursor
                .0
                .map(|text| cursor::read(&text).ok_or("is not a nextCursor of an earlier page"))
                .transpose()
                .map_err(invalid("cursor"))?;
            let query = LogQuery { filter, after, limit: limit.0 };
            // Every condition is a field, so none can be missing from what tells queries apart.
            let key = format!("/api/logs {query:?}");
            let LogQuery { filter, after, limit } = query;
            let bytes = dependencies.cached(&key, async {
                let page = dependencies.query.page(filter, after, Some(limit)).await?;
                let next_cursor = page.next().as_ref().map(cursor::write);
                Ok(event_page(&page.items, next_cursor.as_deref()))
            });
            JsonBytes::held(bytes.await?, &dependencies.bodies)
        };
        answer.await.into()
    }

    /// Read one event
    #[oai(path = "/logs/:eventId", method = "get", operation_id = "getLog", tag = "Tag::Query")]
    async fn get_log(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Identity of the event.
        #[oai(name = "eventId")]
        event_id: Path<Uuid>,
    ) -> Answer<JsonBytes<StoredEventSchema>, Finding> {
        let answer = async {
            refuse_unknown_parameters(request, &[])?;
            let found = dependencies.query.find(event_id.0).await?;
            let stored = found.ok_or(ApiError::NotFound { detail: "there is no event with this id" })?;
            let mut bytes = Vec::new();
            write_stored_event(&stored, &mut bytes);
            Ok::<_, ApiError>(JsonBytes::new(bytes))
        };
        answer.await.into()
    }
}

fn default_limit() -> u32 {
    domain::query::PAGE_EVENTS_DEFAULT
}

/// Writes an [`EventPage`].
pub fn event_page(events: &[StoredEvent], next_cursor: Option<&str>) -> Vec<u8> {
    let mut buffer = b"{\"events\":[".to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        write_stored_event(event, &mut buffer);
    }
    buffer.extend_from_slice(b"],\"nextCursor\":");
    buffer.extend_from_slice(Value::from(next_cursor).to_string().as_bytes());
    buffer.push(b'}');
    buffer
}
