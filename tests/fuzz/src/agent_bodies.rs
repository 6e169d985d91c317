//! Bodies of log agents, from their bytes to records.
//!
//! The first byte chooses the protocol, the rest is the body, with repetitions as in [`expanded`]. Invariants:
//! * A body is taken as a whole or refused as a whole, and nothing panics.
//! * Every entry of a body that is taken becomes a record that decodes to a valid event: no entry is refused by itself.
//! * The same body has the same records again, in their order.

use std::sync::Arc;

use adapter_http::agents::decode;
use application::codec;
use application::ingest::{AgentIntake, Ingest};
use domain::record::Records;

use crate::events::{Bus, check_storable, deliver_all, ingest};
use crate::input::expanded;

/// Maximum body: enough for each limit of an entry, and small enough for many of them.
const BODY_BYTES_MAX: usize = 500_000;

/// Path and media type of each protocol.
const PROTOCOLS: [(&str, &str); 9] = [
    ("/api/logs/ingest", "application/json"),
    ("/v1/logs", "application/x-protobuf"),
    ("/v1/logs", "application/json"),
    ("/_bulk", "application/x-ndjson"),
    ("/loki/api/v1/push", "application/x-protobuf"),
    ("/loki/api/v1/push", "application/json"),
    ("/services/collector", ""),
    ("/services/collector/raw", ""),
    ("/services/collector/ack", ""),
];

/// The target.
pub fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let (path, media_type) = PROTOCOLS[usize::from(*choice) % PROTOCOLS.len()];
    let body = expanded(rest, BODY_BYTES_MAX);
    let bus = Arc::new(Bus::default());
    let ingest = ingest(&bus);
    let first = records(&ingest, &bus, path, media_type, &body);
    for record in first.iter().flat_map(|records| records.iter()) {
        let event = codec::decode(record).expect("an event of an agent decodes");
        check_storable(&event);
    }
    assert_eq!(records(&ingest, &bus, path, media_type, &body), first, "the same body has other records");
}

/// The records of a body, by batch; `None` if it is refused.
fn records(ingest: &Ingest, bus: &Bus, path: &str, media_type: &str, body: &[u8]) -> Option<Records> {
    let mut intake: AgentIntake<'_> = ingest.agent_intake("fuzz", None);
    let taken = decode(path, media_type, body, &mut intake).expect("an agent sends to this path");
    let entries = intake.entries();
    taken.then(|| {
        let records = deliver_all(intake, bus);
        assert_eq!(records.len(), entries, "an entry is missing");
        records
    })
}
