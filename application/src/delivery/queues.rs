//! The delivery queues of a process: one for each partition, and one for each partition of an adopted journal.
//!
//! Invariants: a thread holds the lock of at most one queue; the lock of the adopted ones is taken before it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use domain::delivery::queue::{Effect, Event, Promise, Queue};
use domain::delivery::{Deliveries, Guarantee};
use domain::partition::Partition;
use domain::ports::{Backlog, Journal, PublishError};
use tokio::sync::oneshot;

/// Receives the promise for a batch.
pub(super) type Listener = oneshot::Sender<Result<Promise, PublishError>>;

/// The queue of a partition.
pub(super) struct PartitionDelivery {
    pub(super) partition: Partition,
    /// Its records on disk, if there is a journal.
    pub(super) backlog: Option<Arc<dyn Backlog>>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) queue: Queue<Listener>,
    /// Empty between events: kept for its memory.
    pub(super) effects: VecDeque<Effect<Listener>>,
    /// When the present event happened.
    pub(super) now: Duration,
}

/// All queues.
#[derive(Default)]
pub(super) struct Queues {
    /// By partition.
    own: RwLock<Vec<Arc<PartitionDelivery>>>,
    adopted: Mutex<Adopted>,
    /// Number of queues with a backlog.
    pub(super) backlogs: AtomicUsize,
}

/// Queues of journals whose process has ended.
#[derive(Default)]
struct Adopted {
    queues: Vec<Arc<PartitionDelivery>>,
    /// The accounts of those that are done.
    done: [Deliveries; Guarantee::ALL.len()],
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartitionDelivery {
    fn new(partition: Partition, queue: Queue<Listener>, backlog: Option<Arc<dyn Backlog>>) -> Self {
        Self { partition, backlog, state: Mutex::new(State { queue, effects: VecDeque::new(), now: Duration::ZERO }) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Tells the queue what happened.
    pub(super) fn handle(&mut self, event: Event<Listener>) {
        self.queue.handle(event, self.now, &mut self.effects);
    }
}

impl Queues {
    pub(super) fn own(&self) -> Vec<Arc<PartitionDelivery>> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The queue of a partition, created on first use.
    pub(super) fn of(&self, partition: Partition, journal: Option<&Arc<dyn Journal>>) -> Arc<PartitionDelivery> {
        let index = partition as usize;
        if let Some(queue) = self.own.read().unwrap_or_else(PoisonError::into_inner).get(index) {
            return Arc::clone(queue);
        }
        let mut queues = self.own.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(queue) = queues.get(index) {
                return Arc::clone(queue);
            }
            let partition = Partition::try_from(queues.len()).unwrap_or(Partition::MAX);
            let backlog = journal.map(|journal| Arc::clone(journal) as Arc<dyn Backlog>);
            queues.push(Arc::new(PartitionDelivery::new(partition, Queue::new(journal.is_some()), backlog)));
        }
    }

    /// Adds the queue of an adopted journal; it has a backlog.
    pub(super) fn adopt(&self, partition: Partition, queue: Queue<Listener>, backlog: Arc<dyn Backlog>) {
        if queue.has_backlog() {
            self.backlogs.fetch_add(1, Ordering::AcqRel);
        }
        lock(&self.adopted).queues.push(Arc::new(PartitionDelivery::new(partition, queue, Some(backlog))));
    }

    /// Drops the queues of adopted journals that are done.
    pub(super) fn drop_done(&self) {
        let Adopted { queues, done } = &mut *lock(&self.adopted);
        queues.retain(|queue| {
            let state = queue.lock();
            let is_done = state.queue.is_done();
            if is_done {
                add(done, &state.queue.accounts());
            }
            !is_done
        });
    }

    /// Whether all that was taken is settled.
    pub(super) fn are_done(&self) -> bool {
        let adopted = lock(&self.adopted);
        adopted.queues.iter().chain(&self.own()).all(|queue| queue.lock().queue.is_done())
    }

    /// The queues with a backlog, the longest-waiting first.
    pub(super) fn with_backlog(&self) -> Vec<Arc<PartitionDelivery>> {
        if self.backlogs.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let queues = lock(&self.adopted).queues.clone().into_iter().chain(self.own());
        let mut queues: Vec<_> =
            queues.filter_map(|queue| Some((queue.lock().queue.backlog_since()?, Arc::clone(&queue)))).collect();
        queues.sort_by_key(|(since, _)| *since);
        queues.into_iter().map(|(_, queue)| queue).collect()
    }

    /// The accounts of all events, and for each guarantee how many are counted too often or are missing. Each queue
    /// balances at every moment, so their sums do.
    pub(super) fn accounts(&self) -> ([Deliveries; Guarantee::ALL.len()], [(Guarantee, i128); Guarantee::ALL.len()]) {
        // Held, so that a queue that is done is counted once.
        let adopted = lock(&self.adopted);
        let mut deliveries = adopted.done;
        let mut imbalances = Guarantee::ALL.map(|guarantee| (guarantee, 0));
        for ((_, imbalance), of) in imbalances.iter_mut().zip(&deliveries) {
            *imbalance = of.imbalance();
        }
        for queue in adopted.queues.iter().chain(&self.own()) {
            let state = queue.lock();
            add(&mut deliveries, &state.queue.accounts());
            for ((_, imbalance), of) in imbalances.iter_mut().zip(state.queue.imbalances()) {
                *imbalance += of;
            }
        }
        (deliveries, imbalances)
    }
}

fn add(sum: &mut [Deliveries; Guarantee::ALL.len()], of: &[Deliveries; Guarantee::ALL.len()]) {
    for (sum, of) in sum.iter_mut().zip(of) {
        sum.add(of);
    }
}
