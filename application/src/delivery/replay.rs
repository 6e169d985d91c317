//! The task that sends backlogs to the bus and adopts journals of processes that have ended.
//!
//! Constraints and invariants:
//! * Only this task sends a backlog: the queues in turn, no more at a time than the bus reports early
//!   ([`domain::delivery::replay_window`]), and only while less than half of the memory is in use, so that partitions
//!   without a backlog find room.
//! * A hanging disk does not keep the process from stopping.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::delivery::breaker::BreakerState;
use domain::delivery::queue::{Effect, Event, NextReplay, Queue};
use domain::ports::{Backlog, Journal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::queues::{Listener, PartitionDelivery, lock};
use super::shared::Shared;
use crate::cause::Chain;

/// How often to check whether an unavailable bus answers again.
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_millis(500);
/// How often to look for journals without an owner.
const ADOPT_INTERVAL: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) async fn replay(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some(journal) = &self.journal else {
            let _ = stop.wait_for(|stop| *stop).await;
            return;
        };
        let mut stopped = pin!(async { stop.wait_for(|stop| *stop).await.map(drop) });
        let mut adopt = interval(ADOPT_INTERVAL);
        adopt.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_away = self.bus.look();
            if self.bus.breaker_state() != BreakerState::Closed {
                self.flush();
                if !is_away && self.queues.are_done() {
                    self.bus.judge(|breaker, _| breaker.nothing_waits());
                }
            }
            let mut wake_at = Instant::now() + if is_away { LOOK_AGAIN_INTERVAL } else { ADOPT_INTERVAL };
            for queue in self.queues.with_backlog() {
                let next = tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    next = self.replay_some(&queue) => next,
                };
                match next {
                    NextReplay::Now => wake_at = Instant::now(),
                    NextReplay::AfterReport => {}
                    NextReplay::At(at) => wake_at = wake_at.min(self.bus.at(at)),
                }
            }
            // Once the breaker is half-open, the next call is made when there is something to send.
            let half_open_at = self.bus.breaker.as_ref().and_then(|breaker| lock(breaker).half_open_at());
            let half_open_at = half_open_at.map(|at| self.bus.at(at)).filter(|at| *at > Instant::now());
            wake_at = half_open_at.map_or(wake_at, |at| wake_at.min(at));
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                _ = adopt.tick() => tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    () = self.adopt(journal.as_ref()) => {}
                },
                () = self.bus.replayable.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Sends the next part of a backlog to the bus, and returns when to continue.
    async fn replay_some(self: &Arc<Self>, queue: &Arc<PartitionDelivery>) -> NextReplay {
        let next = queue.lock().queue.next_replay();
        if matches!(next, NextReplay::At(at) if at > self.bus.now()) {
            return next;
        }
        let is_first_try = !matches!(next, NextReplay::At(_));
        let records_max = self.bus.replay_records_max(self.buffer());
        let is_missing = queue.partition >= self.bus.publisher.partition_count().get();
        // The topic was recreated with fewer partitions, or its metadata is not known yet: says nothing about the bus.
        if is_missing && is_first_try && records_max > 0 {
            tracing::warn!(
                partition = queue.partition,
                "the journal has events of a partition that does not exist, waiting for it"
            );
        }
        let event = if is_missing && records_max > 0 { Event::ReplayFailed } else { Event::Tick { records_max } };
        if let (Some(Effect::Read { from, to }), Some(backlog)) = (self.tell(queue, event), &queue.backlog) {
            let event = self.read_back(queue, backlog.as_ref(), from, to, is_first_try).await;
            self.tell(queue, event);
        }
        queue.lock().queue.next_replay()
    }

    async fn read_back(
        &self,
        queue: &PartitionDelivery,
        backlog: &dyn Backlog,
        from: u64,
        to: u64,
        is_first_try: bool,
    ) -> Event<Listener> {
        match backlog.read(queue.partition, from, to).await {
            Ok(chunk) => Event::ReadBack(chunk),
            Err(error) => {
                if is_first_try {
                    tracing::error!(partition = queue.partition, error = %Chain(&error), "cannot read the journal, retrying");
                }
                Event::ReplayFailed
            }
        }
    }

    /// Adopts the journals of processes that have ended, and releases those that are done.
    async fn adopt(&self, journal: &dyn Journal) {
        self.queues.drop_done();
        loop {
            match journal.adopt().await {
                Ok(Some(backlog)) => self.take_over(&backlog),
                Ok(None) => return self.adopting_failed.store(false, Ordering::Relaxed),
                Err(error) => {
                    if !self.adopting_failed.swap(true, Ordering::Relaxed) {
                        tracing::error!(error = %Chain(&error), "cannot look for journals of other processes, retrying");
                    }
                    return;
                }
            }
        }
    }

    fn take_over(&self, backlog: &Arc<dyn Backlog>) {
        for found in backlog.found() {
            let (partition, events) = (found.partition, found.records.iter().sum::<u64>());
            if found.damaged_bytes > 0 {
                self.ledger.damaged(partition, found.damaged_bytes);
            }
            if found.first == found.next {
                continue;
            }
            tracing::info!(partition, events, "sending events from the journal of an earlier process");
            let queue = Queue::adopted(found.first, found.next, found.records, self.bus.now());
            self.queues.adopt(partition, queue, Arc::clone(backlog));
        }
        self.bus.replayable.notify_one();
    }
}
