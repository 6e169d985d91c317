//! A store in front of another one, for tests in which something happens around an append.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Uuid;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::ports::{Append, Appended, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, Page, StoredEvent, TailPage, TailQuery};
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;

/// What becomes of the appends and probes of a store.
#[async_trait]
pub trait Appending: Send + Sync {
    /// Appends to `store`, or not.
    ///
    /// # Errors
    /// As [`LogStore::append`].
    async fn append<'a>(&self, store: &dyn LogStore, append: &Append<'a>) -> Result<Appended, StoreError>;

    /// Probes `store`, or not.
    ///
    /// # Errors
    /// As [`LogStore::probe`].
    async fn probe<'a>(&self, store: &dyn LogStore, append: &Append<'a>) -> Result<(), StoreError> {
        store.probe(append).await
    }
}

/// A store of which appends and probes go through [`Appending`], and everything else does not.
pub struct AppendingStore<A> {
    /// The store itself.
    pub store: Arc<dyn LogStore>,
    /// What its appends go through.
    pub appending: A,
}

#[async_trait]
impl<A: Appending> LogStore for AppendingStore<A> {
    async fn close(&self) {
        self.store.close().await;
    }

    async fn position(&self, group_partition: &GroupPartition) -> Result<Option<u64>, StoreError> {
        self.store.position(group_partition).await
    }

    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError> {
        self.appending.append(self.store.as_ref(), append).await
    }

    async fn probe<'a>(&self, append: &Append<'a>) -> Result<(), StoreError> {
        self.appending.probe(self.store.as_ref(), append).await
    }

    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        self.store.query(query).await
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.store.find(event_id).await
    }

    async fn stats(&self, query: &StatsQuery) -> Result<Counts, StoreError> {
        self.store.stats(query).await
    }

    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        self.store.tail(query).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError> {
        self.store.dead_letters(query).await
    }

    async fn count_dead_letters(&self, filter: &DeadLetterFilter, max: u64) -> Result<u64, StoreError> {
        self.store.count_dead_letters(filter, max).await
    }

    async fn mark_redriven(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.store.mark_redriven(ids, at).await
    }

    async fn mark_copied(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.store.mark_copied(ids, at).await
    }

    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        self.store.expire(oldest).await
    }
}
