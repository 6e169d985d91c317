//! Copies dead letters from the store to their topic (a transactional outbox).
//!
//! Letters are created only by the transaction that stores them, so the letters to copy are those that the store has
//! not marked as copied. They are sent first and marked afterwards: if the process ends in between, they are sent
//! again. Several outboxes over one store may each send a letter.

use std::sync::Arc;
use std::time::Duration;

use domain::backoff::Backoff;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery};
use domain::ports::{Clock, DeadLetterTopic, DeadLetterTopicError, LogStore, StoreError};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cause::Chain;

/// Letters per send; fewer if they are large, as a page is also bounded in bytes.
const LETTERS_MAX: u32 = 100;
/// How long to wait when there is nothing to copy.
const INTERVAL: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Copies dead letters to their topic, each at least once.
pub struct Outbox {
    store: Arc<dyn LogStore>,
    topic: Arc<dyn DeadLetterTopic>,
    clock: Arc<dyn Clock>,
}

/// Why letters were not copied.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Topic(#[from] DeadLetterTopicError),
}

impl Outbox {
    /// A use case that copies from `store` to `topic`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>, topic: Arc<dyn DeadLetterTopic>, clock: Arc<dyn Clock>) -> Self {
        Self { store, topic, clock }
    }

    /// Copies existing and new letters until `stop`; then ends at once, and letters being sent are sent again by the
    /// next outbox.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.copy_for_ever() => {}
        }
    }

    async fn copy_for_ever(&self) {
        let waits = || Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut fault: Option<Backoff> = None;
        loop {
            let wait = match self.copy().await {
                Ok(more) => {
                    if fault.take().is_some() {
                        tracing::info!("dead letters are copied to their topic again");
                    }
                    if more { Duration::ZERO } else { INTERVAL }
                }
                Err(error) => {
                    if fault.is_none() {
                        tracing::warn!(error = %Chain(&error), "cannot copy dead letters to their topic, retrying");
                    }
                    fault.get_or_insert_with(waits).next().unwrap_or(LONGEST_WAIT)
                }
            };
            sleep(wait).await;
        }
    }

    /// Copies one page. Returns whether more letters follow.
    async fn copy(&self) -> Result<bool, CopyError> {
        let filter = DeadLetterFilter { copied: Some(false), ..DeadLetterFilter::default() };
        let page = self.store.dead_letters(&DeadLetterQuery { filter, after: None, limit: LETTERS_MAX }).await?;
        if page.items.is_empty() {
            return Ok(false);
        }
        match self.topic.send(&page.items).await {
            Ok(()) => {
                let ids: Vec<u64> = page.items.iter().map(|letter| letter.id).collect();
                self.store.mark_copied(&ids, self.clock.now()).await?;
                Ok(page.more)
            }
            // Otherwise it would block all letters after it.
            Err(DeadLetterTopicError::Refused { id, cause }) => {
                tracing::error!(id, cause = %Chain(cause.as_ref()), "a dead letter cannot be copied to its topic and stays in the store only");
                self.store.mark_copied(&[id], self.clock.now()).await?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::pin::Pin;
    use std::sync::Mutex;

    use domain::dead_letter::StoredDeadLetter;
    use domain::ports::{GroupPartition, MockDeadLetterTopic, MockLogStore};
    use domain::query::Page;
    use domain::timestamp::Timestamp;
    use testkit::FixedClock;
    use tokio::time::Instant;

    use super::*;

    const NOON: Timestamp = Timestamp::MAX;

    fn letter(id: u64) -> StoredDeadLetter {
        StoredDeadLetter {
            id,
            group_partition: GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 7 },
            offset: id,
            record_index: 0,
            key: b"k".to_vec(),
            value: id.to_string().into_bytes(),
            trace_parent: None,
            reason: "not an event".to_owned(),
            attempts: 0,
            at: Timestamp::MIN,
            redriven_at: None,
        }
    }

    /// Letters by id, with whether they are marked as copied.
    #[derive(Clone, Default)]
    struct Letters(Arc<Mutex<BTreeMap<u64, bool>>>);

    impl Letters {
        fn add(&self, ids: std::ops::RangeInclusive<u64>) {
            self.0.lock().expect("lock").extend(ids.map(|id| (id, false)));
        }

        fn uncopied(&self) -> Vec<u64> {
            self.0.lock().expect("lock").iter().filter(|(_, copied)| !**copied).map(|(id, _)| *id).collect()
        }

        /// A store with these letters; marking them fails while `mark` returns false.
        fn store(&self, mark: impl Fn() -> bool + Send + 'static) -> MockLogStore {
            let mut store = MockLogStore::new();
            let letters = self.clone();
            store.expect_dead_letters().returning(move |query| {
                assert_eq!((query.filter.copied, query.after, query.limit), (Some(false), None, LETTERS_MAX));
                let uncopied = letters.uncopied();
                let items: Vec<_> = uncopied.iter().take(query.limit as usize).map(|id| letter(*id)).collect();
                Ok(Page { more: uncopied.len() > items.len(), items })
            });
            let letters = self.clone();
            store.expect_mark_copied().returning(move |ids, at| {
                assert_eq!(at, NOON);
                if !mark() {
                    return Err(StoreError::Unavailable("gone".into()));
                }
                letters.0.lock().expect("lock").extend(ids.iter().map(|id| (*id, true)));
                Ok(())
            });
            store
        }
    }

    /// Each send: the time in milliseconds since the start, the first letter and the number of letters.
    type Sent = Arc<Mutex<Vec<(u128, u64, usize)>>>;

    /// A topic that answers each send, numbered from 0, with `answer`.
    fn topic(
        answer: impl Fn(usize) -> Result<(), DeadLetterTopicError> + Send + 'static,
    ) -> (MockDeadLetterTopic, Sent) {
        let (sent, began) = (Sent::default(), Instant::now());
        let mut topic = MockDeadLetterTopic::new();
        let sends = Arc::clone(&sent);
        topic.expect_send().returning(move |letters| {
            let mut sends = sends.lock().expect("lock");
            sends.push((began.elapsed().as_millis(), letters[0].id, letters.len()));
            answer(sends.len() - 1)
        });
        (topic, sent)
    }

    /// Runs an outbox for `seconds`; `halfway` is called after half of them.
    async fn run(store: MockLogStore, topic: MockDeadLetterTopic, seconds: u64, halfway: impl FnOnce()) {
        let (stop, stopped) = watch::channel(false);
        let running =
            tokio::spawn(Outbox::new(Arc::new(store), Arc::new(topic), Arc::new(FixedClock(NOON))).run(stopped));
        sleep(Duration::from_millis(seconds * 500)).await;
        halfway();
        sleep(Duration::from_millis(seconds * 500)).await;
        stop.send(true).expect("still running");
        running.await.expect("ended normally");
    }

    #[tokio::test(start_paused = true)]
    async fn letters_are_sent_oldest_first_page_by_page_and_marked_and_new_ones_are_found_within_a_second() {
        let letters = Letters::default();
        letters.add(1..=250);
        let (topic, sent) = topic(|_| Ok(()));
        let found_later = letters.clone();
        run(letters.store(|| true), topic, 9, || found_later.add(300..=300)).await;
        let sent = sent.lock().expect("lock").clone();
        assert_eq!(
            sent.iter().map(|(_, first, count)| (*first, *count)).collect::<Vec<_>>(),
            [(1, 100), (101, 100), (201, 50), (300, 1)]
        );
        assert!(sent[2].0 < 100, "the next page follows a full one at once: {sent:?}");
        assert!((4_500..=5_500).contains(&sent[3].0), "within a second: {sent:?}");
        assert!(letters.uncopied().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_topic_is_retried_with_backoff_and_nothing_is_marked_before_it_is_sent() {
        let letters = Letters::default();
        letters.add(1..=2);
        let away = |number| {
            if number < 9 { Err(DeadLetterTopicError::Unavailable("gone".into())) } else { Ok(()) }
        };
        let (topic, sent) = topic(away);
        let (seen, during) = (letters.clone(), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&during);
        run(letters.store(|| true), topic, 40, move || *noted.lock().expect("lock") = seen.uncopied()).await;
        assert_eq!(*during.lock().expect("lock"), [1, 2], "still unavailable after 20 s");
        let times: Vec<u128> = sent.lock().expect("lock").iter().map(|(time, ..)| *time).collect();
        let waits: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 100 * 100).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert!(letters.uncopied().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn letters_that_were_sent_but_not_marked_are_sent_again() {
        let letters = Letters::default();
        letters.add(1..=3);
        let (topic, sent) = topic(|_| Ok(()));
        let sends = Arc::clone(&sent);
        run(letters.store(move || sends.lock().expect("lock").len() > 1), topic, 3, || {}).await;
        let sent: Vec<_> = sent.lock().expect("lock").iter().map(|(_, first, count)| (*first, *count)).collect();
        assert_eq!(sent, [(1, 3), (1, 3)]);
        assert!(letters.uncopied().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_that_the_topic_refuses_blocks_no_other_letter() {
        let letters = Letters::default();
        letters.add(1..=3);
        let refuses = |number| {
            if number == 0 { Err(DeadLetterTopicError::Refused { id: 1, cause: "too large".into() }) } else { Ok(()) }
        };
        let (topic, sent) = topic(refuses);
        run(letters.store(|| true), topic, 1, || {}).await;
        let sent: Vec<_> = sent.lock().expect("lock").iter().map(|(_, first, count)| (*first, *count)).collect();
        assert_eq!(sent, [(1, 3), (2, 2)]);
        assert!(letters.uncopied().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_outbox_while_it_waits_for_the_topic() {
        struct Silent;
        impl DeadLetterTopic for Silent {
            fn send<'a: 'c, 'b: 'c, 'c>(
                &'a self,
                _: &'b [StoredDeadLetter],
            ) -> Pin<Box<dyn Future<Output = Result<(), DeadLetterTopicError>> + Send + 'c>>
            where
                Self: 'c,
            {
                Box::pin(std::future::pending())
            }
        }
        let letters = Letters::default();
        letters.add(1..=1);
        let (stop, stopped) = watch::channel(false);
        let outbox = Outbox::new(Arc::new(letters.store(|| true)), Arc::new(Silent), Arc::new(FixedClock(NOON)));
        let running = tokio::spawn(outbox.run(stopped));
        sleep(Duration::from_secs(60)).await;
        stop.send(true).expect("still running");
        running.await.expect("ended normally");
        assert_eq!(letters.uncopied(), [1]);
    }
}
