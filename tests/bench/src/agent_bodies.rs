//! Generated events, for the protocols of log agents.

use serde_json::Value;
use testkit::agent_bodies::{AgentEvent, AgentEvents};

use crate::events::Events;

/// The time of all events in protocols with milliseconds.
const TIMESTAMP: &str = "2026-01-01T00:00:00.000Z";
/// Members of the metadata that are texts, and the one that is a number.
const TEXTS: [&str; 2] = ["requestId", "userId"];
const NUMBER: &str = "durationMs";

/// Events of one source. They have no metadata if they are too small for it.
#[must_use]
pub fn events(seed: u64, bytes: usize, source: &str, count: usize) -> AgentEvents {
    let batch = Events::new(seed, bytes, "INFO", TIMESTAMP).batch(source, count);
    let events: Vec<Value> = serde_json::from_str(&batch).expect("an array of events");
    let event = |event: &Value| AgentEvent {
        message: event["message"].as_str().expect("a text").to_owned(),
        millis: 0,
        texts: TEXTS
            .into_iter()
            .filter_map(|name| Some((name, event["metadata"][name].as_str()?.to_owned())))
            .collect(),
        number: event["metadata"][NUMBER].as_u64().map(|number| (NUMBER, number)),
    };
    AgentEvents { source: source.to_owned(), events: events.iter().map(event).collect() }
}

/// A push of Loki in protobuf, in a block of snappy.
#[must_use]
pub fn loki_snappy(events: &AgentEvents, first_nanos: u64) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&events.loki_protobuf(first_nanos)).expect("it is small")
}

/// Messages of syslog, each with its length in front of it.
#[must_use]
pub fn syslog(events: &AgentEvents) -> Vec<u8> {
    events.syslog().iter().map(|message| format!("{} {message}", message.len())).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_are_the_generated_ones() {
        let events = events(7, 225, "checkout-001", 10);
        let batch = Events::new(7, 225, "INFO", TIMESTAMP).batch("checkout-001", 10);
        assert_eq!(String::from_utf8(events.array()).expect("text"), batch);
    }
}
