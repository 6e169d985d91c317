//! Server-Sent Events (WHATWG HTML, section 9.2).
//!
//! A task of its own fetches what a tail has to say and sends it as [`blocks`]. The tail itself says something every few
//! seconds, but not while the store does not answer.

use std::io::Write as _;
use std::marker::PhantomData;

use application::tail::{Follow, TailItem};
use http_body_util::combinators::BoxBody;
use poem::http::header;
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;

use crate::query::blocks::{Blocks, blocks};
use crate::query::stored_event::write_stored_event;

/// A comment.
const COMMENT: &str = ":\n";

/// Media type of event streams.
pub const EVENT_STREAM: &str = "text/event-stream";

/// An endless answer whose events carry JSON of schema `T`.
pub struct EventStream<T> {
    blocks: Blocks,
    schema: PhantomData<fn() -> T>,
}

impl<T> EventStream<T> {
    /// Begins to send what a tail says.
    pub fn of(mut follow: Follow) -> Self {
        let (sender, blocks) = blocks(COMMENT);
        tokio::spawn(async move {
            while let Some(Some(items)) = sender.wait_for(follow.next()).await {
                let block = write(&items);
                // A slow reader keeps the block, and not also what it was written from.
                drop(items);
                if sender.send(Ok(block.into())).await.is_none() {
                    return;
                }
            }
        });
        Self { blocks, schema: PhantomData }
    }
}

/// Events without a name reach `onmessage` of a browser's `EventSource`; `missed` is for readers that ask for it. A
/// block with nothing but an id moves the place where the reader will resume.
fn write(items: &[TailItem]) -> Vec<u8> {
    let mut block = Vec::new();
    for item in items {
        // Writing into memory does not fail.
        let _ = match item {
            TailItem::Event { sequence, event } => {
                let _ = write!(block, "id: {sequence}\ndata: ");
                write_stored_event(event, &mut block);
                block.write_all(b"\n\n")
            }
            TailItem::Missed { events, sequence } => {
                write!(block, "id: {sequence}\nevent: missed\ndata: {{\"events\":{events}}}\n\n")
            }
            TailItem::Nothing { sequence } => write!(block, "id: {sequence}\n\n"),
        };
    }
    block
}

impl<T: Type> Payload for EventStream<T> {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some(
                "Server-Sent Events. Each unnamed event has a StoredEvent as its data; an event `missed` has \
                 {\"events\": n}, the number of stored events that the reader was too slow for.",
            ),
            ..MetaSchema::new("string")
        }))
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Send> IntoResponse for EventStream<T> {
    fn into_response(self) -> Response {
        Response::builder()
            .header(header::CONTENT_TYPE, EVENT_STREAM)
            .header(header::CACHE_CONTROL, "no-store")
            // Proxies of the nginx kind would hold back what is meant to be seen at once.
            .header("x-accel-buffering", "no")
            .body(Body::from(BoxBody::new(self.blocks)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use application::tail::Tail;
    use bytes::Bytes;
    use domain::filter::EventFilter;
    use domain::ports::{MockLogStore, StoreError};
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_not_silent_while_the_store_does_not_answer() {
        let mut store = MockLogStore::new();
        store.expect_tail().returning(|_| Err(StoreError::Unavailable("away".into())));
        let follow =
            Tail::new(Arc::new(store)).follow(EventFilter::default(), Some(7), Box::pin(std::future::pending()));
        let mut stream = EventStream::<String>::of(follow.expect("a tail"));
        for _ in 0..3 {
            let frame = tokio::time::timeout(Duration::from_secs(15), stream.blocks.frame()).await;
            let frame = frame.expect("it is not silent").expect("a frame").expect("no error");
            assert_eq!(frame.into_data().ok(), Some(Bytes::from_static(b":\n")));
        }
    }

    #[test]
    fn every_item_says_where_to_resume() {
        let items = [TailItem::Missed { events: 3, sequence: 7 }, TailItem::Nothing { sequence: 8 }];
        let text = String::from_utf8(write(&items)).expect("text");
        assert_eq!(text, "id: 7\nevent: missed\ndata: {\"events\":3}\n\nid: 8\n\n");
    }
}
