//! Alerts raised by the use cases, at the frequency set by the rules of [`domain::alert`].
//!
//! Invariant: the alerts of one kind are sent in the order in which their causes were seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::alert::{Alert, AlertState, AlertUpdate, Condition, FillCondition, Recurrence, Trouble};
use domain::delivery::breaker::BreakerState;
use domain::delivery::{Deliveries, Guarantee};
use domain::partition::Partition;
use domain::ports::{Alerter, BusState};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::delivery::{Delivery, DeliveryStatus};
use crate::health::Check;

/// How often to check for alerts that are due.
const INTERVAL: Duration = Duration::from_secs(1);

/// A recurring incident and the details of its last occurrence.
pub struct RecurringAlert<T> {
    alerter: Arc<dyn Alerter>,
    alert: fn(AlertUpdate, &T) -> Alert,
    began: Instant,
    seen: Mutex<Seen<T>>,
}

struct Seen<T> {
    recurrence: Recurrence,
    last: Option<T>,
}

impl<T> RecurringAlert<T> {
    /// No occurrence so far. `alert` creates the alert.
    #[must_use]
    pub fn new(alerter: Arc<dyn Alerter>, alert: fn(AlertUpdate, &T) -> Alert) -> Self {
        let seen = Mutex::new(Seen { recurrence: Recurrence::default(), last: None });
        Self { alerter, alert, began: Instant::now(), seen }
    }

    /// Records `occurrences` since the last call, and the details of the last one.
    pub fn occurred(&self, occurrences: u64, last: T) {
        let mut seen = self.seen();
        if occurrences > 0 {
            seen.last = Some(last);
        }
        let telling = seen.recurrence.add(occurrences, self.began.elapsed());
        self.tell(&seen, telling);
    }

    /// Sends alerts that become due, until `stop`; then sends the remaining ones.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        every(INTERVAL, stop, || {
            let mut seen = self.seen();
            let telling = seen.recurrence.due(self.began.elapsed());
            self.tell(&seen, telling);
        })
        .await;
        self.tell_rest();
    }

    /// Sends what has not been reported yet. Called before the process ends.
    fn tell_rest(&self) {
        let mut seen = self.seen();
        let telling = seen.recurrence.rest();
        self.tell(&seen, telling);
    }

    fn seen(&self) -> MutexGuard<'_, Seen<T>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called under the lock, so that alerts stay in order; an alerter does not block.
    fn tell(&self, seen: &Seen<T>, telling: Option<AlertUpdate>) {
        if let (Some(telling), Some(last)) = (telling, &seen.last) {
            self.alerter.alert((self.alert)(telling, last));
        }
    }
}

/// Trouble with a component, and the last reason seen.
pub struct FaultAlert {
    alerter: Arc<dyn Alerter>,
    alert: fn(AlertState, &str) -> Alert,
    began: Instant,
    fault: Trouble,
    reason: String,
}

impl FaultAlert {
    /// No fault so far. `alert` creates the alert.
    #[must_use]
    pub fn new(alerter: Arc<dyn Alerter>, alert: fn(AlertState, &str) -> Alert) -> Self {
        Self { alerter, alert, began: Instant::now(), fault: Trouble::default(), reason: String::new() }
    }

    /// Records a fault with this reason, or that there is none. Call it every few seconds.
    pub fn observe(&mut self, reason: Option<String>) {
        let seen = reason.is_some();
        self.reason = reason.unwrap_or_else(|| std::mem::take(&mut self.reason));
        if let Some(state) = self.fault.observe(seen, self.began.elapsed()) {
            self.alerter.alert((self.alert)(state, &self.reason));
        }
    }

    /// Observes the result of `check`, until `stop`.
    pub async fn run(mut self, check: Check, stop: watch::Receiver<bool>) {
        every(INTERVAL, stop, || self.observe(check())).await;
    }
}

/// Repeats an action until `stop`.
async fn every(interval: Duration, mut stop: watch::Receiver<bool>, mut act: impl FnMut()) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(interval) => act(),
        }
    }
}

/// The alerts of a producer: its circuit breaker and journal, or a bus that is its own journal; events that were
/// permanently rejected or lost; and accounts that do not balance.
pub struct ProducerAlerts {
    delivery: Arc<Delivery>,
    alerter: Arc<dyn Alerter>,
    breaker: Condition,
    journal_filling: FillCondition,
    journal_unwritable: FaultAlert,
    refused_log_unwritable: FaultAlert,
    /// For a bus without a journal.
    bus_unusable: FaultAlert,
    refused: RecurringAlert<(Partition, String)>,
    lost: RecurringAlert<(Partition, String)>,
    damaged: RecurringAlert<Partition>,
    /// Damaged bytes reported so far.
    damaged_told: u64,
    /// Rejected and lost events reported so far.
    told: (u64, u64),
    /// Imbalances at the last check: a momentary imbalance is not reported.
    imbalances: [(Guarantee, i128); Guarantee::ALL.len()],
    conservation: Condition,
}

impl ProducerAlerts {
    /// Sends alerts about this delivery to `alerter`.
    #[must_use]
    pub fn new(delivery: Arc<Delivery>, alerter: Arc<dyn Alerter>) -> Self {
        let told_to = || Arc::clone(&alerter);
        Self {
            delivery,
            breaker: Condition::default(),
            journal_filling: FillCondition::default(),
            journal_unwritable: FaultAlert::new(told_to(), Alert::journal_unwritable),
            refused_log_unwritable: FaultAlert::new(told_to(), Alert::refused_log_unwritable),
            bus_unusable: FaultAlert::new(told_to(), Alert::bus_unusable),
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

    /// Checks every second until `stop`; then checks again and sends the remaining alerts.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        every(INTERVAL, stop, || self.look()).await;
        self.look();
        self.refused.tell_rest();
        self.lost.tell_rest();
        self.damaged.tell_rest();
    }

    fn look(&mut self) {
        let status = self.delivery.status();
        self.look_at_bus(&status);
        self.look_at_accounts(status);
    }

    fn look_at_bus(&mut self, status: &DeliveryStatus) {
        let DeliveryStatus { breaker, bus, .. } = status;
        let Some(journal) = &status.journal else {
            // A closed bus has no fault.
            if !status.is_closed {
                self.bus_unusable.observe(fault(bus));
            }
            return;
        };
        let open = match breaker {
            BreakerState::Closed => false,
            BreakerState::Open => true,
            BreakerState::HalfOpen => self.breaker.holds(),
        };
        if let Some(state) = self.breaker.observe(open) {
            let reason = fault(bus).unwrap_or_else(|| "the bus does not report published records".to_owned());
            self.alerter.alert(Alert::breaker_open(state, &reason));
        }
        self.journal_unwritable.observe(journal.fault.clone());
        self.refused_log_unwritable.observe(journal.unkept.as_ref().map(|(fault, _)| fault.clone()));
        let usage = journal.usage;
        if let Some(state) = self.journal_filling.observe(usage) {
            self.alerter.alert(Alert::journal_filling(state, usage));
        }
    }

    fn look_at_accounts(&mut self, status: DeliveryStatus) {
        let deliveries = status.deliveries;
        let sum = |events: fn(&Deliveries) -> u64| deliveries.iter().map(events).sum::<u64>();
        let now = (sum(|of| of.dead_lettered), sum(|of| of.dropped.iter().sum()));
        if let Some(last) = status.last_rejection {
            self.refused.occurred(now.0.saturating_sub(self.told.0), last);
            self.told.0 = now.0;
        }
        if let Some(last) = status.last_loss {
            self.lost.occurred(now.1.saturating_sub(self.told.1), last);
            self.told.1 = now.1;
        }
        let (partition, damaged_bytes) = status.journal.as_ref().map(|journal| journal.damage).unwrap_or_default();
        self.damaged.occurred(damaged_bytes - self.damaged_told, partition);
        self.damaged_told = damaged_bytes;
        let imbalances = status.imbalances;
        let broken = imbalances == self.imbalances && imbalances.iter().any(|(_, imbalance)| *imbalance != 0);
        if let Some(state) = self.conservation.observe(broken) {
            self.alerter.alert(Alert::conservation_broken(state, &imbalances));
        }
        self.imbalances = imbalances;
    }
}

fn fault(bus: &BusState) -> Option<String> {
    match bus {
        BusState::Up => None,
        BusState::Down(reason) => Some(reason.clone()),
    }
}

/// A dead letter, as reported in an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRef {
    /// Topic that it was read from...
    pub topic: String,
    /// ... partition...
    pub partition: Partition,
    /// ... and offset.
    pub offset: u64,
    /// Why it cannot be stored.
    pub reason: String,
}

/// The alerts of a consumer.
pub struct ConsumerAlerts {
    alerter: Arc<dyn Alerter>,
    /// Dead letters that were stored.
    pub dead_letters: RecurringAlert<DeadLetterRef>,
}

impl ConsumerAlerts {
    /// Sends the alerts to `alerter`.
    #[must_use]
    pub fn new(alerter: Arc<dyn Alerter>) -> Self {
        let dead_letters = RecurringAlert::new(Arc::clone(&alerter), |telling, letter: &DeadLetterRef| {
            Alert::dead_letters(telling, &letter.topic, letter.partition, letter.offset, &letter.reason)
        });
        Self { alerter, dead_letters }
    }

    /// Sends an alert that occurs once.
    pub fn tell(&self, alert: Alert) {
        self.alerter.alert(alert);
    }

    /// Sends alerts that become due, until `stop`; then sends the remaining ones.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        self.dead_letters.run(stop).await;
    }
}

#[cfg(test)]
mod tests {
    use domain::ports::MockAlerter;

    use super::*;

    /// An alert that was sent: its time in seconds, its state and one detail.
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

    fn letter(offset: u64) -> DeadLetterRef {
        DeadLetterRef { topic: "logs".to_owned(), partition: 1, offset, reason: "not an event".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_are_reported_at_once_then_each_minute_and_the_rest_at_the_end() {
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
        running.await.expect("it ended normally");
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
    async fn trouble_is_reported_with_its_reason_when_it_begins_and_when_it_ends() {
        let told = Told::new();
        let (reason, stop) = (Arc::new(Mutex::new(None)), watch::Sender::new(false));
        let asked = Arc::clone(&reason);
        let alert = FaultAlert::new(told.alerter("reason"), Alert::bus_unusable);
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
        running.await.expect("it ended normally");
        let expected = [(AlertState::Firing, "no rights".to_owned()), (AlertState::Resolved, "no topic".to_owned())];
        assert_eq!(told.alerts().into_iter().map(|(_, state, reason)| (state, reason)).collect::<Vec<_>>(), expected);
    }
}
