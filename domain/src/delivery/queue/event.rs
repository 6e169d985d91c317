//! What a delivery queue is told, and what it tells to do.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Durability, Guarantee, GuaranteeCounts};
use crate::ports::{JournalChunk, JournalError, PublishError, RefusedRecord};
use crate::record::RecordBatch;

/// What is promised for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The durability of its records, except for the rejected ones.
    pub durability: Durability,
    /// The records that the bus permanently rejects.
    pub refused: Vec<RefusedRecord>,
}

/// Something that happened to a batch, to the bus or to the journal. `L` waits for the promise of a batch.
#[derive(Debug)]
pub enum Event<L> {
    /// A client sent a batch, with the guarantee of each record. [`Effect::Refuse`] follows if it is not taken.
    Offered {
        /// The batch.
        batch: Arc<RecordBatch>,
        /// The guarantee of each record.
        guarantees: Arc<[Guarantee]>,
        /// Waits for its promise.
        listener: L,
    },
    /// The bus took the batch of [`Effect::Publish`].
    Published,
    /// The bus did not take the batch of [`Effect::Publish`]; without an error, it may not be sent now.
    NotPublished(Option<PublishError>),
    /// The bus promised this batch as buffered.
    Buffered(u64),
    /// The bus has not reported this batch for another `ack_wait`.
    Silent {
        /// The number of the batch.
        number: u64,
        /// The bus counts as available.
        available: bool,
    },
    /// The bus acknowledged a batch.
    Acknowledged {
        /// The number of the batch.
        number: u64,
        /// The time since it was published.
        after: Duration,
    },
    /// The bus permanently rejected records of a batch, and acknowledged the others.
    Rejected {
        /// The number of the batch.
        number: u64,
        /// The rejected records.
        refused: Vec<RefusedRecord>,
        /// The time since it was published.
        after: Duration,
    },
    /// The rejected records of [`Effect::Keep`] are in the refused log.
    Kept {
        /// The number of the batch.
        number: u64,
        /// The rejected records.
        refused: Vec<RefusedRecord>,
        /// The time from publishing to the rejection.
        after: Duration,
    },
    /// The bus ends and has not delivered this batch.
    Failed {
        /// The number of the batch.
        number: u64,
        /// Why.
        error: PublishError,
    },
    /// The journal took the batch of [`Effect::Journal`]. [`Event::Synced`] or [`Event::SyncFailed`] follows.
    Appended(Write),
    /// The journal did not take the batch of [`Effect::Journal`].
    NotAppended(JournalError),
    /// A write to the journal is on disk.
    Synced(Write),
    /// A write to the journal failed: nothing of it is on disk.
    SyncFailed(Write, JournalError),
    /// Everything must go to the journal: the bus is unavailable, or the process ends.
    Flush,
    /// The bus may take this many records of the backlog now, perhaps none.
    Tick {
        /// Maximum records to read from the journal.
        records_max: u64,
    },
    /// The records of [`Effect::Read`].
    ReadBack(JournalChunk),
    /// The journal cannot be read, or the partition does not exist.
    ReplayFailed,
}

/// What to do. Effects are executed in order. [`Effect::Publish`] and [`Effect::Journal`] are answered with an event before
/// the next effect is executed.
#[derive(Debug)]
pub enum Effect<L> {
    /// Send a batch to the bus. Answer with [`Event::Published`] or [`Event::NotPublished`].
    Publish {
        /// The number of the batch.
        number: u64,
        /// The batch.
        batch: Arc<RecordBatch>,
        /// Where it comes from.
        origin: Origin,
    },
    /// Append a batch to the journal. Answer with [`Event::Appended`] or [`Event::NotAppended`].
    Journal {
        /// The write.
        write: Write,
        /// The batch.
        batch: Arc<RecordBatch>,
        /// The guarantee of each record.
        guarantees: Arc<[Guarantee]>,
        /// Do not append it without room for this many bytes of batches that are being written.
        room_bytes: u64,
    },
    /// Tell a listener what is promised for its batch.
    Resolve(L, Result<Promise, PublishError>),
    /// The offered batch was not taken.
    Refuse(PublishError),
    /// Write rejected records to the refused log, however long that takes, then send [`Event::Kept`].
    Keep {
        /// The number of the batch.
        number: u64,
        /// The batch.
        batch: Arc<RecordBatch>,
        /// The rejected records.
        refused: Vec<RefusedRecord>,
        /// The time from publishing to the rejection.
        after: Duration,
    },
    /// The journal no longer needs records before this number.
    Release(u64),
    /// Tell the journal to take writes again.
    Resume,
    /// Read records with numbers from `from` up to, but excluding, `to` from the journal. Answer, later, with
    /// [`Event::ReadBack`] or [`Event::ReplayFailed`].
    Read {
        /// The first number.
        from: u64,
        /// The number after the last one.
        to: u64,
    },
    /// Count acknowledged events of a batch.
    CountSent {
        /// Number of events.
        events: usize,
        /// The time since the batch was published.
        after: Duration,
    },
    /// Count permanently rejected events.
    CountRejected {
        /// The rejected records.
        refused: Vec<RefusedRecord>,
        /// They were accepted before.
        accepted: bool,
    },
    /// Count the events of a batch that the bus did not deliver and that no journal has, then tell its listener.
    CountFailed {
        /// Number of events.
        events: usize,
        /// They were accepted before: they are lost.
        accepted: bool,
        /// Why.
        error: PublishError,
        /// Waits for the promise of the batch, if any is due.
        listener: Option<L>,
    },
    /// Report accepted events, by guarantee, that could not be read back from the journal.
    CountLost(GuaranteeCounts),
}

/// Where a batch to be sent to the bus comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From a client: nothing waits before it.
    Client,
    /// It waits in memory and is being written to the journal.
    Memory,
    /// It was read from the journal.
    Journal,
}

/// A write to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The number of the batch.
    pub number: u64,
    /// Its records.
    pub records: u64,
    /// The memory that it uses.
    pub bytes: u64,
}

/// When to send the next part of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextReplay {
    /// At once.
    Now,
    /// When the bus has reported something or is permitted more calls.
    AfterReport,
    /// After a failure: at this time.
    At(Duration),
}
