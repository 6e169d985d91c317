//! Events as the HTTP outputs of log agents send them: Fluent Bit, Vector, Logstash, log4j2, winston and others.
//!
//! A body is an object, an array, objects one after another, or lines, whatever its media type says. The native
//! operations stay strict; here every entry is kept, and fields have many names ([`crate::ingest::agents::fields`]).

use application::ingest::{AgentEntry, AgentIntake, Outcome, line};
use domain::event::SOURCE_BYTES_MAX;
use poem::http::StatusCode;
use poem::{IntoResponse, Request, Response};

use crate::body::Coding;
use crate::error::ApiError;
use crate::ingest::agents::fields::document;
use crate::ingest::agents::json_values::{Item, items};
use crate::ingest::agents::lines::add_lines;
use crate::ingest::agents::protocol::{AgentAnswer, AgentProtocol, Parameters, body_text, is_text, media_type};
use crate::ingest::native::batch_accepted;
use crate::ingest::protocol::DecodeError;

/// `POST /api/logs/ingest`.
pub struct Objects;

impl AgentProtocol for Objects {
    fn name(&self) -> &'static str {
        "ingest"
    }

    fn coding(&self, request: &Request) -> Result<Coding, ApiError> {
        let media_type = media_type(request.headers());
        if media_type.starts_with("multipart/") || media_type == "application/x-www-form-urlencoded" {
            let detail = format!(
                "{media_type:?} is not supported: send Content-Type: application/json, or text/plain for lines of text"
            );
            return Err(ApiError::UnsupportedMediaType { detail });
        }
        Coding::of_agent(request.headers())
    }

    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        let (body, parameters) = (body_text(body), Parameters::of(request));
        let now = intake.received_at();
        // Every entry gets a copy, so that no more is copied than a source has.
        let source = parameters.source.as_deref().unwrap_or_default();
        let source = source.get(..source.floor_char_boundary(SOURCE_BYTES_MAX)).filter(|source| !source.is_empty());
        let add = |mut entry: AgentEntry<'static>, intake: &mut AgentIntake<'_>| {
            if entry.source.is_none() {
                entry.source = source.map(|source| source.to_owned().into());
            }
            intake.add(entry, None).map(drop)
        };
        if is_text(&media_type(request.headers())) && !body.trim_start().starts_with(['{', '[']) {
            add_lines(&body, now, |entry| add(entry, intake))?;
        } else {
            items(&body, intake, |item, intake| {
                let entry = match item {
                    Item::Object(object, members) => document(object, members, now),
                    Item::Text(text) => line(text, now),
                };
                Ok(add(entry, intake)?)
            })?;
        }
        if intake.entries() == 0 {
            return Err(DecodeError::Malformed("the body has no events".to_owned()));
        }
        Ok(Vec::new())
    }

    fn answer(&self, _request: &Request, outcome: &Outcome, _note: Vec<u8>) -> AgentAnswer {
        // Many clients send again after an error, so that accepted events would come twice.
        let is_accepted = outcome.accepted.total() > 0;
        AgentAnswer {
            status: if is_accepted { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST },
            media_type: Some("application/json"),
            body: batch_accepted(outcome),
        }
    }

    fn error(&self, _request: &Request, error: ApiError) -> Response {
        error.into_response()
    }
}

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use proptest::prelude::*;
    use serde_json::json;

    use crate::ingest::agents::tests::{Sent, send};
    use crate::routes::decode_agent_body as decode;

    const PATH: &str = "/api/logs/ingest";

    async fn ingest(path: &str, media_type: Option<&str>, body: &[u8]) -> Sent {
        let headers: Vec<_> = media_type.map(|media_type| ("content-type", media_type)).into_iter().collect();
        send(Method::POST, path, &headers, body).await
    }

    #[tokio::test]
    async fn events_of_winston_are_taken() {
        let body = include_bytes!("../../../tests/recorded/ingest-winston.json");
        let sent = ingest(PATH, Some("application/json"), body).await;
        assert_eq!((sent.status, sent.json()["accepted"].as_u64()), (202, Some(3)));
        assert_eq!(sent.all("level"), ["ERROR", "INFO", "WARN"]);
        assert_eq!(sent.events[1]["metadata"], json!({ "labels": { "order": "0" }, "order_id": 0 }));
    }

    #[tokio::test]
    async fn a_body_is_understood_whatever_its_media_type_says() {
        let objects = r#"{"date":1705314600.123456,"log":"a"}{"date":1705314600.2,"log":"b"}"#;
        for media_type in
            [None, Some("text/json"), Some("application/ndjson"), Some("application/x+json"), Some("jsonl")]
        {
            let sent = ingest(PATH, media_type, objects.as_bytes()).await;
            assert_eq!((sent.status, sent.all("message")), (202, vec![&json!("a"), &json!("b")]), "{media_type:?}");
            assert_eq!(sent.all("timestamp"), ["2024-01-15T10:30:00.123456Z", "2024-01-15T10:30:00.2Z"]);
        }
        let lines = "\u{feff}one line\n{\"msg\":\"m\",\"lvl\":\"err\"}\r\nlast".as_bytes();
        let sent = ingest("/api/logs/ingest?source=my-app", Some("text/plain"), lines).await;
        assert_eq!(sent.all("message"), ["m", "one line", "last"], "ERROR is in another lane");
        assert_eq!(sent.all("source"), ["my-app"; 3]);
        for (query, source) in [("src=short", "short"), ("src=short&source=long", "long"), ("other=x", "unknown")] {
            let sent = ingest(&format!("{PATH}?{query}"), Some("text/plain"), b"line").await;
            assert_eq!(sent.all("source"), [source], "{query}");
        }
        let sent = ingest("/api/logs/ingest?source=my-app", Some("text/plain"), lines).await;
        assert_eq!(sent.events[0]["level"], "ERROR");
    }

    #[tokio::test]
    async fn forms_and_empty_bodies_are_refused() {
        for (media_type, body, status) in [
            ("application/x-www-form-urlencoded", "a=b", 415),
            ("multipart/form-data; boundary=x", "", 415),
            ("application/json", " ", 400),
            ("application/json", "[]", 400),
        ] {
            let sent = ingest(PATH, Some(media_type), body.as_bytes()).await;
            assert_eq!(sent.status, status, "{media_type}");
            let names_the_header = String::from_utf8_lossy(&sent.body).contains("send Content-Type: application/json");
            assert_eq!(names_the_header, status == 415, "{media_type}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let ingest = crate::ingest::tests::ingest_with_room();
            let mut intake = ingest.agent_intake("ingest", None);
            prop_assert!(decode(PATH, "", &body, &mut intake).is_some());
        }
    }
}
