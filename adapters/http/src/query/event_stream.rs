//! Server-Sent Events (WHATWG HTML, section 9.2).
//!
//! A task of its own fetches what a tail has to say and hands it over one block at a time, no sooner than the
//! connection has taken the block before: a slow reader holds up nobody and fills no memory.

use std::io;
use std::io::Write as _;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use application::tail::{Follow, TailItem};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame};
use poem::http::header;
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use tokio::sync::mpsc;

use crate::query::stored_event::write_stored_event;

/// Media type of event streams.
pub const EVENT_STREAM: &str = "text/event-stream";

/// An endless answer whose events carry JSON of schema `T`.
pub struct EventStream<T> {
    blocks: mpsc::Receiver<Bytes>,
    schema: PhantomData<fn() -> T>,
}

impl<T> EventStream<T> {
    /// Begins to send what a tail says.
    pub fn of(mut follow: Follow) -> Self {
        let (sender, blocks) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let items = tokio::select! {
                    () = sender.closed() => return,
                    items = follow.next() => items,
                };
                let Some(items) = items else { return };
                let block = write(&items);
                // A slow reader keeps the block, and not also what it was written from.
                drop(items);
                if sender.send(block.into()).await.is_err() {
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
            .body(Body::from(BoxBody::new(Blocks(self.blocks))))
    }
}

struct Blocks(mpsc::Receiver<Bytes>);

impl HttpBody for Blocks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(ready!(self.0.poll_recv(context)).map(|block| Ok(Frame::data(block))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_says_where_to_resume() {
        let items = [TailItem::Missed { events: 3, sequence: 7 }, TailItem::Nothing { sequence: 8 }];
        let text = String::from_utf8(write(&items)).expect("text");
        assert_eq!(text, "id: 7\nevent: missed\ndata: {\"events\":3}\n\nid: 8\n\n");
    }
}
