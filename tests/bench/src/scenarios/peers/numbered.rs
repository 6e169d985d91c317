//! Numbered events, whose numbers are found again in every form of record.

use serde_json::Value;
use testkit::agent_bodies::{AgentEvents, FIRST_NANOS};

use crate::agent_bodies;
use crate::events::{BATCH_EVENTS, EVENT_BYTES, sources};

/// Sources, and bodies of each kind.
const SOURCES: usize = 64;
/// Begins the number of an event, which is at the beginning of its message. No other text of an event has it.
const MARK: u8 = b'~';
const DIGITS: usize = 10;

/// What a request, or a write to a connection, contains: 100 events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// An array of the native API.
    Json,
    /// OTLP in protobuf.
    OtlpProtobuf,
    /// OTLP in JSON.
    OtlpJson,
    /// One JSON object per line, over TCP.
    Lines,
}

impl Body {
    /// Its name in the tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::OtlpProtobuf => "OTLP protobuf",
            Self::OtlpJson => "OTLP JSON",
            Self::Lines => "lines over TCP",
        }
    }

    /// Path and content type of its requests; `None` over TCP.
    #[must_use]
    pub const fn request(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Json => Some(("/api/logs/batch", "application/json")),
            Self::OtlpProtobuf => Some(("/v1/logs", "application/x-protobuf")),
            Self::OtlpJson => Some(("/v1/logs", "application/json")),
            Self::Lines => None,
        }
    }

    /// One body of each source.
    #[must_use]
    pub fn all(self) -> Vec<Vec<u8>> {
        let mark = format!("{}{:0DIGITS$}", char::from(MARK), 0);
        let of_source = |(seed, source): (u64, &String)| {
            let mut events = agent_bodies::events(seed, EVENT_BYTES, source, BATCH_EVENTS);
            for event in &mut events.events {
                event.message.replace_range(..mark.len(), &mark);
            }
            self.encode(&events)
        };
        (1..).zip(&sources(SOURCES)).map(of_source).collect()
    }

    fn encode(self, events: &AgentEvents) -> Vec<u8> {
        match self {
            Self::Json => events.array(),
            Self::OtlpProtobuf => events.otlp_protobuf(FIRST_NANOS),
            Self::OtlpJson => events.otlp_json(FIRST_NANOS),
            Self::Lines => {
                let events: Vec<Value> = serde_json::from_slice(&events.array()).expect("an array of events");
                events.iter().map(|event| format!("{event}\n")).collect::<String>().into_bytes()
            }
        }
    }
}

/// A body whose events get other numbers.
pub struct Template {
    bytes: Vec<u8>,
    /// Where the digits of each number begin.
    positions: Vec<usize>,
}

impl Template {
    /// Of a body of [`Body::all`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let positions = marks(&bytes).map(|(position, _)| position).collect();
        Self { bytes, positions }
    }

    /// The body whose events have the numbers from `first` on.
    #[must_use]
    pub fn numbered(&self, first: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (number, position) in (first..).zip(&self.positions) {
            bytes[*position..*position + DIGITS].copy_from_slice(format!("{number:0DIGITS$}").as_bytes());
        }
        bytes
    }
}

/// The numbers of the events in a record or body.
pub fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    marks(bytes).map(|(_, number)| number)
}

/// Where the digits of each number begin, and the number.
fn marks(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        while let Some(mark) = bytes.get(rest..)?.iter().position(|byte| *byte == MARK) {
            // A length in protobuf may look like a mark, but digits do not follow it.
            let position = rest + mark + 1;
            rest = position;
            if let Some(number) = bytes.get(position..position + DIGITS).and_then(number_of) {
                rest += DIGITS;
                return Some((position, number));
            }
        }
        None
    })
}

fn number_of(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_the_numbers_that_were_asked_for() {
        for body in [Body::Json, Body::OtlpProtobuf, Body::OtlpJson, Body::Lines] {
            let bodies = body.all();
            assert_eq!(bodies.len(), SOURCES, "{body:?}");
            for bytes in bodies {
                let length = bytes.len();
                let numbered = Template::new(bytes).numbered(700);
                assert_eq!(numbered.len(), length, "{body:?}");
                assert!(numbers(&numbered).eq(700..800), "{body:?}");
            }
        }
    }

    #[test]
    fn a_mark_without_a_number_is_none() {
        assert!(numbers(b"~~0000000007~12~x~0000000008").eq([7, 8]));
        assert!(numbers(b"~000000000").next().is_none());
    }
}
