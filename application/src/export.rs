//! All matching events, page by page.
//!
//! Constraints and invariants:
//! * Between two pages nothing is held in the store: each begins where the one before it ended.
//! * At most [`EXPORTS_MAX`] exports run at a time, each of at most [`EXPORT_EVENTS_MAX`] events.

use std::sync::Arc;
use std::time::Duration;

use domain::filter::EventFilter;
use domain::ports::{LogStore, StoreError};
use domain::query::{LogQuery, Order, PAGE_EVENTS_MAX, StoredEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent exports of a process.
pub const EXPORTS_MAX: usize = 2;
/// Maximum number of events of one export.
pub const EXPORT_EVENTS_MAX: u64 = 10_000_000;
/// Maximum duration of the query for one page: time for a search through everything.
const PAGE_TIME_MAX: Duration = Duration::from_secs(600);

/// Begins exports.
pub struct Exports {
    store: Arc<dyn LogStore>,
    permits: Arc<Semaphore>,
}

/// As many exports run as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {EXPORTS_MAX} exports already")]
pub struct TooManyExports;

/// Why an export cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It has more events than it may.
    #[error("an export has at most {EXPORT_EVENTS_MAX} events: ask for a shorter range of time")]
    TooLarge,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An export that runs. Another one may begin when it is dropped.
pub struct Export {
    store: Arc<dyn LogStore>,
    /// The next page; `None` after the last one.
    query: Option<LogQuery>,
    events: u64,
    _permit: OwnedSemaphorePermit,
}

impl Exports {
    /// A use case over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>) -> Self {
        Self { store, permits: Arc::new(Semaphore::new(EXPORTS_MAX)) }
    }

    /// Begins an export.
    ///
    /// # Errors
    /// [`TooManyExports`].
    pub fn begin(&self, filter: EventFilter, order: Order) -> Result<Export, TooManyExports> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| TooManyExports)?;
        let time_max = Some(PAGE_TIME_MAX);
        let query = Some(LogQuery { filter, order, after: None, limit: PAGE_EVENTS_MAX, time_max });
        Ok(Export { store: Arc::clone(&self.store), query, events: 0, _permit: permit })
    }
}

impl Export {
    /// The next events; `None` after the last ones.
    ///
    /// # Errors
    /// See [`ExportError`]; the events so far are not all.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, ExportError> {
        let Some(query) = &mut self.query else { return Ok(None) };
        let page = self.store.query(query).await?;
        self.events += page.items.len() as u64;
        if self.events > EXPORT_EVENTS_MAX {
            return Err(ExportError::TooLarge);
        }
        match page.next() {
            Some(last) => query.after = Some(last),
            None => self.query = None,
        }
        Ok(Some(page.items))
    }
}

#[cfg(test)]
mod tests {
    use domain::ports::MockLogStore;
    use domain::query::Page;

    use super::*;

    #[tokio::test]
    async fn exports_are_bounded_and_the_end_of_one_lets_another_begin() {
        let mut store = MockLogStore::new();
        store.expect_query().returning(|_| Ok(Page::default()));
        let exports = Exports::new(Arc::new(store));
        let begin = || exports.begin(EventFilter::default(), Order::default());
        let mut all: Vec<Export> = (0..EXPORTS_MAX).map(|_| begin().expect("an export")).collect();
        assert_eq!(begin().err(), Some(TooManyExports));
        let mut one = all.pop().expect("there is one");
        assert_eq!(one.next().await.expect("the store answers"), Some(Vec::new()));
        assert_eq!(one.next().await.expect("it has ended"), None);
        drop(one);
        assert!(begin().is_ok());
    }

    #[tokio::test]
    async fn an_export_beyond_the_limit_fails() {
        let mut export = Exports::new(Arc::new(MockLogStore::new())).begin(EventFilter::default(), Order::default());
        let export = export.as_mut().expect("an export");
        export.events = EXPORT_EVENTS_MAX + 1;
        let mut store = MockLogStore::new();
        store.expect_query().returning(|_| Ok(Page::default()));
        export.store = Arc::new(store);
        assert!(matches!(export.next().await, Err(ExportError::TooLarge)));
    }
}
