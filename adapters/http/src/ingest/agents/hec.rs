//! Splunk's HTTP Event Collector (docs.splunk.com, "Format events for HTTP Event Collector").
//!
//! Envelopes stand one after another; what is `event` in them is a text or an object. Raw bodies are lines. With a
//! channel the answer comes once everything is on disk or on the bus, so that every acknowledgement asked for is true.

use std::sync::atomic::{AtomicU64, Ordering};

use application::ingest::{AgentEntry, AgentIntake, AgentStop, Members, Outcome, line, state};
use domain::delivery::Guarantee;
use domain::metadata::{JsonKind, JsonValue, UsualMember, UsualReader};
use poem::http::StatusCode;
use poem::{Request, Response};

use crate::error::ApiError;
use crate::ingest::agents::fields::{cut_json, document, usual_members};
use crate::ingest::agents::json_values::{Item, items, plain};
use crate::ingest::agents::lines::add_lines;
use crate::ingest::agents::protocol::{AgentAnswer, AgentProtocol, Fixed, Parameters, body_text, error_answer};
use crate::ingest::agents::times::AgentTime;
use crate::ingest::protocol::DecodeError;

const JSON: &str = "application/json";
const CHANNEL: &str = "x-splunk-request-channel";

/// The number of the next acknowledgement. Its value says nothing, but a client wants another one for each request.
static NEXT_ACK: AtomicU64 = AtomicU64::new(0);

/// The answer to a probe.
pub static HEALTHY: Fixed = Fixed { body: r#"{"text":"HEC is healthy","code":17}"#, header: None };

/// Envelopes.
pub struct Envelopes;

/// Lines.
pub struct RawLines;

impl AgentProtocol for Envelopes {
    fn name(&self) -> &'static str {
        "hec"
    }

    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        let (body, parameters) = (body_text(body), Parameters::of(request));
        require_durability(request, &parameters, intake);
        let mut reader = UsualReader::default();
        let envelopes = items(&body, intake, |item, intake| {
            match item {
                Item::Object(object, members) => add_envelope((object, members), &mut reader, &parameters, intake)?,
                Item::Text(text) => {
                    let mut entry = line(text, intake.received_at());
                    entry.fault = Some("envelope_invalid");
                    add(entry, &Origin::default(), &parameters, intake)?;
                }
            }
            Ok(())
        })?;
        if envelopes == 0 {
            let what = if intake.entries() == 0 { NO_DATA } else { "Invalid data format" };
            return Err(DecodeError::Malformed(what.to_owned()));
        }
        Ok(Vec::new())
    }

    fn answer(&self, request: &Request, outcome: &Outcome, _note: Vec<u8>) -> AgentAnswer {
        taken(request, outcome)
    }

    fn error(&self, _request: &Request, error: ApiError) -> Response {
        refused(error)
    }
}

impl AgentProtocol for RawLines {
    fn name(&self) -> &'static str {
        "hec"
    }

    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        let (body, parameters) = (body_text(body), Parameters::of(request));
        require_durability(request, &parameters, intake);
        let origin = Origin::default();
        add_lines(&body, intake.received_at(), |entry| add(entry, &origin, &parameters, intake))?;
        if intake.entries() == 0 {
            return Err(DecodeError::Malformed(NO_DATA.to_owned()));
        }
        Ok(Vec::new())
    }

    fn answer(&self, request: &Request, outcome: &Outcome, _note: Vec<u8>) -> AgentAnswer {
        taken(request, outcome)
    }

    fn error(&self, _request: &Request, error: ApiError) -> Response {
        refused(error)
    }
}

/// Questions about earlier requests.
pub struct Acknowledgements;

impl AgentProtocol for Acknowledgements {
    fn name(&self) -> &'static str {
        "hec"
    }

    fn decode(&self, _request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        let answer = acknowledgements(body).ok_or_else(|| {
            DecodeError::TooLarge(format!("a request may ask for {ACKS_MAX} acknowledgements: ask for fewer"))
        })?;
        intake.note(answer.len())?;
        Ok(answer)
    }

    fn answer(&self, _request: &Request, _outcome: &Outcome, note: Vec<u8>) -> AgentAnswer {
        AgentAnswer { status: StatusCode::OK, media_type: Some(JSON), body: note }
    }

    fn error(&self, _request: &Request, error: ApiError) -> Response {
        refused(error)
    }
}

/// Most acknowledgements that a request may ask for: clients ask for those of the requests that they have in work.
const ACKS_MAX: usize = 10_000;

/// What a client asks about the acknowledgements of earlier requests: all of them are there. `None` if it asks for too many.
fn acknowledgements(body: &[u8]) -> Option<Vec<u8>> {
    let body = body_text(body);
    let numbers =
        JsonValue::new(&body).members().filter(|(name, _)| name == "acks").flat_map(|(_, acks)| acks.elements());
    let mut answer = "{\"acks\":{".to_owned();
    for (index, number) in numbers.filter_map(|number| number.json().parse::<u64>().ok()).enumerate() {
        if index == ACKS_MAX {
            return None;
        }
        answer.push_str(&format!("{}\"{number}\":true", if index == 0 { "" } else { "," }));
    }
    answer.push_str("}}");
    Some(answer.into_bytes())
}

const NO_DATA: &str = "No data";
/// Splunk's code for data that is not valid.
const DATA_INVALID: u8 = 6;
/// Splunk's code for an index that a token may not write: of its codes with the status 400, the nearest.
const INDEX_FORBIDDEN: u8 = 7;
/// The code of a key that is not valid.
const CREDENTIALS_INVALID: &str = "credentials_invalid";

/// What an envelope says beside its event.
#[derive(Default)]
struct Origin {
    source: Option<String>,
    sourcetype: Option<String>,
    host: Option<String>,
    index: Option<String>,
    time: Option<AgentTime>,
    fields: Members,
}

impl Origin {
    /// Reads a member of an envelope. `event` gets the event.
    fn read<'a>(&mut self, name: &str, value: JsonValue<'a>, event: &mut Option<JsonValue<'a>>) {
        let text =
            || Some(value.plain().into_owned()).filter(|text| !text.is_empty() && value.kind() == JsonKind::Text);
        match name {
            "event" => *event = Some(value),
            "time" => self.time = AgentTime::of_json(value),
            "source" => self.source = text(),
            "sourcetype" => self.sourcetype = text(),
            "host" => self.host = text(),
            "index" => self.index = text(),
            "fields" => value.members().for_each(|(name, value)| self.fields.json(&name, value.json())),
            _ => {}
        }
    }
}

fn add_envelope<'a>(
    (envelope, members): (JsonValue<'a>, Option<&[UsualMember<'a>]>),
    reader: &mut UsualReader<'a>,
    parameters: &Parameters,
    intake: &mut AgentIntake<'_>,
) -> Result<(), AgentStop> {
    let (mut origin, mut event) = (Origin::default(), None);
    match members {
        Some(members) => members.iter().for_each(|(name, value)| origin.read(name, *value, &mut event)),
        None => envelope.members().for_each(|(name, value)| origin.read(&name, value, &mut event)),
    }
    let now = intake.received_at();
    let entry = match event.map(|event| (event.kind(), event)) {
        Some((JsonKind::Object, event)) => document(event, usual_members(event.json(), reader), now),
        Some((JsonKind::Text, event)) => line(&plain(event), now),
        Some((_, event)) => AgentEntry { message: cut_json(event), ..AgentEntry::default() },
        // No envelope: the object is the event.
        None => {
            let mut entry = document(envelope, members, now);
            entry.fault = Some("event_missing");
            return add(entry, &Origin::default(), parameters, intake);
        }
    };
    add(entry, &origin, parameters, intake)
}

/// Takes an event in, with what its envelope and its request say about it.
fn add<'a>(
    mut entry: AgentEntry<'a>,
    origin: &'a Origin,
    parameters: &'a Parameters,
    intake: &mut AgentIntake<'_>,
) -> Result<(), AgentStop> {
    // Borrowed: what a request says about all entries may be long.
    let named = [
        ("source", origin.source.as_deref().or(parameters.source.as_deref())),
        ("sourcetype", origin.sourcetype.as_deref().or(parameters.sourcetype.as_deref())),
        ("host", origin.host.as_deref().or(parameters.host.as_deref())),
        ("index", origin.index.as_deref().or(parameters.index.as_deref())),
    ];
    if entry.source.is_none() {
        entry.source = named.iter().take(3).find_map(|(_, text)| *text).map(Into::into);
    }
    state(&mut entry, origin.time.map(|time| time.timestamp), None);
    let mut metadata = std::mem::take(&mut entry.metadata);
    for (name, text) in named {
        if let Some(text) = text {
            metadata.text_if_absent(name, text);
        }
    }
    metadata.all_or_within("fields", origin.fields.clone());
    entry.metadata = metadata;
    intake.add(entry, None).map(drop)
}

fn has_channel(request: &Request, parameters: &Parameters) -> bool {
    request.headers().contains_key(CHANNEL) || parameters.channel.is_some()
}

/// A client with a channel asks later whether its events are safe, so that they have to be by then.
fn require_durability(request: &Request, parameters: &Parameters, intake: &mut AgentIntake<'_>) {
    if has_channel(request, parameters) {
        intake.require(Guarantee::AtLeastOnce);
    }
}

/// Without an `ackId` unless everything is accepted: every acknowledgement is true.
fn taken(request: &Request, outcome: &Outcome) -> AgentAnswer {
    if let Some(text) = outcome.left_out() {
        let is_forbidden = outcome.refusals.iter().any(|refusal| refusal.reason.is_forbidden());
        let code = if is_forbidden { INDEX_FORBIDDEN } else { DATA_INVALID };
        let body = serde_json::json!({ "text": text, "code": code }).to_string().into_bytes();
        return AgentAnswer { status: StatusCode::BAD_REQUEST, media_type: Some(JSON), body };
    }
    let body = if has_channel(request, &Parameters::of(request)) {
        format!(r#"{{"text":"Success","code":0,"ackId":{}}}"#, NEXT_ACK.fetch_add(1, Ordering::Relaxed))
    } else {
        r#"{"text":"Success","code":0}"#.to_owned()
    };
    AgentAnswer { status: StatusCode::OK, media_type: Some(JSON), body: body.into_bytes() }
}

/// Splunk's codes: 5 no data, 6 invalid data, 7 incorrect index, 8 internal, 9 busy.
fn refused(error: ApiError) -> Response {
    let is_invalid = error.code() == CREDENTIALS_INVALID;
    let status = |status: StatusCode| match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => StatusCode::SERVICE_UNAVAILABLE,
        // As Splunk does: it asks for a token only where there is none.
        StatusCode::UNAUTHORIZED if is_invalid => StatusCode::FORBIDDEN,
        status => status,
    };
    error_answer(error, JSON, status, |described, status| {
        let (text, code) = match status.as_u16() {
            401 => ("Token is required", 2),
            403 if is_invalid => ("Invalid token", 4),
            // A token that may not do this.
            403 => (described.detail.as_str(), 4),
            503 => ("Server is busy", 9),
            500.. => ("Internal server error", 8),
            _ if described.detail == NO_DATA => (NO_DATA, 5),
            _ => (described.detail.as_str(), DATA_INVALID),
        };
        serde_json::json!({ "text": text, "code": code }).to_string().into_bytes()
    })
}

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use proptest::prelude::*;
    use serde_json::json;

    use super::acknowledgements;
    use crate::ingest::agents::tests::{Sent, send};
    use crate::routes::decode_agent_body as decode;

    const PATH: &str = "/services/collector/event";

    async fn hec(path: &str, body: &[u8]) -> Sent {
        send(Method::POST, path, &[("authorization", "Splunk t0ken")], body).await
    }

    #[tokio::test]
    async fn envelopes_of_the_python_client_are_events() {
        let sent = hec(PATH, include_bytes!("../../../tests/recorded/hec-python.json")).await;
        assert_eq!((sent.status, String::from_utf8_lossy(&sent.body)), (200, r#"{"text":"Success","code":0}"#.into()));
        assert_eq!(sent.all("message"), ["check x splunk-handler info 0", "check x splunk-handler error 0"]);
        let event = &sent.events[0];
        let source = "/srv/app/checkout/orders/main.py";
        assert_eq!((&event["source"], &event["timestamp"]), (&json!(source), &json!("2026-11-29T08:04:43.079603Z")));
        let expected = json!({ "source": source, "sourcetype": "_json", "host": "vm", "index": "main" });
        assert_eq!(event["metadata"], expected);
    }

    #[tokio::test]
    async fn events_are_texts_objects_or_anything() {
        let body = br#"{"event":{"message":"m","severity":"error","host":"inner"},
            "time":"1705314600.5","host":"h","fields":{"user":"u"}}
            {"event":"text\n","sourcetype":"st"}{"event":[1]}{"message":"no envelope"}
            not JSON"#;
        let sent = hec("/services/collector/event/1.0", body).await;
        assert_eq!(sent.status, 200);
        assert_eq!(sent.all("message"), ["m", "text", "[1]", "no envelope", "not JSON"]);
        assert_eq!(
            (&sent.events[0]["level"], &sent.events[0]["timestamp"]),
            (&json!("ERROR"), &json!("2024-01-15T10:30:00.5Z"))
        );
        assert_eq!(sent.events[0]["metadata"]["user"], "u");
        assert_eq!(sent.events[1]["source"], "st");
        assert_eq!(sent.events[3]["metadata"]["ingest"]["reason"], "event_missing");
    }

    #[tokio::test]
    async fn raw_lines_are_events() {
        let sent = hec("/services/collector/raw/1.0?source=s&host=h", b"one\n\ntwo\r\n").await;
        assert_eq!((sent.status, sent.all("message")), (200, vec![&json!("one"), &json!("two")]));
        assert_eq!(sent.events[0]["metadata"], json!({ "source": "s", "host": "h" }));
    }

    #[tokio::test]
    async fn with_a_channel_there_are_acknowledgements_and_all_are_true() {
        let path = "/services/collector/raw?channel=c";
        let [first, second] = [hec(path, b"x").await, hec(path, b"x").await].map(|sent| sent.json()["ackId"].as_u64());
        assert!(first.is_some() && first < second, "{first:?} {second:?}");
        for (body, answer) in [(r#"{"acks":[0,7]}"#, r#"{"acks":{"0":true,"7":true}}"#), ("x", r#"{"acks":{}}"#)] {
            assert_eq!(acknowledgements(body.as_bytes()).as_deref(), Some(answer.as_bytes()), "{body}");
        }
        for (numbers, status) in [(10_000, 200), (10_001, 413)] {
            let body = format!(r#"{{"acks":[{}]}}"#, vec!["1"; numbers].join(","));
            assert_eq!(hec("/services/collector/ack", body.as_bytes()).await.status, status, "{numbers}");
        }
        let asked = hec("/services/collector/ack?channel=c", br#"{"acks":[3]}"#).await;
        assert_eq!((asked.status, asked.json()), (200, json!({ "acks": { "3": true } })));
        assert_eq!(send(Method::GET, "/services/collector/health", &[], b"").await.json()["code"], 17);
    }

    #[tokio::test]
    async fn errors_have_splunk_s_codes() {
        for (path, body, code) in
            [(PATH, "", 5), (PATH, "{", 6), (PATH, "text", 6), ("/services/collector/raw", "\n", 5)]
        {
            let sent = hec(path, body.as_bytes()).await;
            assert_eq!((sent.status, sent.json()["code"].as_u64()), (400, Some(code)), "{path} {body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let ingest = crate::ingest::tests::ingest_with_room();
            for path in [PATH, "/services/collector/raw"] {
                let mut intake = ingest.agent_intake("hec", None);
                prop_assert!(decode(path, "", &body, &mut intake).is_some());
            }
            acknowledgements(&body);
        }
    }
}
