//! Request bodies with events, from their bytes to records.
//!
//! The input is a body, with repetitions as in [`expanded`]. It is parsed as a single event, as a JSON array and as JSON
//! lines. Invariants:
//! * An event is accepted, with the same record, or refused, with the same code, in every format and in any company. An
//!   accepted batch is complete, and a refused one leaves nothing.
//! * An accepted event has every member that the client sent, under the contract's rules.
//! * An accepted event decodes to one that encodes to the same bytes, and every store can hold it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter_http::native::{NESTING_MAX, take_event, take_events, take_lines};
use application::codec;
use application::delivery::Delivery;
use application::ingest::{AgentIntake, Ingest, Intake, PROMISE_TIMEOUT, REQUEST_EVENTS_MAX};
use async_trait::async_trait;
use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::{DeliveryPolicy, Durability, Guarantee};
use domain::event::{IdOrigin, LogEvent, SOURCE_BYTES_MAX, TEXT_BYTES_MAX, to_hex};
use domain::level::Level;
use domain::metadata::{METADATA_BYTES_MAX, METADATA_DEPTH_MAX};
use domain::partition::{PRIORITY_PARTITION, Partition, Partitioner, PriorityLane};
use domain::ports::{
    Appended, BusState, Clock, IdSource, PublishError, Receipt, RecordPublisher, RequestClass, Telemetry,
};
use domain::record::{RECORD_BYTES_MAX, Record, RecordBatch, Records};
use domain::timestamp::Timestamp;
use serde_json::value::RawValue;

use crate::input::expanded;
use crate::json::Json;

/// Maximum body: enough for each limit of an event.
const BODY_BYTES_MAX: usize = 1_500_000;
/// In larger batches the events are counted but not compared, so that no input takes seconds.
const COMPARED_EVENTS_MAX: usize = 100;
const PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
/// The id of each event sent without one.
const ID: Uuid = Uuid::from_u128(7);

/// The target.
pub fn run(input: &[u8]) {
    let body = expanded(input, BODY_BYTES_MAX);
    let bus = Arc::new(Bus::default());
    let ingest = ingest(&bus);
    single(&ingest, &bus, &body);
    array(&ingest, &bus, &body);
    lines(&ingest, &bus, &body);
}

/// The records that the events of a body become, in each format.
#[must_use]
pub fn accepted(input: &[u8]) -> Records {
    let body = expanded(input, BODY_BYTES_MAX);
    let bus = Arc::new(Bus::default());
    let ingest = ingest(&bus);
    let mut all = Records::default();
    let mut intakes = vec![ingest.intake(None, None), ingest.intake(None, None)];
    let _ = take_event(&body, &mut intakes[0]);
    let _ = take_lines(&body, &mut intakes[1]);
    let mut array = ingest.intake(None, None);
    intakes.extend(take_events(&body, &mut array).map(|()| array));
    for batch in intakes.into_iter().flat_map(|intake| taken(intake, &bus).batches) {
        batch.records.iter().for_each(|record| all.push_found(record));
    }
    all
}

/// The outcome of a request.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// By index.
    refusals: Vec<(usize, &'static str)>,
    accepted: usize,
    batches: Vec<RecordBatch>,
}

/// The outcome of an event.
enum Fate {
    /// The index of its lane, and the batch that it makes alone.
    Accepted(usize, RecordBatch),
    Refused(&'static str),
}

fn single(ingest: &Ingest, bus: &Bus, body: &[u8]) {
    let mut intake = ingest.intake(None, None);
    let taken_in = take_event(body, &mut intake).is_ok();
    assert_eq!(taken_in, is_readable(body), "a body is read if it is JSON that is not nested too deep");
    let taken = taken(intake, bus);
    if taken_in {
        check(body, &fate(taken));
    } else {
        assert_eq!(taken, Taken { refusals: Vec::new(), accepted: 0, batches: Vec::new() });
    }
}

fn array(ingest: &Ingest, bus: &Bus, body: &[u8]) {
    let mut intake = ingest.intake(None, None);
    let taken_in = take_events(body, &mut intake).map(|()| intake);
    let elements = serde_json::from_slice::<Vec<&RawValue>>(body).ok();
    let elements = elements.filter(|all| all.len() <= REQUEST_EVENTS_MAX && is_readable(body));
    assert_eq!(
        taken_in.is_ok(),
        elements.is_some(),
        "a body is read if it is a JSON array within the limit of elements"
    );
    if let (Ok(intake), Some(elements)) = (taken_in, elements) {
        let taken = taken(intake, bus);
        let alone = |element: &&RawValue| alone(ingest, bus, element.get().as_bytes());
        compare(&taken, &elements, alone, "an event in an array");
    }
}

fn lines(ingest: &Ingest, bus: &Bus, body: &[u8]) {
    let mut intake = ingest.intake(None, None);
    let taken_in = take_lines(body, &mut intake);
    let lines: Vec<&[u8]> =
        body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    assert_eq!(
        taken_in.is_ok(),
        lines.len() <= REQUEST_EVENTS_MAX,
        "a body is read if it is within the limit of lines"
    );
    if taken_in.is_ok() {
        let taken = taken(intake, bus);
        let alone = |line: &&[u8]| {
            if is_readable(line) { alone(ingest, bus, line) } else { Fate::Refused("line_invalid") }
        };
        compare(&taken, &lines, alone, "an event on a line");
    }
}

/// Whether this is JSON that is not nested too deep.
fn is_readable(json: &[u8]) -> bool {
    if serde_json::from_slice::<&RawValue>(json).is_err() {
        return false;
    }
    let (mut depth, mut deepest, mut rest) = (0_usize, 0, json.iter());
    while let Some(byte) = rest.next() {
        match byte {
            // A string: up to the quotation mark without a backslash before it.
            b'"' => while rest.next().is_some_and(|byte| *byte != b'"' && (*byte != b'\\' || rest.next().is_some())) {},
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest <= NESTING_MAX
}

/// The outcome of a JSON element that is sent alone.
fn alone(ingest: &Ingest, bus: &Bus, element: &[u8]) -> Fate {
    let mut intake = ingest.intake(None, None);
    assert!(take_event(element, &mut intake).is_ok(), "an element that is JSON is JSON alone");
    let fate = fate(taken(intake, bus));
    check(element, &fate);
    fate
}

/// Compares a batch with the outcomes of its elements sent alone.
fn compare<T>(taken: &Taken, elements: &[T], alone: impl Fn(&T) -> Fate, what: &str) {
    assert_eq!(taken.accepted + taken.refusals.len(), elements.len(), "{what} has one outcome");
    let records: usize = taken.batches.iter().map(|batch| batch.records.len()).sum();
    assert_eq!(taken.accepted, records, "{what} has one record");
    if elements.len() > COMPARED_EVENTS_MAX {
        return;
    }
    let mut refusals = Vec::new();
    let mut lanes: Vec<Option<RecordBatch>> = (0..=PARTITIONS.get()).map(|_| None).collect();
    for (index, element) in elements.iter().enumerate() {
        match alone(element) {
            Fate::Refused(code) => refusals.push((index, code)),
            Fate::Accepted(slot, batch) => match &mut lanes[slot] {
                Some(lane) => push_all(&mut lane.records, &batch.records),
                lane => *lane = Some(batch),
            },
        }
    }
    assert_eq!(taken.refusals, refusals, "{what} is refused as it is alone");
    let batches: Vec<RecordBatch> = lanes.into_iter().flatten().collect();
    assert_eq!(taken.batches, batches, "{what} is accepted as it is alone");
}

fn push_all(records: &mut Records, more: &Records) {
    for record in more.iter() {
        let pushed = records.push(record.key, record.timestamp, record.client_id, |buffer| {
            buffer.extend_from_slice(record.value);
        });
        assert!(pushed.is_ok(), "a record that was accepted once is not too large");
    }
}

/// The outcome of the only event of a request.
fn fate(taken: Taken) -> Fate {
    let Taken { mut refusals, accepted, mut batches } = taken;
    assert_eq!(accepted + refusals.len(), 1, "a single event has one outcome");
    assert_eq!(accepted, batches.len(), "a single event that is accepted makes one batch");
    if let Some((index, code)) = refusals.pop() {
        assert_eq!(index, 0);
        return Fate::Refused(code);
    }
    let batch = batches.remove(0);
    assert_eq!(batch.records.len(), 1);
    let slot = if batch.guarantee == Guarantee::AtMostOnce { 1 + batch.partition as usize } else { 0 };
    Fate::Accepted(slot, batch)
}

/// Checks the outcome of a JSON element against its content.
fn check(element: &[u8], fate: &Fate) {
    match fate {
        Fate::Refused(code) => assert_ne!(*code, "metadata_invalid", "parts of valid JSON are valid JSON"),
        Fate::Accepted(_, batch) => {
            let record = batch.records.iter().next().expect("one record");
            let event = codec::decode(record).expect("an accepted event decodes");
            check_storable(&event);
            check_encoding(&event, record);
            check_says(&event, std::str::from_utf8(element).expect("JSON is UTF-8"));
            assert_eq!(event.received_at, received_at());
            let priority = matches!(event.level, Level::Error | Level::Fatal);
            assert_eq!(batch.guarantee, if priority { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce });
            assert!(!priority || batch.partition == PRIORITY_PARTITION);
        }
    }
}

/// An event encodes to the record that it came from.
fn check_encoding(event: &LogEvent<'_>, record: Record<'_>) {
    assert!(record.key.len() + record.value.len() <= RECORD_BYTES_MAX);
    let mut again = Records::default();
    assert!(codec::encode(event, &mut again).is_ok(), "an event from a record fits into a record");
    assert_eq!(again.iter().next(), Some(record), "an event encodes to the record that it was decoded from");
}

/// The rules of the contract's event table, and what PostgreSQL's types can hold.
pub(crate) fn check_storable(event: &LogEvent<'_>) {
    assert!((1..=SOURCE_BYTES_MAX).contains(&event.source.len()));
    assert!(!event.source.chars().any(char::is_control));
    assert!((1..=TEXT_BYTES_MAX).contains(&event.message.len()));
    assert!(!event.message.contains('\0'));
    let stack_trace = event.stack_trace.as_deref().unwrap_or_default();
    assert!(stack_trace.len() <= TEXT_BYTES_MAX);
    assert!(!stack_trace.contains('\0'));
    let Some(metadata) = event.metadata.as_ref().map(|metadata| metadata.as_json()) else { return };
    assert!(metadata.len() <= METADATA_BYTES_MAX);
    let metadata = Json::read(metadata).expect("metadata is JSON without halves of surrogate pairs");
    assert!(matches!(metadata, Json::Object(_)));
    assert!(metadata.depth() <= METADATA_DEPTH_MAX as usize);
    metadata.each(&mut |text| assert!(!text.contains('\0')), &mut |number| assert!(is_numeric(number), "{number}"));
}

/// Whether PostgreSQL's `numeric` can hold a JSON number: up to 131,072 digits before and 16,383 after the decimal point.
fn is_numeric(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (integer, fraction) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i32>() else { return false };
    let (integer, fraction) = (integer.len() as i64, fraction.len() as i64);
    integer + i64::from(exponent) <= 131_072 && fraction - i64::from(exponent) <= 16_383
}

/// Every member of the element is in the event.
fn check_says(event: &LogEvent<'_>, element: &str) {
    let Ok(Json::Object(members)) = Json::read(element).map(Json::without_nul) else {
        panic!("an event that has lone surrogates, or is not an object, is accepted");
    };
    let mut metadata = None;
    let mut unknown = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in members {
        let known = NAMES.contains(&name.as_str());
        match value {
            Json::Literal(null) if known && null == "null" => {}
            Json::Object(members) if name == "metadata" => {
                assert!(metadata.replace(members).is_none(), "metadata twice");
            }
            Json::Text(text) if known && name != "metadata" => {
                assert!(fields.iter().all(|(earlier, _)| *earlier != name), "{name} twice");
                fields.push((name, text));
            }
            value => {
                assert!(!known, "{name} of a wrong type");
                unknown.push((name, value));
            }
        }
    }
    let field = |name: &str| fields.iter().find(|(of, _)| of == name).map(|(_, text)| text.as_str());
    assert_eq!(field("source"), Some(&*event.source));
    assert_eq!(field("level").and_then(|level| Level::parse(level).ok()), Some(event.level));
    assert_eq!(field("message"), Some(&*event.message));
    assert_eq!(field("stackTrace"), event.stack_trace.as_deref());
    let timestamp = field("timestamp").map_or(Ok(received_at()), Timestamp::parse);
    assert_eq!(timestamp, Ok(event.timestamp));
    let id = field("eventId").map(|id| Uuid::try_parse(id).expect("a UUID"));
    assert_eq!((id.unwrap_or(ID), id.is_some()), (event.event_id, event.id_origin == IdOrigin::Client));
    assert_eq!(field("traceId").map(str::to_ascii_lowercase), event.trace_id.map(|id| to_hex(&id)));
    assert_eq!(field("spanId").map(str::to_ascii_lowercase), event.span_id.map(|id| to_hex(&id)));

    let mut expected = metadata;
    for (name, value) in unknown {
        let members = expected.get_or_insert_default();
        assert!(members.iter().all(|(other, _)| *other != name), "a clash of {name:?} is accepted");
        members.push((name, value));
    }
    let kept = event.metadata.as_ref().map(|metadata| Json::read(metadata.as_json()).expect("JSON"));
    assert_eq!(kept, expected.map(Json::Object), "metadata is what the client sent");
}

/// The fields that the contract names.
const NAMES: [&str; 9] =
    ["source", "level", "message", "timestamp", "eventId", "stackTrace", "traceId", "spanId", "metadata"];

fn received_at() -> Timestamp {
    Timestamp::from_unix_micros(1_705_314_600_250_000).expect("in range")
}

/// The use case on a bus, with a clock and ids that stand still.
pub(crate) fn ingest(bus: &Arc<Bus>) -> Ingest {
    let partitioner = Partitioner::new(PriorityLane::Shared, PARTITIONS).expect("valid");
    let policy = DeliveryPolicy::default();
    let delivery = Delivery::new(Arc::<Bus>::clone(bus), Arc::new(Outside));
    Ingest::new(Arc::new(delivery), Arc::new(Outside), Arc::new(Outside), Arc::new(Outside), policy, partitioner)
}

/// Delivers a request and returns the outcome.
fn taken(intake: Intake<'_>, bus: &Bus) -> Taken {
    let outcome = finish(intake.deliver());
    let refusals = outcome.refusals.iter().map(|refusal| (refusal.index, refusal.reason.code()));
    Taken { refusals: refusals.collect(), accepted: outcome.accepted.total(), batches: bus.taken() }
}

/// Delivers a request of an agent, of which everything is accepted, and returns its records.
pub(crate) fn deliver_all(intake: AgentIntake<'_>, bus: &Bus) -> Records {
    let outcome = finish(intake.deliver(PROMISE_TIMEOUT)).expect("everything is accepted");
    assert!(outcome.refusals.is_empty(), "an entry is refused");
    let mut records = Records::default();
    for batch in bus.taken() {
        batch.records.iter().for_each(|record| records.push_found(record));
    }
    records
}

/// Runs a future that only waits for time.
fn finish<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A bus that keeps its batches.
#[derive(Default)]
pub(crate) struct Bus {
    batches: Mutex<Vec<RecordBatch>>,
}

impl Bus {
    /// Batches since the last call.
    fn taken(&self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl RecordPublisher for Bus {
    fn partition_count(&self) -> NonZeroU32 {
        PARTITIONS
    }

    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(RecordBatch::clone(&batch));
        let promised = Box::pin(std::future::ready(Ok(Durability::Acknowledged)));
        Ok(Receipt { promised, settled: Box::pin(std::future::ready(Ok(()))) })
    }

    fn buffer(&self) -> Usage {
        Usage { used_bytes: 0, bytes_max: 1 << 40 }
    }

    fn usage(&self, _partition: Partition) -> Usage {
        self.buffer()
    }

    fn state(&self) -> BusState {
        BusState::Up
    }

    async fn drain(&self, _timeout: Duration) -> usize {
        0
    }
}

/// A stopped clock, identical ids, and discarded metrics.
struct Outside;

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        received_at()
    }
}

impl IdSource for Outside {
    fn new_id(&self, _now: Timestamp) -> Uuid {
        ID
    }
}

impl Telemetry for Outside {
    fn refused(&self, _code: &'static str, _events: usize) {}
    fn rate_limited(&self, _class: RequestClass) {}
    fn judged(&self, _outcome: &'static str) {}
    fn agent_request(&self, _protocol: &'static str, _events: usize, _as_text: usize) {}
    fn agent_request_held(&self, _protocol: &'static str) {}
    fn sent(&self, _events: usize, _duration: Duration) {}
    fn send_failed(&self, _events: usize) {}
    fn fetched(&self, _records: usize) {}
    fn appended(&self, _: Appended, _: Option<Duration>) {}
    fn given_up(&self, _records: usize) {}
}
