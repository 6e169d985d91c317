//! Following events.

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;

use crate::{DEADLINE, Http};

/// A reader of Server-Sent Events.
pub struct Tail {
    body: Incoming,
    received: Vec<u8>,
}

impl Tail {
    /// Opens a tail, and waits for the head of the response.
    pub async fn open(http: &Http, query: &str, last_event_id: Option<&str>) -> Self {
        let last: Vec<_> = last_event_id.map(|id| ("last-event-id", id)).into_iter().collect();
        Self::open_with(http, query, &last).await
    }

    /// The same with these headers.
    pub async fn open_with(http: &Http, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = hyper::Request::builder().uri(format!("{}/api/logs/tail{query}", http.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).expect("a request");
        let answer = tokio::time::timeout(DEADLINE, http.client.request(request)).await.expect("in time");
        let answer = answer.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        Self { body: answer.into_body(), received: Vec::new() }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(String::from_utf8(line).expect("UTF-8").trim_end().to_owned());
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("a line in time")?;
            self.received.extend_from_slice(frame.ok()?.data_ref().expect("no trailers"));
        }
    }

    /// The next block that begins with an id: the id, and its JSON if it has any; `None` at the end.
    pub async fn next(&mut self) -> Option<(String, Option<Value>)> {
        loop {
            let Some(id) = self.line().await?.strip_prefix("id: ").map(str::to_owned) else { continue };
            let line = self.line().await?;
            return Some((id, line.strip_prefix("data: ").map(|json| serde_json::from_str(json).expect("JSON"))));
        }
    }

    /// The next event, with its id.
    pub async fn event(&mut self) -> (String, Value) {
        loop {
            if let (id, Some(event)) = self.next().await.expect("an event before the end") {
                return (id, event);
            }
        }
    }
}
