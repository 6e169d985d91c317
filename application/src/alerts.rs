//! Alerts that follow from what use cases see, told as rarely as the rules of [`domain::alert`] say.
//!
//! Invariant: of one thing alerts are told in the order in which it was seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::alert::{Alert, AlertState, Condition, FillCondition, Recurrence, Telling, Trouble};
use domain::breaker::BreakerState;
use domain::delivery::{Deliveries, Guarantee};
use domain::partition::Partition;
use domain::ports::{Alerter, BusState};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::deliver::Delivery;
use crate::health::Check;

/// How often is looked whether there is something to tell.
const INTERVAL: Duration = Duration::from_secs(1);

/// Something that happens again and again, with what is known of its last occurrence.
pub struct RecurringAlert<T> {
    alerter: Arc<dyn Alerter>,
    alert: fn(Telling, &T) -> Alert,
    began: Instant,
    seen: Mutex<Seen<T>>,
}

struct Seen<T> {
    recurrence: Recurrence,
    last: Option<T>,
}

impl<T> RecurringAlert<T> {
    /// Nothing has happened so far. `alert` makes the alert.
    #[must_use]
    pub fn new(alerter: Arc<dyn Alerter>, alert: fn(Telling, &T) -> Alert) -> Self {
        let seen = Mutex::new(Seen { recurrence: Recurrence::default(), last: None });
        Self { alerter, alert, began: Instant::now(), seen }
    }

    /// It happened so often since it was asked the last time, the last time like this.
    pub fn occurred(&self, occurrences: u64, last: T) {
        let mut seen = self.seen();
        if occurrences > 0 {
            seen.last = Some(last);
        }
        let telling = seen.recurrence.add(occurrences, self.began.elapsed());
        self.tell(&seen, telling);
    }

    /// Tells what becomes due, until `stop` says so: then what is left.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        every(INTERVAL, stop, || {
            let mut seen = self.seen();
            let telling = seen.recurrence.due(self.began.elapsed());
            self.tell(&seen, telling);
        })
        .await;
        self.tell_rest();
    }

    /// Tells what is left, for whoever is about to end.
    fn tell_rest(&self) {
        let mut seen = self.seen();
        let telling = seen.recurrence.rest();
        self.tell(&seen, telling);
    }

    fn seen(&self) -> MutexGuard<'_, Seen<T>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that nobody overtakes; an alerter does not block.
    fn tell(&self, seen: &Seen<T>, telling: Option<Telling>) {
        if let (Some(telling), Some(last)) = (telling, &seen.last) {
            self.alerter.alert((self.alert)(telling, last));
        }
    }
}

/// Trouble with something, and the reason that was seen last.
pub struct TroubleAlert {
    alerter: Arc<dyn Alerter>,
    alert: fn(AlertState, &str) -> Alert,
    began: Instant,
    trouble: Trouble,
    reason: String,
}

impl TroubleAlert {
    /// There is none so far. `alert` makes the alert.
    #[must_use]
    pub fn new(alerter: Arc<dyn Alerter>, alert: fn(AlertState, &str) -> Alert) -> Self {
        Self { alerter, alert, began: Instant::now(), trouble: Trouble::default(), reason: String::new() }
    }

    /// There is trouble for this reason, or none. To be called every few seconds.
    pub fn observe(&mut self, reason: Option<String>) {
        let seen = reason.is_some();
        self.reason = reason.unwrap_or_else(|| std::mem::take(&mut self.reason));
        if let Some(state) = self.trouble.observe(seen, self.began.elapsed()) {
            self.alerter.alert((self.alert)(state, &self.reason));
        }
    }

    /// Observes what `check` says, until `stop` says so.
    pub async fn run(mut self, check: Check, stop: watch::Receiver<bool>) {
        every(INTERVAL, stop, || self.observe(check())).await;
    }
}

/// Does something again and again, until `stop` says so.
async fn every(interval: Duration, mut stop: watch::Receiver<bool>, mut act: impl FnMut()) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(interval) => act(),
        }
    }
}

/// What a producer tells of: its circuit breaker and its journal, or a bus that is its own journal; events that are refused for
/// ever or lost; and accounts that do not add up.
pub struct ProducerAlerts {
    delivery: Arc<Delivery>,
    alerter: Arc<dyn Alerter>,
    breaker: Condition,
    journal_filling: FillCondition,
    journal_unwritable: TroubleAlert,
    refused_log_unwritable: TroubleAlert,
    /// Of a bus without a journal.
    bus_unusable: TroubleAlert,
    refused: RecurringAlert<(Partition, String)>,
    lost: RecurringAlert<(Partition, String)>,
    damaged: RecurringAlert<Partition>,
    /// How many bytes were damaged, as far as was told.
    damaged_told: u64,
    /// How many were refused and lost, as far as was told.
    told: (u64, u64),
    /// What was out of balance at the last look: a moment's imbalance is none.
    imbalances: [(Guarantee, i128); Guarantee::ALL.len()],
    conservation: Condition,
}

impl ProducerAlerts {
    /// Tells `alerter` of this delivery.
    #[must_use]
    pub fn new(delivery: Arc<Delivery>, alerter: Arc<dyn Alerter>) -> Self {
        let told_to = || Arc::clone(&alerter);
        Self {
            delivery,
            breaker: Condition::default(),
            journal_filling: FillCondition::default(),
            journal_unwritable: TroubleAlert::new(told_to(), Alert::journal_unwritable),
            refused_log_unwritable: TroubleAlert::new(told_to(), Alert::refused_log_unwritable),
            bus_unusable: TroubleAlert::new(told_to(), Alert::bus_unusable),
            refused: RecurringAlert::new(told_to(), |telling, (partition, reason)| {
                Alert::records_refused(telling, *partition, reason)
            }),
            lost: RecurringAlert::new(told_to(), |telling, (partition, reason)| {
                Alert::events_lost(telling, *partition, reason)
            }),
            damaged: RecurringAlert::new(told_to(), |telling, partition| Alert::journal_damaged(telling, *partition)),
            damaged_told: 0,
            told: (0, 0),
            imbalances: Guarantee::ALL.map(|guarantee| (guarantee, 0)),
            conservation: Condition::default(),
            alerter,
        }
    }

    /// Looks every second, until `stop` says so: then once more, and tells what is left.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        every(INTERVAL, stop, || self.look()).await;
        self.look();
        self.refused.tell_rest();
        self.lost.tell_rest();
        self.damaged.tell_rest();
    }

    fn look(&mut self) {
        self.look_at_bus();
        self.look_at_accounts();
    }

    fn look_at_bus(&mut self) {
        let (breaker, bus) = (self.delivery.breaker_state(), self.delivery.bus_state());
        let Some(journal) = self.delivery.journal() else {
            // A bus that is closed has no trouble. Asked afterwards, so that it cannot have been closed in between.
            if !self.delivery.is_closed() {
                self.bus_unusable.observe(trouble(bus));
            }
            return;
        };
        let open = match breaker {
            BreakerState::Closed => false,
            BreakerState::Open => true,
            BreakerState::HalfOpen => self.breaker.holds(),
        };
        if let Some(state) = self.breaker.observe(open) {
            let reason = trouble(bus).unwrap_or_else(|| "the bus does not report what it was given".to_owned());
            self.alerter.alert(Alert::breaker_open(state, &reason));
        }
        self.journal_unwritable.observe(journal.trouble());
        self.refused_log_unwritable.observe(self.delivery.unkept().map(|(fault, _)| fault));
        let fill = journal.fill();
        if let Some(state) = self.journal_filling.observe(fill) {
            self.alerter.alert(Alert::journal_filling(state, fill));
        }
    }

    fn look_at_accounts(&mut self) {
        let deliveries = self.delivery.snapshot().deliveries;
        let sum = |events: fn(&Deliveries) -> u64| deliveries.iter().map(events).sum::<u64>();
        let now = (sum(|of| of.dead_lettered), sum(|of| of.dropped.iter().sum()));
        if let Some(last) = self.delivery.last_misfortune() {
            self.refused.occurred(now.0.saturating_sub(self.told.0), last.clone());
            self.lost.occurred(now.1.saturating_sub(self.told.1), last);
            self.told = now;
        }
        let (partition, damaged_bytes) = self.delivery.journal_damage();
        self.damaged.occurred(damaged_bytes - self.damaged_told, partition);
        self.damaged_told = damaged_bytes;
        let imbalances = self.delivery.imbalances();
        let broken = imbalances == self.imbalances && imbalances.iter().any(|(_, imbalance)| *imbalance != 0);
        if let Some(state) = self.conservation.observe(broken) {
            self.alerter.alert(Alert::conservation_broken(state, &imbalances));
        }
        self.imbalances = imbalances;
    }
}

fn trouble(bus: BusState) -> Option<String> {
    match bus {
        BusState::Up => None,
        BusState::Down(reason) => Some(reason),
    }
}

/// A dead letter, for whoever is to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it was read: topic...
    pub topic: String,
    /// ... partition...
    pub partition: Partition,
    /// ... and offset.
    pub offset: u64,
    /// Why it cannot be stored.
    pub reason: String,
}

/// What a consumer tells of.
pub struct ConsumerAlerts {
    alerter: Arc<dyn Alerter>,
    /// Dead letters that were stored.
    pub dead_letters: RecurringAlert<Letter>,
}

impl ConsumerAlerts {
    /// Tells them to `alerter`.
    #[must_use]
    pub fn new(alerter: Arc<dyn Alerter>) -> Self {
        let dead_letters = RecurringAlert::new(Arc::clone(&alerter), |telling, letter: &Letter| {
            Alert::dead_letters(telling, &letter.topic, letter.partition, letter.offset, &letter.reason)
        });
        Self { alerter, dead_letters }
    }

    /// Tells this, which happens once.
    pub fn tell(&self, alert: Alert) {
        self.alerter.alert(alert);
    }

    /// Tells what becomes due, until `stop` says so: then what is left.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        self.dead_letters.run(stop).await;
    }
}

#[cfg(test)]
mod tests {
    use domain::ports::MockAlerter;

    use super::*;

    /// What was told: when, in seconds, the state and one detail.
    #[derive(Clone)]
    struct Told {
        began: Instant,
        alerts: Arc<Mutex<Vec<(u64, AlertState, String)>>>,
    }

    impl Told {
        fn new() -> Self {
            Self { began: Instant::now(), alerts: Arc::default() }
        }

        fn alerter(&self, detail: &'static str) -> Arc<MockAlerter> {
            let (mut alerter, told) = (MockAlerter::new(), self.clone());
            alerter.expect_alert().returning(move |alert| {
                let found = alert.details.into_iter().find(|(name, _)| *name == detail);
                let told_at = told.began.elapsed().as_secs();
                told.alerts.lock().expect("lock").push((
                    told_at,
                    alert.state,
                    found.map(|(_, value)| value).unwrap_or_default(),
                ));
            });
            Arc::new(alerter)
        }

        fn alerts(&self) -> Vec<(u64, AlertState, String)> {
            self.alerts.lock().expect("lock").clone()
        }
    }

    fn letter(offset: u64) -> Letter {
        Letter { topic: "logs".to_owned(), partition: 1, offset, reason: "no event".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_are_told_at_once_then_each_minute_and_the_rest_at_the_end() {
        let told = Told::new();
        let alerts = Arc::new(ConsumerAlerts::new(told.alerter("offset")));
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(Arc::clone(&alerts).run(stopped));
        alerts.dead_letters.occurred(2, letter(7));
        sleep(Duration::from_secs(10)).await;
        alerts.dead_letters.occurred(1, letter(8));
        sleep(Duration::from_secs(700)).await;
        alerts.dead_letters.occurred(1, letter(9));
        alerts.dead_letters.occurred(1, letter(10));
        stop.send(true).expect("it runs");
        running.await.expect("it ended by itself");
        let (firing, resolved) = (AlertState::Firing, AlertState::Resolved);
        let text = ToString::to_string;
        assert_eq!(
            told.alerts(),
            [
                (0, firing, text(&7)),
                (60, firing, text(&8)),
                (610, resolved, text(&8)),
                (710, firing, text(&9)),
                (710, firing, text(&10)),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_with_its_reason_when_it_begins_and_when_it_is_over() {
        let told = Told::new();
        let (reason, stop) = (Arc::new(Mutex::new(None)), watch::Sender::new(false));
        let asked = Arc::clone(&reason);
        let alert = TroubleAlert::new(told.alerter("reason"), Alert::bus_unusable);
        let check: Check = Arc::new(move || asked.lock().expect("lock").clone());
        let running = tokio::spawn(alert.run(check, stop.subscribe()));
        for (seconds, now) in [
            (5, None),
            (2, Some("a moment")),
            (9, None),
            (5, Some("no rights")),
            (10, None),
            (2, Some("no topic")),
            (80, None),
        ] {
            *reason.lock().expect("lock") = now.map(str::to_owned);
            sleep(Duration::from_secs(seconds)).await;
        }
        stop.send(true).expect("it runs");
        running.await.expect("it ended by itself");
        let expected = [(AlertState::Firing, "no rights".to_owned()), (AlertState::Resolved, "no topic".to_owned())];
        assert_eq!(told.alerts().into_iter().map(|(_, state, reason)| (state, reason)).collect::<Vec<_>>(), expected);
    }
}
