//! The limiter of what agents send.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter_redis::{ROUND_TRIP_MAX, RedisAgentLimiter, RedisConnection};
use contracts::Refill;
use contracts::agent_limiter::AgentLimiterSubject;
use domain::allowance::Allowance;
use domain::ports::{AgentLimiter, AgentLimits, Client};
use tokio::time::{Instant, interval, sleep};

use crate::Database;

/// Knows nothing: only Redis makes clients wait.
struct Nothing;

impl AgentLimiter for Nothing {
    fn wait(&self, _: Client) -> Option<Duration> {
        None
    }

    fn charge(&self, _: Client, _: usize, _: usize) {}
}

/// The allowance of events of each client in this process, as the limiter has one beside Redis.
struct Local {
    limits: AgentLimits,
    began: Instant,
    clients: Mutex<Vec<(Client, [Allowance; 2])>>,
}

impl Local {
    fn new(limits: AgentLimits) -> Self {
        Self { limits, began: Instant::now(), clients: Mutex::default() }
    }

    fn with<T>(&self, client: Client, work: impl FnOnce(&mut [Allowance; 2]) -> T) -> T {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, allowances)) = clients.iter_mut().find(|(of, _)| *of == client) {
            return work(allowances);
        }
        let mut allowances = [Allowance::default(); 2];
        let result = work(&mut allowances);
        clients.push((client, allowances));
        result
    }
}

impl AgentLimiter for Local {
    fn wait(&self, client: Client) -> Option<Duration> {
        let now = self.began.elapsed();
        let wait = self.with(client, |[events, bytes]| events.wait(now).max(bytes.wait(now)));
        Some(wait).filter(|wait| !wait.is_zero())
    }

    fn charge(&self, client: Client, events: usize, bytes: usize) {
        let now = self.began.elapsed();
        let limits = [self.limits.events_per_second, self.limits.bytes_per_second];
        self.with(client, |allowances| {
            for ((allowance, amount), limit) in allowances.iter_mut().zip([events, bytes]).zip(limits) {
                if let Some(limit) = limit {
                    allowance.charge(amount as u64, limit, now);
                }
            }
        });
    }
}

struct RedisAgentLimiters {
    database: Database,
}

impl AgentLimiterSubject for RedisAgentLimiters {
    async fn fresh(&self, limits: AgentLimits) -> Arc<dyn AgentLimiter> {
        let local = Arc::new(Local::new(limits));
        Arc::new(RedisAgentLimiter::new(self.database.fresh().await, limits, local))
    }

    async fn advance(&self, by: Duration) {
        sleep(by).await;
    }
}

fn client() -> Client {
    IpAddr::from([192, 0, 2, 1]).into()
}

fn events(per_second: u32) -> AgentLimits {
    AgentLimits { events_per_second: NonZeroU32::new(per_second), bytes_per_second: None }
}

/// Waits until a limiter makes the client wait, which a report in work may be about to do.
async fn told_to_wait(limiter: &RedisAgentLimiter) -> Duration {
    let began = Instant::now();
    loop {
        if let Some(wait) = limiter.wait(client()) {
            return wait;
        }
        assert!(began.elapsed() < contracts::DEADLINE, "Redis does not make the client wait");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_limiter_keeps_the_promises_of_its_port() {
    let Some(database) = Database::find(6) else { return };
    contracts::agent_limiter::all(&RedisAgentLimiters { database }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_learns_what_others_were_told_with_its_next_charge() {
    /// 300 events at 10 a second, or 30,000 bytes at 1,000, without the burst, and nearly so.
    const OWED: Duration = Duration::from_millis(28_900);
    let Some(database) = Database::find(7) else { return };
    let connection = database.fresh().await;
    let limits = AgentLimits { events_per_second: NonZeroU32::new(10), bytes_per_second: NonZeroU32::new(1_000) };
    for (round, (events, bytes)) in [(300, 1), (1, 30_000)].into_iter().enumerate() {
        database.eval("redis.call('FLUSHDB')").await;
        let [first, second] = [(); 2].map(|()| RedisAgentLimiter::new(connection.clone(), limits, Arc::new(Nothing)));
        let refill = Refill::begin();
        first.charge(client(), events, bytes);
        let wait = told_to_wait(&first).await;
        let is_of_all = |wait: Duration| wait + refill.at_most() > OWED && wait <= Duration::from_secs(30);
        assert!(is_of_all(wait), "round {round}: {wait:?}");
        assert_eq!(second.wait(client()), None, "it has not asked yet");
        second.charge(client(), 1, 1);
        let wait = told_to_wait(&second).await;
        assert!(is_of_all(wait), "round {round}: {wait:?}");
        let other: Client = IpAddr::from([192, 0, 2, 2]).into();
        assert_eq!(second.wait(other), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_together_keep_the_limit_of_a_client() {
    const EVENTS: usize = 50;
    let Some(database) = Database::find(8) else { return };
    let connection = database.fresh().await;
    let limiters = [(); 2].map(|()| RedisAgentLimiter::new(connection.clone(), events(1_000), Arc::new(Nothing)));
    let (mut refill, mut used) = (Refill::begin(), 0);
    // Far more requests than the limit allows.
    let mut requests = interval(Duration::from_millis(5));
    while refill.at_most() < Duration::from_secs(5) {
        requests.tick().await;
        refill.request();
        for limiter in limiters.iter().filter(|limiter| limiter.wait(client()).is_none()) {
            limiter.charge(client(), EVENTS, 1);
            used += EVENTS;
        }
    }
    // At most the burst, and what both have in work, comes on top; at most the burst is left.
    let [least, most] = [refill.at_least(), refill.at_most()].map(|refilled| 1_000.0 * refilled.as_secs_f64());
    let used = f64::from(u32::try_from(used).expect("few"));
    assert!(used >= least * 0.95 - 200.0 && used <= (most + 1_000.0) * 1.05 + 200.0, "{used}, and {least} to {most}");
}

/// Counts what is left to the limiter of the process.
#[derive(Default)]
struct Counting {
    waits: AtomicUsize,
    charged: AtomicUsize,
}

impl AgentLimiter for Counting {
    fn wait(&self, _: Client) -> Option<Duration> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        Some(Duration::from_secs(7))
    }

    fn charge(&self, _: Client, events: usize, _: usize) {
        self.charged.fetch_add(events, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn without_redis_each_process_limits_by_itself_and_no_call_waits() {
    // Nothing listens on port 1.
    let connection = RedisConnection::connect("redis://127.0.0.1:1", ROUND_TRIP_MAX).expect("a URL");
    let local = Arc::new(Counting::default());
    let limiter = RedisAgentLimiter::new(connection, events(10), Arc::<Counting>::clone(&local));
    for _ in 0..20 {
        limiter.charge(client(), 3, 1);
        assert_eq!(limiter.wait(client()), Some(Duration::from_secs(7)));
        // The report fails meanwhile.
        tokio::task::yield_now().await;
    }
    assert_eq!((local.waits.load(Ordering::Relaxed), local.charged.load(Ordering::Relaxed)), (20, 60));
}
