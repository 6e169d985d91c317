//! The connection that everything here shares: one socket, on which the calls of all tasks are pipelined.
//!
//! Constraints and invariants:
//! * A call is tried once and takes at most [`ROUND_TRIP_MAX`]; without a connection it fails at once.
//! * At most [`WAITING_MAX`] calls wait at a time.
//! * That Redis is away is said once, and once that it is back, however many calls notice it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{Cause, RequestClass};
use fred::clients::{Client as Redis, WithOptions};
use fred::error::Error;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
};
use fred::types::{FromValue, Value};
use fred::util::sha1_hash;
use tokio::time::Instant;

use crate::outage::Outage;

/// Longest wait for Redis.
pub const ROUND_TRIP_MAX: Duration = Duration::from_millis(50);
/// Most calls that wait for Redis at a time.
const WAITING_MAX: usize = 10_000;
/// How long Redis may be silent before the connection is given up for a new one.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A connection to Redis, for everything that is shared through it. Clones are the same connection.
#[derive(Clone)]
pub struct RedisConnection {
    redis: WithOptions<Redis>,
    outage: Arc<Mutex<Outage>>,
}

impl RedisConnection {
    /// Connects to Redis, in the background and for as long as it takes, again and again. To be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// The URL is none.
    pub fn connect(url: &str) -> Result<Self, Cause> {
        let mut config = Config::from_url(url)?;
        config.fail_fast = false;
        let performance = PerformanceConfig { default_command_timeout: ROUND_TRIP_MAX, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: Duration::from_secs(2),
            internal_command_timeout: Duration::from_secs(2),
            max_command_attempts: 1,
            max_command_buffer_len: WAITING_MAX,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            unresponsive: UnresponsiveConfig { max_timeout: Some(SILENCE_MAX), interval: SILENCE_MAX / 4 },
            ..ConnectionConfig::default()
        };
        let reconnect = ReconnectPolicy::new_exponential(0, 100, 5_000, 2);
        let redis = Redis::new(config, Some(performance), Some(connection), Some(reconnect));
        redis.connect();
        let options =
            Options { fail_fast: true, max_attempts: Some(1), timeout: Some(ROUND_TRIP_MAX), ..Options::default() };
        Ok(Self { redis: redis.with_options(&options), outage: Arc::default() })
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
        match (self.redis.is_connected(), error) {
            (true, None) => None,
            (true, Some(error)) => Some(format!("Redis does not do what it is asked: {error}")),
            (false, None) => Some("there is no connection to Redis".to_owned()),
            (false, Some(error)) => Some(format!("there is no connection to Redis: {error}")),
        }
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
        // The time-out of the library does not cover a full queue.
        let answer = match tokio::time::timeout(ROUND_TRIP_MAX, call(&self.redis)).await {
            Ok(answer) => answer.map_err(Cause::from),
            Err(elapsed) => Err(elapsed.into()),
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
