//! An event and its neighbours.

use std::sync::Arc;

use application::query::{CONTEXT_AFTER, CONTEXT_BEFORE, CONTEXT_EVENTS_DEFAULT, Context, ContextScope};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{Enum, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::access::admitted::tenant_of;
use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented, JsonBytes};
use crate::openapi::schemas::{EventContext, Tag};
use crate::query::cursor;
use crate::query::dependencies::ConsumerDependencies;
use crate::query::params::refuse_unknown_parameters;
use crate::query::stored_event::{write_events, write_stored_event};

/// How the context of an event is shown.
pub struct Surrounding;

impl Documented for Surrounding {
    const SUCCESS: (u16, &'static str) = (200, "The event and its neighbours");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "A parameter is unknown or out of range"),
        (404, "There is no such event"),
        (503, "The query takes too long (`query_too_broad`), or the store does not answer"),
    ];
}

/// Which neighbours to show.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "camelCase")]
pub enum Scope {
    /// Of the same source.
    Source,
    /// Of the same trace.
    TraceId,
    /// All.
    All,
}

impl From<Scope> for ContextScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Source => Self::Source,
            Scope::TraceId => Self::TraceId,
            Scope::All => Self::All,
        }
    }
}

/// The neighbours of an event.
pub struct ContextApi;

#[OpenApi(prefix_path = "/api")]
impl ContextApi {
    /// Events around one
    ///
    /// Oldest first. Events with one timestamp are in the order of their arrival. The cursors continue in both directions with
    /// `GET /api/logs` and the same source or trace.
    #[oai(path = "/logs/:eventId/context", method = "get", operation_id = "getLogContext", tag = "Tag::Query")]
    async fn get_context(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Identity of the event.
        #[oai(name = "eventId")]
        event_id: Path<Uuid>,
        /// Most events before it.
        #[oai(default = "events_default", validator(maximum(value = "500")))]
        before: Query<u32>,
        /// Most events after it.
        #[oai(default = "events_default", validator(maximum(value = "500")))]
        after: Query<u32>,
        /// Which events: of the same source unless given.
        scope: Query<Option<Scope>>,
    ) -> Answer<JsonBytes<EventContext>, Surrounding> {
        let answer = async {
            refuse_unknown_parameters(request, &["before", "after", "scope"])?;
            let scope = scope.0.map(ContextScope::from).unwrap_or_default();
            let tenant = tenant_of(request);
            let context = dependencies.query.context(event_id.0, before.0, after.0, scope, tenant.as_ref());
            let found = context.await?;
            let context = found.ok_or(ApiError::NotFound { detail: "no event has this id" })?;
            JsonBytes::held(write(&context), &dependencies.bodies)
        };
        answer.await.into()
    }
}

fn events_default() -> u32 {
    CONTEXT_EVENTS_DEFAULT
}

fn write(context: &Context) -> Vec<u8> {
    let mut buffer = b"{\"before\":".to_vec();
    write_events(&context.before, &mut buffer);
    buffer.extend_from_slice(b",\"event\":");
    write_stored_event(&context.event, &mut buffer);
    buffer.extend_from_slice(b",\"after\":");
    write_events(&context.after, &mut buffer);
    let cursors = [
        ("beforeCursor", context.more_before.map(|key| cursor::write(CONTEXT_BEFORE, &key))),
        ("afterCursor", context.more_after.map(|key| cursor::write(CONTEXT_AFTER, &key))),
    ];
    for (name, cursor) in cursors {
        buffer.extend_from_slice(format!(",\"{name}\":{}", Value::from(cursor)).as_bytes());
    }
    buffer.push(b'}');
    buffer
}
