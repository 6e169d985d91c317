//! The steps that take in the same events by the protocols of log agents.

use std::sync::Arc;

use adapter_http::decode_agent_body;
use adapter_syslog::entry;
use application::ingest::Ingest;
use testkit::agent_bodies::{AgentEvent, AgentEvents, FIRST_NANOS};

use crate::{EVENTS, Step};

/// The steps, one for each protocol and format.
pub fn steps(ingest: &Arc<Ingest>) -> Vec<Step> {
    let events = events();
    let protobuf = "application/x-protobuf";
    let json = "application/json";
    let mut steps = vec![
        decoding("OTLP in protobuf", ingest, "/v1/logs", protobuf, events.otlp_protobuf(FIRST_NANOS)),
        decoding("OTLP in JSON", ingest, "/v1/logs", json, events.otlp_json(FIRST_NANOS)),
        decoding("Loki in protobuf", ingest, "/loki/api/v1/push", protobuf, events.loki_protobuf(FIRST_NANOS)),
        decoding("Loki in JSON", ingest, "/loki/api/v1/push", json, events.loki_json(FIRST_NANOS)),
        decoding("bulk", ingest, "/_bulk", json, events.bulk()),
        decoding("objects", ingest, "/api/logs/ingest", json, crate::body().into()),
        decoding("envelopes", ingest, "/services/collector", json, events.envelopes()),
    ];
    let (ingest, messages) = (Arc::clone(ingest), events.syslog());
    steps.push(Step::of_batch("syslog", move || {
        let mut intake = ingest.agent_intake("syslog", None);
        for message in &messages {
            let entry = entry(message, intake.received_at());
            intake.add(entry, None).expect("there is room");
        }
    }));
    steps
}

/// Decodes a body, and encodes its events.
fn decoding(
    name: &'static str,
    ingest: &Arc<Ingest>,
    path: &'static str,
    media_type: &'static str,
    body: Vec<u8>,
) -> Step {
    let ingest = Arc::clone(ingest);
    let run = move || {
        let mut intake = ingest.agent_intake("micro", None);
        assert_eq!(decode_agent_body(path, media_type, &body, &mut intake), Some(true), "{path}");
        assert_eq!(intake.entries(), EVENTS, "{path}");
    };
    Step::of_batch(name, run)
}

/// The events, with times of their own in every protocol.
fn events() -> AgentEvents {
    let event = |n: u16| AgentEvent {
        message: format!("payment accepted after retry on upstream for order {n:05} of a session in"),
        millis: n,
        texts: vec![("requestId", format!("{n:016x}")), ("userId", n.to_string())],
        number: Some(("durationMs", n.into())),
    };
    let events = u16::try_from(EVENTS).expect("few");
    AgentEvents { source: "checkout-007".to_owned(), events: (0..events).map(event).collect() }
}
