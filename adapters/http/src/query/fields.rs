//! The fields that events have.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::types::ToJSON;

use crate::openapi::payload::{Answer, JsonBytes};
use crate::openapi::schemas::{FieldCount, LogFields, Tag};
use crate::query::dependencies::ConsumerDependencies;
use crate::query::search::search;
use crate::query::stats::Counting;

/// The fields that events have.
pub struct FieldsApi;

#[OpenApi(prefix_path = "/api")]
impl FieldsApi {
    /// Fields of events
    ///
    /// The names in metadata, and the optional fields, of the newest matching events, at most 1,000 of them, with the number of
    /// events that have each.
    #[oai(path = "/logs/fields", method = "get", operation_id = "getLogFields", tag = "Tag::Query")]
    async fn get_fields(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
    ) -> Answer<JsonBytes<LogFields>, Counting> {
        let answer = async {
            let search = search(request, &[], dependencies.query.now())?;
            let key = format!("/api/logs/fields {}", search.key());
            let bytes = dependencies.cached(&key, async {
                let fields = dependencies.query.fields(&search).await?;
                let count = |(name, events)| FieldCount { name, events };
                let answer = LogFields {
                    events: fields.events as u64,
                    complete: fields.complete,
                    fields: fields.fields.into_iter().map(count).collect(),
                };
                Ok(answer.to_json_string().into_bytes())
            });
            JsonBytes::held(bytes.await?, &dependencies.bodies)
        };
        answer.await.into()
    }
}
