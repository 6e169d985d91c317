//! One assigned partition: its queue in the client, where to continue, and how far it is read and stored.
//!
//! Constraints and invariants:
//! * A reader never waits for the client. The client's main thread answers a seek and may be busy, so the thread that
//!   serves the group seeks while the reader waits for a wake-up.
//! * From the call of [`Reading::seek`] until the client has moved, nothing is read, and a chunk in progress is
//!   discarded. The client is moved only while no reader takes records: records of the new position would be discarded as
//!   well.
//! * The client discards what it fetched before a seek (its queue compares versions), but not an out-of-range error of
//!   the earlier position. Until the first record after a seek, such errors count only if the broker confirms them.
//! * The client gets explicit offsets, never "the earliest record". It would look that up, and a seek meanwhile does not
//!   cancel the lookup: half a second later the client moves to the earliest record anyway.
//! * No lock is held while anything waits for the client. Lock order: `queue`, then `progress`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::lag::{Lag, LagTracker};
use domain::pack::events_estimated;
use domain::partition::Partition;
use domain::ports::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, SourceError};
use domain::record::{Chunk, RECORD_BYTES_MAX, Record};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::error::is_out_of_range;
use crate::lock::lock;
use crate::topic::{ID_ORIGIN, ID_ORIGIN_CLIENT, TRACE_PARENT};

#[cfg(test)]
mod tests;

/// How often the client may refuse a seek, because it has not started fetching yet, before it is considered stopped.
const REFUSALS_MAX: u32 = 3;

/// An assigned partition.
pub struct Reading<C: ConsumerContext> {
    partition: Partition,
    /// `None` once the partition is revoked. The client has one queue per partition, and releasing it later would take
    /// the wake-ups from the next reader. The queue also holds the client, which must not be dropped on a runtime thread:
    /// that blocks until the group is left.
    queue: Mutex<Option<PartitionQueue<C>>>,
    progress: Mutex<Progress>,
    wake: Arc<Notify>,
    gone: AtomicBool,
}

/// How far a partition is read and stored.
#[derive(Default)]
struct Progress {
    lag: LagTracker,
    /// Where to seek before reading continues.
    seek: Option<u64>,
    /// How often the client has refused to seek there.
    refusals: u32,
    /// The next offset to read.
    position: u64,
    /// The oldest offset on the bus, as last reported.
    first: u64,
    range: Range,
    /// Reading begins at the earliest record, wherever that is.
    earliest: bool,
    /// The stored position, and the one committed to the group.
    stored: Option<u64>,
    committed: Option<u64>,
}

/// Whether the current position exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Range {
    /// As far as known.
    #[default]
    In,
    /// Nothing was read since a seek.
    Sought,
    /// The client reports out of range, but may mean the position before the seek.
    Doubtful,
    /// The position is out of range.
    Out,
}

impl<C: ConsumerContext + 'static> Reading<C> {
    /// Takes over the queue of a partition, which must exist before the partition is assigned. `None` only for an invalid
    /// topic or partition.
    pub fn begin(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: Partition) -> Option<Self> {
        let wake = Arc::new(Notify::new());
        let queue = split(consumer, topic, partition, &wake)?;
        Some(Self {
            partition,
            queue: Mutex::new(Some(queue)),
            progress: Mutex::default(),
            wake,
            gone: AtomicBool::new(false),
        })
    }

    /// Sets where reading begins (`None` for the earliest record) and the offset range on the bus, if known.
    pub fn start(&self, position: Option<u64>, bounds: Option<(u64, u64)>) {
        let (first, end) = bounds.unwrap_or_default();
        let (earliest, position) = (position.is_none(), position.unwrap_or(first));
        let (lag, range) = (LagTracker::new(position, end.max(position)), Range::Sought);
        *lock(&self.progress) = Progress { lag, position, first, range, earliest, ..Progress::default() };
    }

    /// The next offset to read.
    pub fn position(&self) -> u64 {
        lock(&self.progress).position
    }

    /// Completes when there may be something to read. Call it before reading: a wake-up between the two is not lost.
    pub fn woken(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Returns what can be read now. Does not wait.
    ///
    /// # Errors
    /// As [`domain::ports::RecordSource::chunk`].
    pub fn read(&self) -> Result<Option<Chunk>, SourceError> {
        let queue = lock(&self.queue);
        let Some(queue) = &*queue else {
            let gone = self.gone.load(Ordering::Acquire);
            return if gone { Err(SourceError::Closed) } else { Ok(None) };
        };
        let before = {
            let progress = lock(&self.progress);
            if progress.seek.is_some() || progress.range == Range::Doubtful {
                return Ok(None);
            }
            progress.range
        };
        let (chunk, range) = self.poll(queue, before);
        let mut progress = lock(&self.progress);
        if progress.seek.is_some() {
            return Ok(None);
        }
        progress.range = range;
        progress.earliest &= range != Range::In;
        let received = |record: Option<Record<'_>>| record.map(|record| record.timestamp);
        let (first, last) = (received(chunk.records.iter().next()), received(chunk.records.iter().next_back()));
        if let (Some(first), Some(last)) = (first, last) {
            let events = chunk.records.iter().map(|record| events_estimated(record.value)).sum();
            progress.lag.read(first, last, chunk.next);
            progress.lag.count(chunk.records.len() as u64, events);
            progress.position = chunk.next;
            return Ok(Some(chunk));
        }
        if range == Range::Out {
            return Err(SourceError::OutOfRange { position: progress.position, first: progress.first });
        }
        Ok(None)
    }

    /// Takes records from the queue, up to the limit of a chunk.
    fn poll(&self, queue: &PartitionQueue<C>, mut range: Range) -> (Chunk, Range) {
        let mut chunk = Chunk::default();
        // A record shown by the queue is consumed, so there must be room for the largest record before the next one is
        // taken.
        while matches!(range, Range::In | Range::Sought)
            && chunk.records.len() < CHUNK_RECORDS_MAX
            && chunk.records.bytes() <= CHUNK_BYTES_MAX - RECORD_BYTES_MAX
        {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    take(&message, &mut chunk);
                    range = Range::In;
                }
                // Records before it are returned first.
                Some(Err(error)) if is_out_of_range(&error) => {
                    range = if range == Range::Sought { Range::Doubtful } else { Range::Out };
                }
                Some(Err(error)) => tracing::debug!(partition = self.partition, %error, "cannot fetch at the moment"),
            }
        }
        (chunk, range)
    }

    /// Makes the next chunk begin at `position`, `None` for the earliest record, once the client has been moved there.
    pub fn seek(&self, position: Option<u64>) {
        let mut progress = lock(&self.progress);
        (progress.seek, progress.earliest) = (position.or(Some(progress.first)), position.is_none());
    }

    /// Makes the next chunk begin at `position` or before.
    pub fn seek_back(&self, position: u64) {
        let mut progress = lock(&self.progress);
        progress.seek = Some(progress.seek.map_or(position, |seek| seek.min(position)));
    }

    /// Records the position up to which records are stored.
    pub fn store(&self, position: u64) {
        let mut progress = lock(&self.progress);
        progress.lag.store(position);
        progress.stored = progress.stored.max(Some(position));
    }

    /// Returns the stored position unless it was already returned.
    pub fn take_uncommitted(&self) -> Option<u64> {
        let mut progress = lock(&self.progress);
        if progress.stored == progress.committed {
            return None;
        }
        progress.committed = progress.stored;
        progress.stored
    }

    /// Updates the range of offsets on the bus.
    pub fn extend(&self, (first, end): (u64, u64)) {
        let mut progress = lock(&self.progress);
        progress.first = first;
        progress.lag.extend(end);
    }

    /// Records on the bus that are not known to be stored.
    pub fn lag(&self) -> Lag {
        lock(&self.progress).lag.lag(self.partition)
    }

    /// Ends reading, because the partition is revoked.
    pub fn end(&self) {
        self.gone.store(true, Ordering::Release);
        drop(lock(&self.queue).take());
        self.wake.notify_one();
    }

    /// Returns where the client has to seek, if anywhere. Waits for a reader that has not seen the seek: from here until
    /// [`Reading::moved`], no reader takes records.
    fn sought(&self) -> Option<u64> {
        let seek = lock(&self.progress).seek;
        if seek.is_some() {
            drop(lock(&self.queue));
        }
        seek
    }

    /// The client now fetches from `position`.
    fn moved(&self, position: u64) {
        let mut progress = lock(&self.progress);
        progress.refusals = 0;
        // Unless another seek was requested meanwhile.
        if progress.seek == Some(position) {
            (progress.seek, progress.position, progress.range) = (None, position, Range::Sought);
        }
        drop(progress);
        self.wake.notify_one();
    }

    /// The client has refused a seek. Returns whether to retry it.
    fn refused(&self) -> bool {
        let mut progress = lock(&self.progress);
        progress.refusals += 1;
        progress.refusals < REFUSALS_MAX
    }

    /// Checks with the broker whether the position is out of range, if the client's report may mean another position.
    fn confirm(&self, consumer: &BaseConsumer<C>, topic: &str, timeout: Duration) -> KafkaResult<()> {
        if lock(&self.progress).range != Range::Doubtful {
            return Ok(());
        }
        let (first, end) = bounds(consumer.fetch_watermarks(topic, number(self.partition), timeout)?);
        let mut progress = lock(&self.progress);
        progress.first = first;
        let from = if progress.earliest { progress.position.max(first) } else { progress.position };
        if (first..=end).contains(&from) {
            // The client has stopped fetching even though the position exists.
            progress.seek = progress.seek.or(Some(from));
        } else {
            progress.range = Range::Out;
        }
        drop(progress);
        self.wake.notify_one();
        Ok(())
    }

    /// Reassigns the partition to the client. A client that has stopped fetching, because its position was out of range,
    /// accepts no seek.
    fn restart(&self, consumer: &Arc<BaseConsumer<C>>, topic: &str, position: u64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, number(self.partition), offset(position))?;
        // It is not assigned if an earlier attempt came this far.
        if let Err(error) = consumer.incremental_unassign(&list) {
            tracing::debug!(partition = self.partition, %error, "cannot unassign a partition before reassigning it");
        }
        {
            let mut queue = lock(&self.queue);
            drop(queue.take());
            *queue = split(consumer, topic, self.partition, &self.wake);
        }
        consumer.incremental_assign(&list)
    }
}

/// Moves the client to where readers were told to continue; failed seeks are retried with the next call. For the thread
/// that serves the group, between rebalances: waits for the client.
pub fn seek<C: ConsumerContext + 'static>(
    readings: &[Arc<Reading<C>>],
    consumer: &Arc<BaseConsumer<C>>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<()> {
    for reading in readings {
        if let Err(error) = reading.confirm(consumer, topic, timeout) {
            tracing::debug!(partition = reading.partition, %error, "cannot confirm that a position is out of range");
        }
    }
    let mut list = TopicPartitionList::new();
    let mut sought = Vec::new();
    for reading in readings {
        if let Some(position) = reading.sought() {
            list.add_partition_offset(topic, number(reading.partition), offset(position))?;
            sought.push((reading, position));
        }
    }
    if sought.is_empty() {
        return Ok(());
    }
    let list = consumer.seek_partitions(list, timeout)?;
    for (reading, position) in sought {
        let found = list.find_partition(topic, number(reading.partition));
        if let Some(Err(error)) = found.map(|found| found.error()) {
            tracing::debug!(partition = reading.partition, %error, "the client refuses a seek");
            if reading.refused() {
                continue;
            }
            reading.restart(consumer, topic, position)?;
        }
        reading.moved(position);
    }
    Ok(())
}

/// The queue of a partition; `None` only for an invalid topic or partition.
fn split<C: ConsumerContext + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    topic: &str,
    partition: Partition,
    wake: &Arc<Notify>,
) -> Option<PartitionQueue<C>> {
    let mut queue = consumer.split_partition_queue(topic, number(partition))?;
    let nonempty = Arc::clone(wake);
    queue.set_nonempty_callback(move || nonempty.notify_one());
    Some(queue)
}

/// Adds a record from the bus to a chunk.
fn take(message: &BorrowedMessage<'_>, chunk: &mut Chunk) {
    let (mut client_id, mut trace) = (false, None);
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        match header.key {
            ID_ORIGIN => client_id |= header.value == Some(ID_ORIGIN_CLIENT),
            TRACE_PARENT => trace = header.value.and_then(TraceParent::parse),
            _ => {}
        }
    }
    let micros = message.timestamp().to_millis().and_then(|millis| millis.checked_mul(1_000));
    let record = Record {
        key: message.key().unwrap_or_default(),
        value: message.payload().unwrap_or_default(),
        timestamp: micros.and_then(|micros| Timestamp::from_unix_micros(micros).ok()).unwrap_or(Timestamp::MIN),
        client_id,
    };
    chunk.push(u64::try_from(message.offset()).unwrap_or(0), record, trace);
}

/// First and next offset of a partition.
pub fn bounds((first, end): (i64, i64)) -> (u64, u64) {
    (u64::try_from(first).unwrap_or(0), u64::try_from(end).unwrap_or(0))
}

/// A partition number in the protocol.
pub fn number(partition: Partition) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// A position in the protocol.
pub fn offset(position: u64) -> Offset {
    Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX))
}
