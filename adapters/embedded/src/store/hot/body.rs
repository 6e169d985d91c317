//! The body of a chunk: its events in bytes.
//!
//! Constraints and invariants:
//! * Numbers are little-endian. Columns of one width each come first, so that one field of one event is read without the others.
//!   Texts come last, so that they are checked for UTF-8 once.
//! * Reading checks every length against the bytes that are there. Bytes that are not a body are an error, never a panic.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version: 1 |
//! | 1 | 1 if the ids follow each other without a gap, otherwise 0 |
//! | 4 | number of events, at most 65,535 |
//! | 8 | id of the first event |
//! | 8 each | ids, if there are gaps |
//! | 8 each | timestamps, in microseconds since 1970 |
//! | 8 each | times of receipt |
//! | 8 each | offsets |
//! | 16 each | event ids |
//! | 1 each | level in bits 0 to 2; bit 3: has a stack trace, 4: a trace id, 5: a span id, 6: metadata |
//! | 1 each | origin of the event id: 0 Spillway, 1 client, 2 client of a tenant, 3 derived, 4 derived for a tenant |
//! | 1 each | bytes of the source |
//! | 4 each | bytes of the message |
//! | 4 each | bytes of the stack trace |
//! | 4 each | bytes of the metadata |
//! | any | of each event: tenant, trace id, span id, as far as it has them |
//! | any | of each event: source, message, stack trace, metadata |
//!
//! In the table a byte precedes it: 0 for the body as it is, or 1 for four bytes with its length and the body compressed with
//! zstd.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use domain::Uuid;
use domain::access::TenantId;
use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use domain::metadata::Metadata;
use domain::timestamp::Timestamp;

/// A trace id and a span id, if there are any.
pub type TraceAndSpanId = (Option<[u8; 16]>, Option<[u8; 8]>);

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 14;
/// Bytes of an event in the columns, without an id.
const EVENT_BYTES: usize = 55;

const LEVEL_MASK: u8 = 0b111;
const HAS_STACK_TRACE: u8 = 1 << 3;
const HAS_TRACE_ID: u8 = 1 << 4;
const HAS_SPAN_ID: u8 = 1 << 5;
const HAS_METADATA: u8 = 1 << 6;

const ORIGIN_MAX: u8 = 4;

const AS_IT_IS: u8 = 0;
const ZSTD: u8 = 1;
/// Higher levels take several times as long for a few percent.
const ZSTD_LEVEL: i32 = 1;
/// Smaller bodies are stored as they are: zstd saves little and takes as long as for a larger one.
const COMPRESS_BYTES_MIN: usize = 1024;
/// Maximum length of a body that is decompressed: far more than a chunk has.
const DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event with its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbered<'e> {
    /// The number that tails follow.
    pub id: u64,
    /// Offset of its record in the partition.
    pub offset: u64,
    /// The event.
    pub event: &'e LogEvent<'e>,
}

impl Numbered<'_> {
    /// Bytes that it takes in a body, except for an id.
    pub fn bytes(&self) -> usize {
        let event = self.event;
        let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_json().len());
        let texts = event.source.len() + event.message.len() + event.stack_trace.as_ref().map_or(0, |text| text.len());
        EVENT_BYTES + 40 + texts + metadata
    }

    fn flags(&self) -> u8 {
        let event = self.event;
        let flag = |has: bool, flag: u8| if has { flag } else { 0 };
        event.level.number()
            | flag(event.stack_trace.is_some(), HAS_STACK_TRACE)
            | flag(event.trace_id.is_some(), HAS_TRACE_ID)
            | flag(event.span_id.is_some(), HAS_SPAN_ID)
            | flag(event.metadata.is_some(), HAS_METADATA)
    }

    fn origin(&self) -> u8 {
        match self.event.id_origin {
            IdOrigin::Generated => 0,
            IdOrigin::Client => 1,
            IdOrigin::Tenant(_) => 2,
            IdOrigin::Derived(None) => 3,
            IdOrigin::Derived(Some(_)) => 4,
        }
    }
}

/// The bytes of a body with these events, in the order of their ids. A text has less than 4 GiB, and a source at most 255 bytes.
pub fn encode(events: &[Numbered<'_>]) -> Vec<u8> {
    let first = events.first().map_or(0, |event| event.id);
    let dense = events.iter().zip(first..).all(|(event, id)| event.id == id);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + events.iter().map(|event| event.bytes() + 8).sum::<usize>());
    bytes.extend_from_slice(&[VERSION, u8::from(dense)]);
    put_length(&mut bytes, events.len());
    bytes.extend_from_slice(&first.to_le_bytes());
    if !dense {
        events.iter().for_each(|event| bytes.extend_from_slice(&event.id.to_le_bytes()));
    }
    events.iter().for_each(|it| bytes.extend_from_slice(&it.event.timestamp.unix_micros().to_le_bytes()));
    events.iter().for_each(|it| bytes.extend_from_slice(&it.event.received_at.unix_micros().to_le_bytes()));
    events.iter().for_each(|it| bytes.extend_from_slice(&it.offset.to_le_bytes()));
    events.iter().for_each(|it| bytes.extend_from_slice(it.event.event_id.as_bytes()));
    bytes.extend(events.iter().map(Numbered::flags));
    bytes.extend(events.iter().map(Numbered::origin));
    bytes.extend(events.iter().map(|it| u8::try_from(it.event.source.len()).unwrap_or(u8::MAX)));
    events.iter().for_each(|it| put_length(&mut bytes, it.event.message.len()));
    events.iter().for_each(|it| put_length(&mut bytes, it.event.stack_trace.as_deref().map_or(0, str::len)));
    events.iter().for_each(|it| put_length(&mut bytes, it.event.metadata.as_ref().map_or(0, |it| it.as_json().len())));
    for Numbered { event, .. } in events {
        if let Some(tenant) = event.id_origin.tenant() {
            bytes.extend_from_slice(tenant.as_bytes());
        }
        event.trace_id.iter().for_each(|id| bytes.extend_from_slice(id));
        event.span_id.iter().for_each(|id| bytes.extend_from_slice(id));
    }
    for Numbered { event, .. } in events {
        bytes.extend_from_slice(event.source.as_bytes());
        bytes.extend_from_slice(event.message.as_bytes());
        bytes.extend_from_slice(event.stack_trace.as_deref().unwrap_or_default().as_bytes());
        bytes.extend_from_slice(event.metadata.as_ref().map_or("", Metadata::as_json).as_bytes());
    }
    bytes
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// The bytes of the table for the bytes of a body: compressed, unless that does not help.
pub fn pack(body: &[u8]) -> Vec<u8> {
    if body.len() >= COMPRESS_BYTES_MIN
        && let Ok(compressed) = zstd::bulk::compress(body, ZSTD_LEVEL)
        && compressed.len() < body.len() - body.len() / 8
    {
        let mut packed = Vec::with_capacity(5 + compressed.len());
        packed.push(ZSTD);
        put_length(&mut packed, body.len());
        packed.extend_from_slice(&compressed);
        return packed;
    }
    let mut packed = Vec::with_capacity(1 + body.len());
    packed.push(AS_IT_IS);
    packed.extend_from_slice(body);
    packed
}

/// The body for the bytes of the table; `None` if they are not one.
pub fn unpack(packed: &[u8]) -> Option<Body> {
    let (coding, rest) = packed.split_first()?;
    match *coding {
        AS_IT_IS => Body::decode(rest.to_vec()),
        ZSTD => {
            let (length, compressed) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            if length > DECOMPRESSED_BYTES_MAX {
                return None;
            }
            Body::decode(zstd::bulk::decompress(compressed, length).ok()?)
        }
        _ => None,
    }
}

/// Where the columns begin.
#[derive(Clone, Copy, Debug)]
struct Columns {
    /// The id of the first event, if the others follow it without a gap.
    dense_from: Option<u64>,
    ids: usize,
    timestamps: usize,
    received: usize,
    offsets: usize,
    event_ids: usize,
    flags: usize,
    origins: usize,
    sources: usize,
    messages: usize,
    stack_traces: usize,
    metadata: usize,
    end: usize,
}

impl Columns {
    fn new(count: usize, dense_from: Option<u64>) -> Self {
        let mut end = HEADER_BYTES;
        let mut column = |width: usize| {
            let begin = end;
            end += count * width;
            begin
        };
        let ids = column(if dense_from.is_some() { 0 } else { 8 });
        let (timestamps, received, offsets, event_ids) = (column(8), column(8), column(8), column(16));
        let (flags, origins, sources) = (column(1), column(1), column(1));
        let (messages, stack_traces, metadata) = (column(4), column(4), column(4));
        Self {
            dense_from,
            ids,
            timestamps,
            received,
            offsets,
            event_ids,
            flags,
            origins,
            sources,
            messages,
            stack_traces,
            metadata,
            end,
        }
    }
}

/// Where the parts of an event begin that have no column.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its tenant, trace id and span id.
    ids: u32,
    /// Its texts.
    texts: u32,
}

/// A body in memory. Events are numbered from 0. A method returns `None` for a number that no event has, and for bytes that are
/// not an event.
#[derive(Debug)]
pub struct Body {
    count: usize,
    columns: Columns,
    /// Everything before the texts.
    bytes: Vec<u8>,
    texts: String,
    places: Vec<Place>,
    /// The events in the order of their timestamps, if that is another order.
    by_time: Option<Vec<u16>>,
}

impl Body {
    /// Reads the bytes of a body; `None` if they are not one.
    pub fn decode(bytes: Vec<u8>) -> Option<Self> {
        let ([version, dense, numbers @ ..], _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (count, first) = numbers.split_first_chunk::<4>()?;
        let dense_from = match dense {
            0 => None,
            1 => Some(u64::from_le_bytes(*first.first_chunk()?)),
            _ => return None,
        };
        let count = usize::from(u16::try_from(u32::from_le_bytes(*count)).ok()?);
        let columns = Columns::new(count, dense_from);
        if *version != VERSION || bytes.len() < columns.end {
            return None;
        }
        let mut body = Self { count, columns, bytes, texts: String::new(), places: Vec::new(), by_time: None };
        body.places = body.read_places()?;
        let texts = body.places.last().map_or(columns.end, |end| end.ids as usize);
        body.texts = String::from_utf8(body.bytes.split_off(texts)).ok()?;
        body.bytes.shrink_to_fit();
        body.by_time = body.read_order()?;
        Some(body)
    }

    /// The places of all events and, behind them, the end of the last one; `None` if the lengths are not those of the bytes.
    fn read_places(&self) -> Option<Vec<Place>> {
        let (mut ids, mut texts) = (self.columns.end, 0_usize);
        let mut places = Vec::with_capacity(self.count + 1);
        for event in 0..self.count {
            places.push(Place { ids: u32::try_from(ids).ok()?, texts: u32::try_from(texts).ok()? });
            let (flags, origin) = (self.flags(event)?, self.origin(event)?);
            if flags > LEVEL_MASK | HAS_STACK_TRACE | HAS_TRACE_ID | HAS_SPAN_ID | HAS_METADATA || origin > ORIGIN_MAX {
                return None;
            }
            let bytes_if = |has: bool, bytes: usize| if has { bytes } else { 0 };
            ids += bytes_if(self.has_tenant(event)?, 16)
                + bytes_if(flags & HAS_TRACE_ID != 0, 16)
                + bytes_if(flags & HAS_SPAN_ID != 0, 8);
            texts += self.text_lengths(event)?.into_iter().sum::<usize>();
        }
        places.push(Place { ids: u32::try_from(ids).ok()?, texts: u32::try_from(texts).ok()? });
        (ids.checked_add(texts)? == self.bytes.len()).then_some(places)
    }

    fn read_order(&self) -> Option<Option<Vec<u16>>> {
        let mut times = Vec::with_capacity(self.count);
        for event in 0..self.count {
            self.received_at(event)?;
            times.push(self.timestamp(event)?);
        }
        if times.is_sorted() {
            return Some(None);
        }
        let mut order: Vec<u16> = (0..u16::try_from(self.count).ok()?).collect();
        order.sort_by_key(|event| times.get(usize::from(*event)));
        Some(Some(order))
    }

    fn array<const N: usize>(&self, column: usize, event: usize) -> Option<[u8; N]> {
        if event >= self.count {
            return None;
        }
        self.bytes.get(column + event * N..)?.first_chunk::<N>().copied()
    }

    fn time(&self, column: usize, event: usize) -> Option<Timestamp> {
        Timestamp::from_unix_micros(i64::from_le_bytes(self.array(column, event)?)).ok()
    }

    fn flags(&self, event: usize) -> Option<u8> {
        let [flags] = self.array(self.columns.flags, event)?;
        Some(flags)
    }

    fn origin(&self, event: usize) -> Option<u8> {
        let [origin] = self.array(self.columns.origins, event)?;
        Some(origin)
    }

    fn has_tenant(&self, event: usize) -> Option<bool> {
        Some(matches!(self.origin(event)?, 2 | 4))
    }

    /// Bytes of source, message, stack trace and metadata.
    fn text_lengths(&self, event: usize) -> Option<[usize; 4]> {
        let [source] = self.array(self.columns.sources, event)?;
        let length = |column| Some(u32::from_le_bytes(self.array(column, event)?) as usize);
        let columns = self.columns;
        Some([source.into(), length(columns.messages)?, length(columns.stack_traces)?, length(columns.metadata)?])
    }

    /// Number of events.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Source, message, stack trace and metadata of each event, one behind the other.
    pub fn texts(&self) -> &str {
        &self.texts
    }

    /// The event that has a byte of [`Self::texts`], and where its texts end.
    pub fn event_with_text(&self, at: usize) -> Option<(usize, usize)> {
        let events = self.places.get(..self.count)?;
        let event = events.partition_point(|place| place.texts as usize <= at).checked_sub(1)?;
        Some((event, self.places.get(event + 1)?.texts as usize))
    }

    /// Bytes that it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        let order = self.by_time.as_ref().map_or(0, Vec::len) * size_of::<u16>();
        size_of::<Self>() + self.bytes.len() + self.texts.len() + self.places.len() * size_of::<Place>() + order
    }

    /// The number that tails follow.
    pub fn id(&self, event: usize) -> Option<u64> {
        match self.columns.dense_from {
            Some(first) => first.checked_add(event as u64).filter(|_| event < self.count),
            None => self.array(self.columns.ids, event).map(u64::from_le_bytes),
        }
    }

    /// When it happened.
    pub fn timestamp(&self, event: usize) -> Option<Timestamp> {
        self.time(self.columns.timestamps, event)
    }

    /// When a producer received it.
    pub fn received_at(&self, event: usize) -> Option<Timestamp> {
        self.time(self.columns.received, event)
    }

    /// The offset of its record.
    pub fn offset(&self, event: usize) -> Option<u64> {
        self.array(self.columns.offsets, event).map(u64::from_le_bytes)
    }

    /// Its identity.
    pub fn event_id(&self, event: usize) -> Option<Uuid> {
        self.array(self.columns.event_ids, event).map(Uuid::from_bytes)
    }

    /// Where its id comes from.
    pub fn id_origin(&self, event: usize) -> Option<IdOrigin> {
        let tenant = || {
            let at = self.places.get(event)?.ids as usize;
            self.bytes.get(at..)?.first_chunk().copied().map(TenantId::from_bytes)
        };
        Some(match self.origin(event)? {
            0 => IdOrigin::Generated,
            1 => IdOrigin::Client,
            2 => IdOrigin::Tenant(tenant()?),
            3 => IdOrigin::Derived(None),
            4 => IdOrigin::Derived(Some(tenant()?)),
            _ => return None,
        })
    }

    /// Its trace id and its span id.
    pub fn trace_and_span_id(&self, event: usize) -> Option<TraceAndSpanId> {
        let flags = self.flags(event)?;
        let mut ids = self.bytes.get(self.places.get(event)?.ids as usize..)?;
        if self.has_tenant(event)? {
            ids = ids.get(16..)?;
        }
        let trace_id = taken(&mut ids, flags & HAS_TRACE_ID != 0)?;
        Some((trace_id, taken(&mut ids, flags & HAS_SPAN_ID != 0)?))
    }

    /// The event.
    pub fn event(&self, event: usize) -> Option<LogEvent<'_>> {
        let flags = self.flags(event)?;
        let place = self.places.get(event)?;
        let (trace_id, span_id) = self.trace_and_span_id(event)?;
        let [source, message, stack_trace, metadata] = self.text_lengths(event)?;
        let texts = self.texts.get(place.texts as usize..)?;
        let (source, texts) = texts.split_at_checked(source)?;
        let (message, texts) = texts.split_at_checked(message)?;
        let (stack_trace, texts) = texts.split_at_checked(stack_trace)?;
        let (metadata, _) = texts.split_at_checked(metadata)?;
        Some(LogEvent {
            event_id: self.event_id(event)?,
            id_origin: self.id_origin(event)?,
            source: Cow::Borrowed(source),
            level: Level::from_number(i64::from(flags & LEVEL_MASK))?,
            message: Cow::Borrowed(message),
            timestamp: self.timestamp(event)?,
            received_at: self.received_at(event)?,
            stack_trace: (flags & HAS_STACK_TRACE != 0).then_some(Cow::Borrowed(stack_trace)),
            trace_id,
            span_id,
            metadata: (flags & HAS_METADATA != 0).then(|| Metadata::from_checked(Cow::Borrowed(metadata))),
        })
    }

    /// The places of a range of timestamps in the order of time, for [`Self::at`].
    pub fn between(&self, range: &RangeInclusive<Timestamp>) -> Range<usize> {
        let first = self.places_before(|timestamp| timestamp < *range.start());
        first..self.places_before(|timestamp| timestamp <= *range.end()).max(first)
    }

    /// The event at a place in the order of time.
    pub fn at(&self, place: usize) -> usize {
        match &self.by_time {
            Some(order) => order.get(place).copied().map_or(self.count, usize::from),
            None => place,
        }
    }

    /// The number of places of which this holds; it holds of none behind one of which it does not.
    fn places_before(&self, holds: impl Fn(Timestamp) -> bool) -> usize {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = usize::midpoint(from, to);
            if self.timestamp(self.at(middle)).is_some_and(&holds) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}

/// The next bytes, if the event has them. The outer `None` for too few bytes.
fn taken<const N: usize>(bytes: &mut &[u8], has: bool) -> Option<Option<[u8; N]>> {
    if !has {
        return Some(None);
    }
    let (id, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(Some(*id))
}

#[cfg(test)]
mod tests;
