//! Which request of an agent may begin, and which waits for it.
//!
//! Constraints and invariants:
//! * A request that waits has read nothing of its body and holds no room and no tokens: giving up costs nothing.
//! * Requests of one client begin in the order in which they came.
//! * At most [`CLIENT_WAITERS_MAX`] requests of a client wait, and at most so many of all; others are refused at once.
//! * Nothing waits longer than `hold`, nor once the process begins to stop.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{AgentLimiter, Client};
use tokio::time::{Instant, sleep_until};

/// Most requests of one client that wait.
pub const CLIENT_WAITERS_MAX: usize = 8;
/// How often a request that waits looks again: nobody tells when room appears.
pub(in crate::ingest) const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// What a request lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Its client has used up what it may send; so long until it may send again.
    Tokens(Duration),
    /// The delivery queues are full for INFO, or the memory for bodies is used up.
    Room,
    /// Too many other requests wait.
    Turn,
}

/// What became of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// How long the request waited.
    pub held: Duration,
    /// What it still lacks; `None` if it may begin.
    pub shortage: Option<Shortage>,
}

/// Lets requests of agents begin, at once or after a while.
pub struct AgentAdmission {
    /// Limits the clients, and is told what they sent.
    pub(super) limiter: Arc<dyn AgentLimiter>,
    hold: Duration,
    waiters_max: usize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    count: usize,
    next: u64,
    clients: HashMap<Client, VecDeque<u64>>,
}

/// A place in the queue of a client, free again when dropped.
pub(in crate::ingest) struct Place<'a> {
    admission: &'a AgentAdmission,
    client: Client,
    number: u64,
}

impl AgentAdmission {
    /// Holds requests for at most `hold`, and at most `waiters_max` of them at a time.
    #[must_use]
    pub fn new(limiter: Arc<dyn AgentLimiter>, hold: Duration, waiters_max: usize) -> Self {
        Self { limiter, hold, waiters_max, waiters: Mutex::default() }
    }

    /// Waits until a request of this client may begin, but not longer than `patience` and not beyond the moment at which
    /// `stop` resolves.
    pub(super) async fn admit(
        &self,
        client: Client,
        patience: Duration,
        has_room: impl Fn() -> bool,
        stop: impl Future<Output = ()>,
    ) -> Admission {
        let began = Instant::now();
        let shortage = || match self.limiter.wait(client) {
            Some(wait) => Some(Shortage::Tokens(wait)),
            None if has_room() => None,
            None => Some(Shortage::Room),
        };
        let place = match self.enter(client, || shortage().is_some()) {
            Entry::Begins => return Admission { held: Duration::ZERO, shortage: None },
            Entry::Full => {
                let tokens = shortage().filter(|shortage| matches!(shortage, Shortage::Tokens(_)));
                return Admission { held: Duration::ZERO, shortage: tokens.or(Some(Shortage::Turn)) };
            }
            Entry::Waits(place) => place,
        };
        let mut stop = pin!(stop);
        let mut stopped = false;
        let deadline = began + self.hold.min(patience);
        loop {
            let now = Instant::now();
            let is_over = stopped || now >= deadline;
            let lacking = if is_over || place.is_first() { shortage() } else { Some(Shortage::Turn) };
            if lacking.is_none() || is_over {
                return Admission { held: now.duration_since(began), shortage: lacking };
            }
            tokio::select! {
                () = &mut stop => stopped = true,
                () = sleep_until(deadline.min(now + LOOK_INTERVAL)) => {}
            }
        }
    }

    /// How long a request waits at most, if its client has so much patience.
    pub(in crate::ingest) fn hold(&self, patience: Duration) -> Duration {
        self.hold.min(patience)
    }

    /// Whether requests of this client wait: one that comes now has to queue behind them.
    pub(in crate::ingest) fn has_waiters(&self, client: Client) -> bool {
        self.waiters().clients.contains_key(&client)
    }

    /// A place in the queue of a client, for a request that has to wait for something else; `None` if too many wait.
    pub(in crate::ingest) fn queue(&self, client: Client) -> Option<Place<'_>> {
        match self.enter(client, || true) {
            Entry::Waits(place) => Some(place),
            Entry::Full | Entry::Begins => None,
        }
    }

    /// Finds a place in the queue for a request that has to wait.
    fn enter(&self, client: Client, is_short: impl FnOnce() -> bool) -> Entry<'_> {
        let mut waiters = self.waiters();
        let before = waiters.clients.get(&client).map_or(0, VecDeque::len);
        if before == 0 && !is_short() {
            return Entry::Begins;
        }
        if before >= CLIENT_WAITERS_MAX || waiters.count >= self.waiters_max {
            return Entry::Full;
        }
        let number = waiters.next;
        waiters.next += 1;
        waiters.count += 1;
        waiters.clients.entry(client).or_default().push_back(number);
        Entry::Waits(Place { admission: self, client, number })
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entry<'a> {
    Begins,
    Full,
    Waits(Place<'a>),
}

impl Place<'_> {
    /// Whether all requests of the client that came before have begun or given up.
    pub(in crate::ingest) fn is_first(&self) -> bool {
        let waiters = self.admission.waiters();
        waiters.clients.get(&self.client).and_then(VecDeque::front) == Some(&self.number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiters = self.admission.waiters();
        waiters.count = waiters.count.saturating_sub(1);
        if let Some(numbers) = waiters.clients.get_mut(&self.client) {
            numbers.retain(|number| *number != self.number);
            if numbers.is_empty() {
                waiters.clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    const HOLD: Duration = Duration::from_secs(3);

    /// Makes every client wait until this time, in milliseconds.
    struct Until(Instant, AtomicU64);

    impl AgentLimiter for Until {
        fn wait(&self, _: Client) -> Option<Duration> {
            let until = self.0 + Duration::from_millis(self.1.load(Ordering::Relaxed));
            Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
        }

        fn charge(&self, _: Client, _: usize, _: usize) {}
    }

    fn client(last: u8) -> Client {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn admission(busy_ms: u64, waiters_max: usize) -> AgentAdmission {
        AgentAdmission::new(Arc::new(Until(Instant::now(), busy_ms.into())), HOLD, waiters_max)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_tokens_or_room_and_no_longer_than_it_may() {
        let free = admission(0, 9).admit(client(1), HOLD, || true, pending()).await;
        assert_eq!(free, Admission { held: Duration::ZERO, shortage: None });
        let soon = admission(1_000, 9).admit(client(1), HOLD, || true, pending()).await;
        assert!(
            soon.shortage.is_none() && soon.held >= Duration::from_secs(1) && soon.held < Duration::from_millis(1_100)
        );
        let late = admission(5_000, 9).admit(client(1), HOLD, || true, pending()).await;
        assert_eq!((late.held, late.shortage), (HOLD, Some(Shortage::Tokens(Duration::from_secs(2)))));
        let full = admission(0, 9).admit(client(1), HOLD, || false, pending()).await;
        assert_eq!((full.held, full.shortage), (HOLD, Some(Shortage::Room)));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_client_begin_in_order_and_too_many_are_refused_at_once() {
        let admission = Arc::new(admission(1_000, 10));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..=CLIENT_WAITERS_MAX {
            let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let admitted = admission.admit(client(1), HOLD, || true, pending()).await;
                order.lock().expect("lock").push(number);
                admitted
            }));
            tokio::task::yield_now().await;
        }
        // Two more waiters of other clients fit, and a third does not.
        let others: Vec<_> = (2..5)
            .map(|last| {
                let admission = Arc::clone(&admission);
                tokio::spawn(async move { admission.admit(client(last), HOLD, || true, pending()).await })
            })
            .collect();
        let mut refused = 0;
        for task in tasks {
            refused += usize::from(task.await.expect("it ends").shortage.is_some());
        }
        let mut others_refused = 0;
        for task in others {
            others_refused += usize::from(task.await.expect("it ends").shortage.is_some());
        }
        assert_eq!((refused, others_refused), (1, 1));
        let order = order.lock().expect("lock");
        assert_eq!(*order, [8, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(admission.waiters().count, 0);
        assert!(admission.waiters().clients.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_leaves_its_place() {
        let admission = admission(60_000, 9);
        let given_up =
            tokio::time::timeout(Duration::from_secs(1), admission.admit(client(1), HOLD, || true, pending())).await;
        assert!(given_up.is_err());
        assert_eq!(admission.waiters().count, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait_and_admits_what_has_room() {
        let room = AtomicBool::new(false);
        let stop = || async { tokio::time::sleep(Duration::from_millis(500)).await };
        let refused = admission(0, 9).admit(client(1), HOLD, || room.load(Ordering::Relaxed), stop()).await;
        assert_eq!((refused.held.as_millis(), refused.shortage), (500, Some(Shortage::Room)));
        let looks = AtomicU64::new(0);
        let admitted = admission(0, 9)
            .admit(client(1), HOLD, || looks.fetch_add(1, Ordering::Relaxed) > 1, std::future::ready(()))
            .await;
        assert!(admitted.shortage.is_none() && admitted.held < Duration::from_millis(100), "{admitted:?}");
    }
}
