//! The connection that everything here shares: one socket, on which the calls of all tasks are pipelined.
//!
//! Constraints and invariants:
//! * A call is tried once and takes at most as long as the connection was told; without a connection it fails at once.
//! * After a silence nobody asks for a while, which also lets the library find that the connection is dead.
//! * At most [`WAITING_MAX`] calls wait at a time.
//! * That Redis is away is said once, and once that it is back, however many calls notice it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{Cause, RequestClass};
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

/// Longest wait for Redis that a request can afford.
pub const ROUND_TRIP_MAX: Duration = Duration::from_millis(50);
/// Most calls that wait for Redis at a time.
const WAITING_MAX: usize = 10_000;
const NO_CONNECTION: &str = "there is no connection to Redis";
/// How many times the longest wait Redis may be silent before it is not asked for a while, and the connection is given up
/// for a new one: a second, for [`ROUND_TRIP_MAX`].
const SILENT_ROUND_TRIPS_MAX: u32 = 20;

/// A connection to Redis, for everything that is shared through it. Clones are the same connection.
#[derive(Clone)]
pub struct RedisConnection {
    redis: WithOptions<Redis>,
    round_trip_max: Duration,
    outage: Arc<Mutex<Outage>>,
}

impl RedisConnection {
    /// Connects to Redis, in the background and for as long as it takes, again and again. Whoever asks Redis something
    /// waits at most `round_trip_max`; in a service that is [`ROUND_TRIP_MAX`]. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// The URL is none.
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
            // The library looks for how long nothing was sent without an answer: it needs the pause of an outage.
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

    /// Waits until Redis answers, however long that takes.
    pub async fn connected(&self) {
        // Fails only for a client that was told to give up.
        let _ = self.redis.wait_for_connect().await;
    }

    /// What is wrong while Redis is away, for health.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let outage = self.outage();
        let error = outage.error(Instant::now());
        if !self.redis.is_connected() {
            return Some(NO_CONNECTION.to_owned());
        }
        error.map(|error| format!("Redis does not do what it is asked: {error}"))
    }

    /// Runs a script over one key.
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
                // It did not run: Redis has been started anew, or never heard of it.
                Err(error) if error.details().starts_with("NOSCRIPT") => redis.eval(script.text, key, arguments).await,
                answer => answer,
            }
        };
        self.call(run).await
    }

    /// Asks Redis something, and notes whether it answers.
    ///
    /// # Errors
    /// Redis does not answer in time, or refuses. It may have done what it was asked.
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
        // The time-out of the library does not cover a full queue.
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

/// A script, which Redis knows by its hash once it has run.
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

/// The part of a key that tells classes apart.
pub(crate) fn class_name(class: RequestClass) -> &'static str {
    match class {
        RequestClass::Single => "single",
        RequestClass::Batch => "batch",
    }
}
