//! The shared connection: one socket, on which the calls of all tasks are pipelined.
//!
//! Constraints and invariants:
//! * A call is tried once and takes at most the configured time; without a connection it fails at once.
//! * After a silence no calls are made for some time, which also lets the library detect that the connection is dead.
//! * At most [`WAITING_MAX`] calls wait at a time.
//! * An outage of Redis is logged once, and its end once, however many calls notice it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::Cause;
use fred::clients::{Client as Redis, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
};
use fred::types::{FromValue, Value};
use fred::util::sha1_hash;
use tokio::time::Instant;

use crate::outage::Outage;

/// Maximum wait for Redis that a request can afford.
pub const ROUND_TRIP_MAX: Duration = Duration::from_millis(50);
/// Maximum number of calls that wait for Redis at a time.
const WAITING_MAX: usize = 10_000;
const NO_CONNECTION: &str = "not connected to Redis";
/// How long Redis may be silent, as a multiple of the maximum wait, before calls are paused and the connection is
/// replaced: one second, for [`ROUND_TRIP_MAX`].
const SILENT_ROUND_TRIPS_MAX: u32 = 20;

/// A connection to Redis, shared by everything in this crate. Clones use the same connection.
#[derive(Clone)]
pub struct RedisConnection {
    redis: WithOptions<Redis>,
    round_trip_max: Duration,
    outage: Arc<Mutex<Outage>>,
}

impl RedisConnection {
    /// Connects to Redis in the background, and retries without limit. A call waits at most `round_trip_max`; in a
    /// service that is [`ROUND_TRIP_MAX`]. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn connect(url: &str, round_trip_max: Duration) -> Result<Self, Cause> {
        let mut config = Config::from_url(url)?;
        config.fail_fast = false;
        let performance = PerformanceConfig { default_command_timeout: round_trip_max, ..PerformanceConfig::default() };
        let silence_max = round_trip_max * SILENT_ROUND_TRIPS_MAX;
        let connection = ConnectionConfig {
            connection_timeout: Duration::from_secs(2),
            internal_command_timeout: Duration::from_secs(2),
            max_command_attempts: 1,
            max_command_buffer_len: WAITING_MAX,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            // The library checks how long nothing was sent without an answer: it needs the pause of an outage.
            unresponsive: UnresponsiveConfig { max_timeout: Some(silence_max), interval: silence_max / 4 },
            ..ConnectionConfig::default()
        };
        let reconnect = ReconnectPolicy::new_exponential(0, 100, 5_000, 2);
        let redis = Redis::new(config, Some(performance), Some(connection), Some(reconnect));
        redis.connect();
        let options =
            Options { fail_fast: true, max_attempts: Some(1), timeout: Some(round_trip_max), ..Options::default() };
        Ok(Self {
            redis: redis.with_options(&options),
            round_trip_max,
            outage: Arc::new(Mutex::new(Outage::new(silence_max))),
        })
    }

    /// Waits until Redis answers, without limit.
    pub async fn connected(&self) {
        // Fails only for a client that has been configured to give up.
        let _ = self.redis.wait_for_connect().await;
    }

    /// What is wrong with Redis, if anything, for health.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let outage = self.outage();
        let error = outage.error(Instant::now());
        if !self.redis.is_connected() {
            return Some(NO_CONNECTION.to_owned());
        }
        error.map(|error| format!("calls to Redis fail: {error}"))
    }

    /// Runs a script on one key.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) async fn run<'a, R: FromValue>(
        &'a self,
        script: &Script,
        key: &str,
        arguments: Vec<Value>,
    ) -> Result<R, Cause> {
        let run = |redis: &'a WithOptions<Redis>| async move {
            match redis.evalsha(script.hash.as_str(), key, arguments.clone()).await {
                // The script did not run: Redis has restarted, or does not know it yet.
                Err(error) if error.details().starts_with("NOSCRIPT") => redis.eval(script.text, key, arguments).await,
                answer => answer,
            }
        };
        self.call(run).await
    }

    /// Makes a call, and records whether Redis answers.
    ///
    /// # Errors
    /// Redis does not answer in time, or returns an error. The call may have been executed nevertheless.
    pub(crate) async fn call<'a, R, F: Future<Output = Result<R, Error>>>(
        &'a self,
        call: impl FnOnce(&'a WithOptions<Redis>) -> F,
    ) -> Result<R, Cause> {
        let answer = if !self.redis.is_connected() {
            // The library would wait for a connection, whatever its options say.
            Err(NO_CONNECTION.into())
        } else if self.outage().is_paused(Instant::now()) {
            Err("Redis is silent".into())
        } else {
            self.try_call(call).await
        };
        match &answer {
            Ok(_) if self.outage().succeeded(Instant::now()) => tracing::info!("Redis answers again"),
            Err(error) if self.outage().failed(error.as_ref(), Instant::now()) => tracing::warn!(
                %error,
                "Redis does not answer: each process applies the whole rate limit by itself, and remembers no answers"
            ),
            Ok(_) | Err(_) => {}
        }
        answer
    }

    async fn try_call<'a, R, F: Future<Output = Result<R, Error>>>(
        &'a self,
        call: impl FnOnce(&'a WithOptions<Redis>) -> F,
    ) -> Result<R, Cause> {
        // The library's timeout does not cover a full queue.
        let answer = match tokio::time::timeout(self.round_trip_max, call(&self.redis)).await {
            Ok(Err(error)) if *error.kind() == ErrorKind::Timeout => Err(error.into()),
            Ok(answer) => return answer.map_err(Cause::from),
            Err(elapsed) => Err(elapsed.into()),
        };
        self.outage().timed_out(Instant::now());
        answer
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A script; Redis knows it by its hash once it has run.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    /// A script that works on one key.
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, hash: sha1_hash(text) }
    }
}
