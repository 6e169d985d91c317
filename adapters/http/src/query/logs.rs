//! Finding events.

use std::sync::Arc;

use domain::query::{Direction, Order, PageKey, StoredEvent};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{Enum, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::access::admitted::tenant_of;
use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented, JsonBytes};
use crate::openapi::schemas::{EventPage, StoredEventSchema, Tag};
use crate::query::cursor;
use crate::query::dependencies::ConsumerDependencies;
use crate::query::params::{invalid, refuse_unknown_parameters};
use crate::query::search::search;
use crate::query::stored_event::{write_events, write_stored_event};

/// Which end of the order comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum SortOrder {
    /// The oldest event.
    Asc,
    /// The newest event.
    Desc,
}

impl From<SortOrder> for Direction {
    fn from(order: SortOrder) -> Self {
        match order {
            SortOrder::Asc => Self::OldestFirst,
            SortOrder::Desc => Self::NewestFirst,
        }
    }
}

/// How a query answers.
pub struct Querying;

impl Documented for Querying {
    const SUCCESS: (u16, &'static str) = (200, "Events");
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
    /// Ordered by timestamp and eventId. All conditions must hold.
    #[oai(path = "/logs", method = "get", operation_id = "getLogs", tag = "Tag::Query")]
    async fn get_logs(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Which end comes first; the newest event unless given. A cursor keeps its order.
        order: Query<Option<SortOrder>>,
        /// Most events of the page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before, or a cursor of the context of an event.
        cursor: Query<Option<String>>,
    ) -> Answer<JsonBytes<EventPage>, Querying> {
        let answer = async {
            let search = search(request, &["order", "limit", "cursor"], dependencies.query.now())?;
            let limit = limit.0;
            let (order, after) = position(order.0, cursor.0.as_deref())?;
            // Every condition is a field, so none can be missing from what tells queries apart.
            let key = format!("/api/logs {} {order:?} {after:?} {limit}", search.key());
            let bytes = dependencies.cached(&key, async {
                let page = dependencies.query.page(&search, order, after, Some(limit)).await?;
                let next_cursor = page.next().map(|key| cursor::write(order, &key));
                let found_nothing = page.items.is_empty() && after.is_none();
                let hints = if found_nothing { search.hints() } else { Vec::new() };
                Ok(event_page(&page.items, next_cursor.as_deref(), &hints))
            });
            JsonBytes::held(bytes.await?, &dependencies.bodies)
        };
        answer.await.into()
    }
}

/// Where a page begins, and its order.
fn position(order: Option<SortOrder>, cursor: Option<&str>) -> Result<(Order, Option<PageKey>), ApiError> {
    let asked = order.map(Direction::from);
    let Some(cursor) = cursor else {
        return Ok((Order { direction: asked.unwrap_or_default(), ..Order::default() }, None));
    };
    let (order, after) =
        cursor::read(cursor).ok_or("is not a nextCursor of an earlier page").map_err(invalid("cursor"))?;
    if asked.is_some_and(|direction| direction != order.direction) {
        return Err(invalid("cursor")("belongs to a page in the other order: leave out order, or the cursor"));
    }
    Ok((order, Some(after)))
}

/// Reading one event.
pub struct EventApi;

#[OpenApi(prefix_path = "/api")]
impl EventApi {
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
            let found = dependencies.query.find(event_id.0, tenant_of(request).as_ref()).await?;
            let stored = found.ok_or(ApiError::NotFound { detail: "no event has this id" })?;
            let mut bytes = Vec::new();
            write_stored_event(&stored, &mut bytes);
            JsonBytes::held(bytes, &dependencies.bodies)
        };
        answer.await.into()
    }
}

fn default_limit() -> u32 {
    domain::query::PAGE_EVENTS_DEFAULT
}

/// Writes an [`EventPage`]; without hints, it has no such member.
pub fn event_page(events: &[StoredEvent], next_cursor: Option<&str>, hints: &[String]) -> Vec<u8> {
    let mut buffer = b"{\"events\":".to_vec();
    write_events(events, &mut buffer);
    buffer.extend_from_slice(b",\"nextCursor\":");
    buffer.extend_from_slice(Value::from(next_cursor).to_string().as_bytes());
    if !hints.is_empty() {
        buffer.extend_from_slice(b",\"hints\":");
        buffer.extend_from_slice(Value::from(hints).to_string().as_bytes());
    }
    buffer.push(b'}');
    buffer
}
