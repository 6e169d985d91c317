//! Limits of what agents send, shared by all producers.
//!
//! Constraints and invariants:
//! * A request never waits for Redis. What it used is charged in the process at once and reported to Redis behind its
//!   answer; the answer of Redis says how long its client has to wait for what all producers were told.
//! * One report of a client is in work at a time in a process, and has everything that was charged since the one before:
//!   the work for Redis is bounded by its own round trips.
//! * The debt is kept by the clock of Redis. Producers overdraw by the requests that they have in work, and by what others
//!   took since their last report.
//! * Without Redis each producer applies the whole limit. What was not reported then is not reported later.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{AgentLimiter, AgentLimits, CLIENTS_MAX, Cause, Client};
use domain::recent::Recent;
use tokio::time::Instant;

use crate::connection::{RedisConnection, Script};

/// Charges events and bytes: the fields hold the times, in microseconds, at which their buckets are full again. Arguments:
/// events per second, events, bytes per second, bytes; a rate of 0 means unlimited. Returns the microseconds until something
/// is left of both. Nobody pays back for longer than a minute.
const CHARGE: &str = "
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local kept = redis.call('HMGET', KEYS[1], 'events', 'bytes')
local ahead = 0
for n, name in ipairs({'events', 'bytes'}) do
  local per_second, amount = tonumber(ARGV[2 * n - 1]), tonumber(ARGV[2 * n])
  if per_second > 0 then
    local full = math.max(now, tonumber(kept[n]) or 0)
    full = math.min(full + amount * 1000000 / per_second, now + 61000000)
    if full > now then
      redis.call('HSET', KEYS[1], name, string.format('%.0f', full))
      ahead = math.max(ahead, full - now)
    end
  end
end
if ahead > 0 then redis.call('PEXPIRE', KEYS[1], math.ceil(ahead / 1000) + 1) end
return math.ceil(math.max(0, ahead - 1000000))
";

/// Limits of what agents send in one Redis.
pub struct RedisAgentLimiter {
    shared: Arc<Shared>,
    /// Limits what this process takes in by itself, which is all that is known during an outage.
    local: Arc<dyn AgentLimiter>,
}

struct Shared {
    connection: RedisConnection,
    charge: Script,
    limits: AgentLimits,
    clients: Mutex<Recent<Client, Account>>,
}

/// What this process knows of a client.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Before that it has to wait, as Redis said.
    wait_until: Option<Instant>,
    unreported: Amounts,
    is_reporting: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    events: u64,
    bytes: u64,
}

impl RedisAgentLimiter {
    /// Limits in the Redis of `connection`, and in `local`, which has the same limits. Charges must be made within a Tokio
    /// runtime.
    #[must_use]
    pub fn new(connection: RedisConnection, limits: AgentLimits, local: Arc<dyn AgentLimiter>) -> Self {
        let clients = Mutex::new(Recent::new(CLIENTS_MAX));
        Self { shared: Arc::new(Shared { connection, charge: Script::new(CHARGE), limits, clients }), local }
    }
}

impl AgentLimiter for RedisAgentLimiter {
    fn wait(&self, client: Client) -> Option<Duration> {
        let own = self.local.wait(client);
        if self.shared.limits == AgentLimits::default() {
            return own;
        }
        let until = self.shared.clients().entry(client).wait_until;
        let shared = until.map(|until| until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero());
        own.max(shared)
    }

    fn charge(&self, client: Client, events: usize, bytes: usize) {
        self.local.charge(client, events, bytes);
        if self.shared.limits == AgentLimits::default() {
            return;
        }
        let mut clients = self.shared.clients();
        let account = clients.entry(client);
        account.unreported.events = account.unreported.events.saturating_add(events as u64);
        account.unreported.bytes = account.unreported.bytes.saturating_add(bytes as u64);
        if !std::mem::replace(&mut account.is_reporting, true) {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.report(client).await });
        }
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Recent<Client, Account>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what was charged to a client, until there is nothing more.
    async fn report(&self, client: Client) {
        while let Some(amounts) = self.next_report(client) {
            // A report that may have been counted is not repeated; the process has charged its own share anyway.
            if let Ok(wait) = self.send(client, amounts).await {
                self.clients().entry(client).wait_until = Some(Instant::now() + wait);
            }
        }
    }

    fn next_report(&self, client: Client) -> Option<Amounts> {
        let mut clients = self.clients();
        let account = clients.entry(client);
        let amounts = std::mem::take(&mut account.unreported);
        account.is_reporting = amounts != Amounts::default();
        account.is_reporting.then_some(amounts)
    }

    async fn send(&self, client: Client, amounts: Amounts) -> Result<Duration, Cause> {
        let rate = |limit: Option<NonZeroU32>| i64::from(limit.map_or(0, NonZeroU32::get));
        let amount = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let arguments = vec![
            rate(self.limits.events_per_second).into(),
            amount(amounts.events).into(),
            rate(self.limits.bytes_per_second).into(),
            amount(amounts.bytes).into(),
        ];
        let key = format!("spillway:limit:agent:{client}");
        let micros: u64 = self.connection.run(&self.charge, &key, arguments).await?;
        Ok(Duration::from_micros(micros))
    }
}
