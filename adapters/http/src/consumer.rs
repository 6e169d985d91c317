//! The query API.

use std::sync::Arc;

use application::query::Query as QueryLogs;
use domain::event::from_hex;
use domain::level::Level;
use domain::query::LogFilter;
use domain::timestamp::Timestamp;
use poem::web::Data;
use poem::{Endpoint, EndpointExt, Request, Response};
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::actuator::{Actuator, ActuatorApi};
use crate::cursor;
use crate::payload::{Answer, Documented, JsonBytes};
use crate::problem::Failure;
use crate::schema::{EventPage, StoredEventSchema, Tag, event_page, write_stored_event};
use crate::service::service_endpoint;

/// The consumer's endpoint.
pub fn consumer_endpoint(query: QueryLogs, actuator: Actuator) -> impl Endpoint<Output = Response> + 'static {
    service_endpoint((ConsumerApi, ActuatorApi), Arc::clone(&actuator.document)).data(Arc::new(query)).data(actuator)
}

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
        &[(400, "The id is no UUID"), (404, "There is no such event"), (503, "The store does not answer")];
}

/// The operations of a consumer.
pub struct ConsumerApi;

#[OpenApi(prefix_path = "/api/logs")]
impl ConsumerApi {
    /// Find events
    ///
    /// Ordered by timestamp and eventId, newest first. All conditions must hold.
    #[oai(path = "/", method = "get", operation_id = "getLogs", tag = "Tag::Query")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn get_logs(
        &self,
        query: Data<&Arc<QueryLogs>>,
        request: &Request,
        /// Exact source.
        source: Query<Option<String>>,
        /// Level; repeat it for several.
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
            let levels = level.0.unwrap_or_default();
            let filter = LogFilter {
                source: source.0,
                levels: levels
                    .iter()
                    .map(|level| Level::parse(level))
                    .collect::<Result<_, _>>()
                    .map_err(invalid("level"))?,
                from: from.0.map(timestamp).transpose().map_err(invalid("from"))?,
                to: to.0.map(timestamp).transpose().map_err(invalid("to"))?,
                text: q.0,
                trace_id: trace_id
                    .0
                    .map(|id| from_hex(&id).ok_or("must have 32 hexadecimal digits"))
                    .transpose()
                    .map_err(invalid("traceId"))?,
            };
            let after = cursor
                .0
                .map(|text| cursor::read(&text).ok_or("is not a nextCursor of an earlier page"))
                .transpose()
                .map_err(invalid("cursor"))?;
            let page = query.page(filter, after, Some(limit.0)).await?;
            let next_cursor = page.next.as_ref().map(cursor::write);
            Ok::<_, Failure>(JsonBytes::new(event_page(&page.events, next_cursor.as_deref())))
        };
        answer.await.into()
    }

    /// Read one event
    #[oai(path = "/:eventId", method = "get", operation_id = "getLog", tag = "Tag::Query")]
    async fn get_log(
        &self,
        query: Data<&Arc<QueryLogs>>,
        request: &Request,
        /// Identity of the event.
        #[oai(name = "eventId")]
        event_id: Path<Uuid>,
    ) -> Answer<JsonBytes<StoredEventSchema>, Finding> {
        let answer = async {
            refuse_unknown_parameters(request, &[])?;
            let found = query.find(event_id.0).await?;
            let stored = found.ok_or(Failure::NotFound { detail: "there is no event with this id" })?;
            let mut bytes = Vec::new();
            write_stored_event(&stored, &mut bytes);
            Ok::<_, Failure>(JsonBytes::new(bytes))
        };
        answer.await.into()
    }
}

fn default_limit() -> u32 {
    domain::query::PAGE_EVENTS_DEFAULT
}

fn timestamp(time: OffsetDateTime) -> Result<Timestamp, &'static str> {
    let micros = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000));
    let timestamp = micros.ok().and_then(|micros| Timestamp::from_unix_micros(micros).ok());
    timestamp.ok_or("must lie between the years 0000 and 9999")
}

fn invalid<E: std::fmt::Display>(parameter: &'static str) -> impl Fn(E) -> Failure {
    move |rule| Failure::InvalidParameter { detail: format!("{parameter}: {rule}") }
}

/// A misspelt condition must not silently widen a query.
fn refuse_unknown_parameters(request: &Request, known: &[&str]) -> Result<(), Failure> {
    let given: Vec<(String, String)> = request
        .params()
        .map_err(|_| Failure::InvalidParameter { detail: "the query string cannot be read".to_owned() })?;
    for (index, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let names = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::InvalidParameter {
                detail: format!("{name} is not a parameter here; known are: {names}"),
            });
        }
        if name != "level" && given.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err(Failure::InvalidParameter { detail: format!("{name} is given more than once") });
        }
    }
    Ok(())
}
