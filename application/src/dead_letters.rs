//! Listing and counting dead letters, and redriving them: sending them to the bus again.
//!
//! Constraints and invariants:
//! * A letter is marked as redriven only after the bus has acknowledged it. After a crash in between it is redriven
//!   again; the store recognises the repeat if the letter has become an event.
//! * A letter is redriven twice only with `force`; a process runs one redrive at a time.
//! * A redrive is bounded in letters and time; the next one continues with the rest.
//! * A redriven record has the headers of the record that the letter came from: its trace, and that its id may be repeated.
//!   An event of a packed record is sent as a record of its own.

use std::sync::Arc;
use std::time::Duration;

use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::delivery::Guarantee;
use domain::ports::{Clock, LogStore, PublishError, RecordPublisher, StoreError};
use domain::query::{Page, SEQUENCE_MAX};
use domain::record::{Record, RecordBatch, Records};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::query::{QueryError, invalid};

/// Maximum letters per page and per redrive.
pub const LETTERS_MAX: u32 = 1_000;
/// Default letters per page and per redrive.
pub const LETTERS_DEFAULT: u32 = 100;
/// Maximum number to which [`DeadLetters::total`] counts.
pub const LETTERS_COUNTED_MAX: u64 = 10_000;
/// Maximum rate of a redrive.
pub const REDRIVE_PER_SECOND_MAX: u32 = 1_000;
/// Maximum duration of a redrive: well within a gateway's timeout.
const REDRIVE_TIME_MAX: Duration = Duration::from_secs(20);

/// The use case for dead letters.
pub struct DeadLetters {
    store: Arc<dyn LogStore>,
    publisher: Arc<dyn RecordPublisher>,
    clock: Arc<dyn Clock>,
    redriving: Mutex<()>,
}

/// How many letters match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Letters, counted up to [`LETTERS_COUNTED_MAX`].
    pub letters: u64,
    /// Whether there are more.
    pub more: bool,
}

/// A request to redrive letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// Selects the letters.
    pub filter: DeadLetterFilter,
    /// Maximum number of letters, 1 to [`LETTERS_MAX`].
    pub limit: u32,
    /// Letters per second, 1 to [`REDRIVE_PER_SECOND_MAX`].
    pub per_second: u32,
    /// Only reports what would be sent.
    pub dry_run: bool,
    /// Also sends letters that were already redriven.
    pub force: bool,
}

/// The result of a redrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Letters sent or, in a dry run, letters that would be sent.
    pub redriven: u64,
    /// Matching letters that were already redriven, counted up to [`LETTERS_MAX`]; and letters that the bus rejects.
    pub skipped: u64,
    /// Whether there are more letters to send, so that another redrive is useful.
    pub more: bool,
}

/// Why a redrive ended early. Letters sent before that stay sent and are marked.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The request is invalid.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The bus does not accept records now.
    #[error("the bus does not accept records")]
    Bus(#[from] PublishError),
    /// The bus did not answer in time.
    #[error("the bus does not answer")]
    Timeout,
}

impl DeadLetters {
    /// A use case that reads from `store` and sends to `publisher`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>, publisher: Arc<dyn RecordPublisher>, clock: Arc<dyn Clock>) -> Self {
        Self { store, publisher, clock, redriving: Mutex::new(()) }
    }

    /// Matching letters after `after`, at most `limit` of them.
    ///
    /// # Errors
    /// The limit is not within 1..=[`LETTERS_MAX`]; or the store fails.
    pub async fn page(
        &self,
        filter: DeadLetterFilter,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Page<StoredDeadLetter>, QueryError> {
        check(&filter, limit)?;
        Ok(self.store.dead_letters(&DeadLetterQuery { filter, after, limit }).await?)
    }

    /// How many letters match in all, of which these are the first; `None` if counting takes too long.
    ///
    /// # Errors
    /// The store fails.
    pub async fn total(
        &self,
        filter: &DeadLetterFilter,
        first: &Page<StoredDeadLetter>,
    ) -> Result<Option<Total>, QueryError> {
        if !first.more {
            return Ok(Some(Total { letters: first.items.len() as u64, more: false }));
        }
        match self.store.count_dead_letters(filter, LETTERS_COUNTED_MAX + 1).await {
            Ok(letters) => {
                let more = letters > LETTERS_COUNTED_MAX;
                Ok(Some(Total { letters: letters.min(LETTERS_COUNTED_MAX), more }))
            }
            Err(StoreError::TooBroad) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends letters to the bus again, oldest first, to the partition that they came from.
    ///
    /// # Errors
    /// See [`RedriveError`].
    pub async fn redrive(&self, redrive: Redrive) -> Result<Redriven, RedriveError> {
        let Redrive { filter, limit, per_second, dry_run, force } = redrive;
        check(&filter, limit)?;
        if !(1..=REDRIVE_PER_SECOND_MAX).contains(&per_second) {
            return Err(invalid("ratePerSecond", format!("must be from 1 to {REDRIVE_PER_SECOND_MAX}")).into());
        }
        let _alone = self.redriving.lock().await;
        let began = Instant::now();
        let mut result = Redriven::default();
        // The store leaves out what was redriven: a redrive that reads past it would never come to the rest.
        let filter = if force {
            filter
        } else {
            result.skipped = self.count_redriven(filter.clone()).await?;
            DeadLetterFilter { redriven: Some(false), ..filter }
        };
        let mut after = None;
        loop {
            let query = DeadLetterQuery { filter: filter.clone(), after, limit: LETTERS_MAX };
            let page = self.store.dead_letters(&query).await.map_err(QueryError::from)?;
            after = page.next();
            for letter in page.items {
                if result.redriven == u64::from(limit) || began.elapsed() >= REDRIVE_TIME_MAX {
                    result.more = true;
                    return Ok(result);
                }
                if !dry_run {
                    match self.send(&letter).await {
                        Ok(()) => {}
                        // A letter that the bus permanently rejects must not block the others.
                        Err(RedriveError::Bus(error @ PublishError::Refused(_))) => {
                            tracing::warn!(letter = letter.id, %error, "the bus permanently rejects a dead letter, skipping it");
                            result.skipped += 1;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                    sleep(Duration::from_secs(1) / per_second).await;
                }
                result.redriven += 1;
            }
            if after.is_none() {
                return Ok(result);
            }
            // Rejected letters and large pages take time as well.
            if began.elapsed() >= REDRIVE_TIME_MAX {
                result.more = true;
                return Ok(result);
            }
        }
    }

    /// How many letters match and were already redriven, up to [`LETTERS_MAX`].
    async fn count_redriven(&self, filter: DeadLetterFilter) -> Result<u64, QueryError> {
        let filter = DeadLetterFilter { redriven: Some(true), ..filter };
        Ok(self.store.count_dead_letters(&filter, LETTERS_MAX.into()).await?)
    }

    async fn send(&self, letter: &StoredDeadLetter) -> Result<(), RedriveError> {
        let mut records = Records::default();
        // The record may be repeated, so if it has become an event its id must be deduplicated.
        let (key, value) = (letter.key.as_slice(), letter.value.as_slice());
        records.push_found(Record { key, value, timestamp: letter.at, client_id: true });
        let partition = letter.group_partition.partition.min(self.publisher.partition_count().get() - 1);
        let receipt = self.publisher.publish(Arc::new(RecordBatch {
            partition,
            guarantee: Guarantee::AtLeastOnce,
            records,
            trace_parent: letter.trace_parent,
        }))?;
        timeout(REDRIVE_TIME_MAX, receipt.promised).await.map_err(|_| RedriveError::Timeout)??;
        let marked = self.store.mark_redriven(&[letter.id], self.clock.now()).await;
        marked.map_err(|error: StoreError| QueryError::from(error).into())
    }
}

fn check(filter: &DeadLetterFilter, limit: u32) -> Result<(), QueryError> {
    if filter.id.is_some_and(|id| !(1..=SEQUENCE_MAX).contains(&id)) {
        return Err(invalid("id", format!("must be from 1 to {SEQUENCE_MAX}")));
    }
    if !(1..=LETTERS_MAX).contains(&limit) {
        return Err(invalid("limit", format!("must be from 1 to {LETTERS_MAX}")));
    }
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from > to
    {
        return Err(invalid("from", "must not be after to".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Mutex as SyncMutex;

    use domain::delivery::Durability;
    use domain::ports::{GroupPartition, MockLogStore, MockRecordPublisher, Receipt};
    use domain::timestamp::Timestamp;
    use domain::trace_parent::TraceParent;
    use testkit::FixedClock;

    use super::*;

    fn trace() -> Option<TraceParent> {
        TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    }

    fn letter(id: u64, redriven: bool) -> StoredDeadLetter {
        StoredDeadLetter {
            id,
            group_partition: GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 7 },
            offset: id,
            record_index: 0,
            key: b"k".to_vec(),
            value: id.to_string().into_bytes(),
            trace_parent: trace(),
            reason: "not an event".to_owned(),
            attempts: 0,
            at: Timestamp::MIN,
            redriven_at: redriven.then_some(Timestamp::MIN),
        }
    }

    type Sent = Arc<SyncMutex<Vec<(u32, Vec<u8>)>>>;

    /// 2,500 letters, every fifth of them already redriven, with a bus that has room for `room` records.
    fn dead_letters(room: usize) -> (DeadLetters, Sent, Arc<SyncMutex<Vec<u64>>>) {
        let mut store = MockLogStore::new();
        store.expect_dead_letters().returning(|query| {
            let redriven = query.filter.redriven;
            let ids = query.after.unwrap_or(0) + 1..=2_500;
            let letters = ids.map(|id| letter(id, id % 5 == 0));
            let mut matching = letters.filter(|letter| redriven.is_none_or(|is| is == letter.redriven_at.is_some()));
            let items = matching.by_ref().take(query.limit as usize).collect();
            Ok(Page { items, more: matching.next().is_some() })
        });
        store.expect_count_dead_letters().returning(|filter, max| {
            let redriven = filter.redriven;
            let matching = (1..=2_500_u64).filter(|id| redriven.is_none_or(|is| is == (id % 5 == 0)));
            Ok(max.min(matching.count() as u64))
        });
        let marked = Arc::new(SyncMutex::new(Vec::new()));
        let marks = Arc::clone(&marked);
        store.expect_mark_redriven().returning(move |ids, at| {
            assert_eq!(at, Timestamp::MAX);
            marks.lock().expect("lock").extend_from_slice(ids);
            Ok(())
        });
        let sent = Sent::default();
        let mut publisher = MockRecordPublisher::new();
        publisher.expect_partition_count().return_const(NonZeroU32::new(3).expect("not zero"));
        let publications = Arc::clone(&sent);
        publisher.expect_publish().returning(move |batch| {
            let mut sent = publications.lock().expect("lock");
            if sent.len() == room {
                return Err(PublishError::Full);
            }
            let record = batch.records.iter().next().expect("one record");
            assert!(record.client_id && batch.guarantee == Guarantee::AtLeastOnce);
            assert_eq!(batch.trace_parent, trace());
            sent.push((batch.partition, record.value.to_vec()));
            let promised = Box::pin(std::future::ready(Ok(Durability::Acknowledged)));
            Ok(Receipt { promised, settled: Box::pin(std::future::ready(Ok(()))) })
        });
        (DeadLetters::new(Arc::new(store), Arc::new(publisher), Arc::new(FixedClock(Timestamp::MAX))), sent, marked)
    }

    fn redrive() -> Redrive {
        let filter = DeadLetterFilter::default();
        Redrive { filter, limit: LETTERS_DEFAULT, per_second: 100, dry_run: false, force: false }
    }

    #[tokio::test(start_paused = true)]
    async fn letters_are_sent_oldest_first_at_the_given_rate_and_marked_once_acknowledged() {
        let (dead_letters, sent, marked) = dead_letters(usize::MAX);
        let began = Instant::now();
        let result = dead_letters.redrive(Redrive { limit: 8, ..redrive() }).await.expect("redriven");
        assert_eq!(result, Redriven { redriven: 8, skipped: 500, more: true });
        assert_eq!(began.elapsed(), Duration::from_millis(80));
        assert_eq!(*marked.lock().expect("lock"), [1, 2, 3, 4, 6, 7, 8, 9]);
        let sent = sent.lock().expect("lock");
        assert_eq!(sent.len(), 8);
        assert_eq!(sent[4], (2, b"6".to_vec()), "the last partition replaces one that does not exist");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_redrive_of_a_letter_needs_force_and_a_dry_run_sends_nothing() {
        let (dead_letters, sent, marked) = dead_letters(usize::MAX);
        let dry = Redrive { limit: LETTERS_MAX, dry_run: true, ..redrive() };
        let result = dead_letters.redrive(dry.clone()).await.expect("counted");
        assert_eq!(result, Redriven { redriven: 1_000, skipped: 500, more: true });
        let forced = dead_letters.redrive(Redrive { force: true, ..dry }).await.expect("counted");
        assert_eq!(forced, Redriven { redriven: 1_000, skipped: 0, more: true });
        assert!(sent.lock().expect("lock").is_empty() && marked.lock().expect("lock").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_redrive_ends_in_time_and_a_full_bus_ends_it_with_the_sent_letters_marked() {
        let (dead_letters, _, _) = dead_letters(usize::MAX);
        let slow = dead_letters.redrive(Redrive { per_second: 1, ..redrive() }).await.expect("redriven");
        assert_eq!((slow.redriven, slow.more), (20, true));
        let (dead_letters, _, marked) = self::dead_letters(3);
        let full = dead_letters.redrive(redrive()).await;
        assert!(matches!(full, Err(RedriveError::Bus(PublishError::Full))));
        assert_eq!(*marked.lock().expect("lock"), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redrive_of_letters_that_the_bus_rejects_ends_in_time_however_many_there_are() {
        let mut store = MockLogStore::new();
        store.expect_count_dead_letters().returning(|_, _| Ok(0));
        store.expect_dead_letters().returning(|query| {
            // Each page takes a second.
            let mut second = std::pin::pin!(tokio::time::advance(Duration::from_secs(1)));
            let _ = second.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            let id = query.after.unwrap_or(0) + 1;
            assert!(id < 100, "still reading after {id} s");
            Ok(Page { items: vec![letter(id, false)], more: true })
        });
        let mut publisher = MockRecordPublisher::new();
        publisher.expect_partition_count().return_const(NonZeroU32::MIN);
        publisher.expect_publish().returning(|_| Err(PublishError::Refused(Vec::new())));
        let clock = Arc::new(FixedClock(Timestamp::MAX));
        let dead_letters = DeadLetters::new(Arc::new(store), Arc::new(publisher), clock);
        let result = dead_letters.redrive(redrive()).await.expect("nothing to send");
        assert_eq!(result, Redriven { redriven: 0, skipped: 19, more: true });
    }

    #[tokio::test]
    async fn letters_are_counted_up_to_a_limit_and_within_a_time() {
        let filter = DeadLetterFilter::default();
        let (dead_letters, _, _) = dead_letters(usize::MAX);
        let first = dead_letters.page(filter.clone(), None, 4).await.expect("a page");
        let total = dead_letters.total(&filter, &first).await.expect("counted");
        assert_eq!(total, Some(Total { letters: 2_500, more: false }));
        let counting = |counted: fn(u64) -> Result<u64, StoreError>| {
            let mut store = MockLogStore::new();
            store.expect_count_dead_letters().returning(move |_, max| counted(max));
            let publisher = Arc::new(MockRecordPublisher::new());
            DeadLetters::new(Arc::new(store), publisher, Arc::new(FixedClock(Timestamp::MAX)))
        };
        let many = counting(Ok).total(&filter, &first).await.expect("counted");
        assert_eq!(many, Some(Total { letters: LETTERS_COUNTED_MAX, more: true }));
        let exactly = counting(|max| Ok(max - 1)).total(&filter, &first).await.expect("counted");
        assert_eq!(exactly, Some(Total { letters: LETTERS_COUNTED_MAX, more: false }));
        let slow = counting(|_| Err(StoreError::TooBroad));
        assert_eq!(slow.total(&filter, &first).await.expect("a page without a total"), None);
        let only = Page { items: first.items, more: false };
        assert_eq!(slow.total(&filter, &only).await.expect("not counted"), Some(Total { letters: 4, more: false }));
    }

    #[tokio::test]
    async fn invalid_requests_are_refused() {
        let (dead_letters, _, _) = dead_letters(usize::MAX);
        let page = dead_letters.page(DeadLetterFilter::default(), Some(2_495), 4).await.expect("a page");
        assert_eq!((page.items.len(), page.next()), (4, Some(2_499)));
        for limit in [0, LETTERS_MAX + 1] {
            assert!(dead_letters.page(DeadLetterFilter::default(), None, limit).await.is_err());
            assert!(dead_letters.redrive(Redrive { limit, ..redrive() }).await.is_err());
        }
        for per_second in [0, REDRIVE_PER_SECOND_MAX + 1] {
            assert!(dead_letters.redrive(Redrive { per_second, ..redrive() }).await.is_err());
        }
        let backwards =
            DeadLetterFilter { from: Some(Timestamp::MAX), to: Some(Timestamp::MIN), ..DeadLetterFilter::default() };
        assert!(dead_letters.page(backwards, None, 1).await.is_err());
    }
}
