//! Following events as they are stored.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Header;

use crate::access::admitted::end_of_right;
use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented};
use crate::openapi::schemas::{StoredEventSchema, Tag};
use crate::query::dependencies::ConsumerDependencies;
use crate::query::event_stream::EventStream;
use crate::query::search::search;

/// How a tail answers.
pub struct Following;

impl Documented for Following {
    const SUCCESS: (u16, &'static str) = (200, "Events as they are stored, until the client or the server leaves");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "A parameter is unknown or out of range"),
        (503, "This instance has as many tails as it may have (`too_many_tails`)"),
    ];
}

/// Following events.
pub struct TailApi;

#[OpenApi(prefix_path = "/api")]
impl TailApi {
    /// Follow events as they are stored
    ///
    /// Server-Sent Events. Begins with what is stored from now on, or after `Last-Event-ID`; a browser's `EventSource`
    /// resumes by itself. A tail ends when its key does. A reader that has fallen too far behind is told how many events it missed.
    #[oai(path = "/logs/tail", method = "get", operation_id = "tailLogs", tag = "Tag::Query")]
    async fn tail(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// The id of the last event that was seen.
        #[oai(name = "Last-Event-ID", validator(maximum(value = "9000000000000000")))]
        last_event_id: Header<Option<u64>>,
    ) -> Answer<EventStream<StoredEventSchema>, Following> {
        let follow = || {
            let filter = search(request, &[], dependencies.query.now())?.filter();
            let (draining, ended) = (dependencies.health.draining(), end_of_right(request));
            let stopping = Box::pin(async move {
                tokio::select! {
                    () = draining => {}
                    () = ended => {}
                }
            });
            let follow = dependencies.tail.follow(filter, last_event_id.0, stopping)?;
            Ok::<_, ApiError>(EventStream::of(follow))
        };
        follow().into()
    }
}
