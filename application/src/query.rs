//! Reading events back.

use std::sync::Arc;

use domain::Uuid;
use domain::ports::{LogStore, StoreError};
use domain::query::{LogFilter, LogQuery, PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX, PageKey, StoredEvent};

/// Longest text to search for, in bytes.
pub const SEARCH_TEXT_BYTES_MAX: usize = 1_024;

/// Answers queries from the store.
pub struct Query {
    store: Arc<dyn LogStore>,
}

/// One page of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its events, newest first.
    pub events: Vec<StoredEvent>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<PageKey>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question makes no sense.
    #[error("{parameter} {rule}")]
    Invalid {
        /// The parameter at fault.
        parameter: &'static str,
        /// What it must be.
        rule: String,
    },
    /// The store has none.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Query {
    /// A use case over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>) -> Self {
        Self { store }
    }

    /// The events after `after` that match, at most `limit` of them.
    ///
    /// # Errors
    /// The limit is not within 1..=[`PAGE_EVENTS_MAX`], the time range runs backwards, the text is empty or
    /// longer than [`SEARCH_TEXT_BYTES_MAX`]; or the store fails.
    pub async fn page(
        &self,
        filter: LogFilter,
        after: Option<PageKey>,
        limit: Option<u32>,
    ) -> Result<Page, QueryError> {
        let limit = limit.unwrap_or(PAGE_EVENTS_DEFAULT);
        if !(1..=PAGE_EVENTS_MAX).contains(&limit) {
            return Err(invalid("limit", format!("must be from 1 to {PAGE_EVENTS_MAX}")));
        }
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && from > to
        {
            return Err(invalid("from", "must not be after to".to_owned()));
        }
        if filter.text.as_ref().is_some_and(|text| text.is_empty() || text.len() > SEARCH_TEXT_BYTES_MAX) {
            return Err(invalid("q", format!("must have 1 to {SEARCH_TEXT_BYTES_MAX} bytes")));
        }

        // One more than asked for tells whether there is a next page.
        let mut events = self.store.query(&LogQuery { filter, after, limit: limit + 1 }).await?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        let next = events.last().filter(|_| more).map(|last| PageKey::from(&last.event));
        Ok(Page { events, next })
    }

    /// The event with this id.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.store.find(event_id).await
    }
}

fn invalid(parameter: &'static str, rule: String) -> QueryError {
    QueryError::Invalid { parameter, rule }
}

#[cfg(test)]
mod tests {
    use domain::event::{IdOrigin, LogEvent};
    use domain::level::Level;
    use domain::ports::MockLogStore;
    use domain::timestamp::Timestamp;

    use super::*;

    fn stored(n: u64) -> StoredEvent {
        let time = Timestamp::from_unix_micros(i64::try_from(n).expect("small")).expect("in range");
        let event = LogEvent {
            event_id: Uuid::from_u128(n.into()),
            id_origin: IdOrigin::Generated,
            source: "s".into(),
            level: Level::Info,
            message: "m".into(),
            timestamp: time,
            received_at: time,
            stack_trace: None,
            trace_id: None,
            span_id: None,
            metadata: None,
        };
        StoredEvent { event, topic: "logs".to_owned(), partition: 0, offset: n }
    }

    /// A store with `events` events that match anything.
    fn query(events: u64) -> Query {
        let mut store = MockLogStore::new();
        store
            .expect_query()
            .returning(move |query| Ok((0..events).rev().take(query.limit as usize).map(stored).collect()));
        Query::new(Arc::new(store))
    }

    #[tokio::test]
    async fn there_is_a_next_page_only_if_there_are_more_events() {
        let full = query(100).page(LogFilter::default(), None, None).await.expect("a page");
        assert_eq!((full.events.len(), full.next), (100, None));
        let more = query(101).page(LogFilter::default(), None, None).await.expect("a page");
        assert_eq!(more.events.len(), 100);
        assert_eq!(more.next, Some(PageKey::from(&stored(1).event)));
        let none = query(0).page(LogFilter::default(), None, Some(1)).await.expect("a page");
        assert_eq!((none.events.len(), none.next), (0, None));
    }

    #[tokio::test]
    async fn questions_that_make_no_sense_are_refused_by_parameter() {
        let at = |micros| Timestamp::from_unix_micros(micros).ok();
        let text = |text: &str| LogFilter { text: Some(text.to_owned()), ..LogFilter::default() };
        for (filter, limit, at_fault) in [
            (LogFilter::default(), Some(0), "limit"),
            (LogFilter::default(), Some(PAGE_EVENTS_MAX + 1), "limit"),
            (LogFilter { from: at(2), to: at(1), ..LogFilter::default() }, None, "from"),
            (text(""), None, "q"),
            (text(&"x".repeat(SEARCH_TEXT_BYTES_MAX + 1)), None, "q"),
        ] {
            let refused = query(1).page(filter, None, limit).await;
            assert!(
                matches!(refused, Err(QueryError::Invalid { parameter, .. }) if parameter == at_fault),
                "{at_fault}"
            );
        }
        let empty_range = LogFilter { from: at(1), to: at(1), ..LogFilter::default() };
        assert!(query(0).page(empty_range, None, Some(PAGE_EVENTS_MAX)).await.is_ok());
    }
}
