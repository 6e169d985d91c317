//! The query API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use application::dead_letters::{DeadLetters, Redrive, Redriven};
use application::health::Health;
use application::query::{Query as QueryLogs, Stats};
use application::tail::Tail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::dead_letter::{DeadLetterFilter, StoredDeadLetter};
use domain::event::from_hex;
use domain::level::Level;
use domain::ports::QueryCache;
use domain::query::{LogFilter, LogQuery};
use domain::timestamp::Timestamp;
use poem::http::HeaderMap;
use poem::web::Data;
use poem::{Endpoint, EndpointExt, Request, Response};
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::actuator::{Actuator, ActuatorApi};
use crate::body::BodyBudget;
use crate::cursor;
use crate::event_stream::EventStream;
use crate::payload::{Answer, Documented, JsonBody, JsonBytes};
use crate::problem::Failure;
use crate::schema::{
    DeadLetterPage, DeadLetterSchema, EventPage, LogStats, RedriveRequest, RedriveResult, StatsBucket,
    StoredEventSchema, Tag, date_time, event_page, write_stored_event,
};
use crate::service::service_endpoint;

/// Queries that take longer than this to answer are cached; cheaper ones are always answered anew.
const CACHED_FROM: Duration = Duration::from_millis(100);

/// Most bytes of the body of a redrive: its errors repeat what they do not understand.
const REDRIVE_BYTES_MAX: usize = 64 * 1024;

/// What the query API works with.
pub struct ConsumerDependencies {
    /// Answers queries.
    pub query: QueryLogs,
    /// Follows the store.
    pub tail: Tail,
    /// Keeps what cannot be stored.
    pub dead_letters: DeadLetters,
    /// Knows when tails must end.
    pub health: Health,
    /// Room for request bodies, and for answers until their clients have taken them.
    pub bodies: BodyBudget,
    /// Answers to expensive queries.
    pub cache: Option<Arc<dyn QueryCache>>,
}

impl ConsumerDependencies {
    /// The answer to a query: the cached one if there is one, and else that of `answer`.
    async fn cached(
        &self,
        query: &str,
        answer: impl Future<Output = Result<Vec<u8>, Failure>>,
    ) -> Result<Vec<u8>, Failure> {
        let Some(cache) = &self.cache else { return answer.await };
        if let Some(cached) = cache.get(query).await {
            return Ok(cached);
        }
        let began = Instant::now();
        let answer = answer.await?;
        if began.elapsed() > CACHED_FROM {
            cache.put(query, &answer).await;
        }
        Ok(answer)
    }
}

/// The consumer's endpoint.
pub fn consumer_endpoint(
    dependencies: ConsumerDependencies,
    actuator: Actuator,
) -> impl Endpoint<Output = Response> + 'static {
    service_endpoint((ConsumerApi, ActuatorApi), Arc::clone(&actuator.document))
        .data(Arc::new(dependencies))
        .data(actuator)
}

/// How a query answers.
pub struct Querying;

impl Documented for Querying {
    const SUCCESS: (u16, &'static str) = (200, "Events, newest first");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "A parameter is unknown or out of range"),
        (503, "The query takes too long (`query_too_broad`), or the store does not answer"),
    ];
}

/// How a look-up answers.
pub struct Finding;

impl Documented for Finding {
    const SUCCESS: (u16, &'static str) = (200, "The event");
    const FAILURES: &'static [(u16, &'static str)] =
        &[(400, "The id is no UUID"), (404, "There is no such event"), (503, "The store does not answer")];
}

/// How statistics answer.
pub struct Counting;

impl Documented for Counting {
    const SUCCESS: (u16, &'static str) = (200, "Counts");
    const FAILURES: &'static [(u16, &'static str)] = Querying::FAILURES;
}

/// How a tail answers.
pub struct Following;

impl Documented for Following {
    const SUCCESS: (u16, &'static str) = (200, "Events as they are stored, until the client or the server leaves");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "A parameter is unknown or out of range"),
        (503, "This instance has as many tails as it may have (`too_many_tails`)"),
    ];
}

/// How dead letters are shown.
pub struct Listing;

impl Documented for Listing {
    const SUCCESS: (u16, &'static str) = (200, "Dead letters, oldest first");
    const FAILURES: &'static [(u16, &'static str)] =
        &[(400, "A parameter is unknown or out of range"), (503, "The store does not answer")];
}

/// How a redrive answers.
pub struct Redriving;

impl Documented for Redriving {
    const SUCCESS: (u16, &'static str) = (200, "What was sent");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "The body cannot be read, or a condition is out of range"),
        (408, "The body did not arrive in time"),
        (413, "The body is too large"),
        (415, "The media type or content coding is not supported"),
        (503, "The store or the bus does not answer; letters sent before that are noted as redriven"),
    ];
}

/// The operations of a consumer.
pub struct ConsumerApi;

#[OpenApi(prefix_path = "/api")]
impl ConsumerApi {
    /// Find events
    ///
    /// Ordered by timestamp and eventId, newest first. All conditions must hold.
    #[oai(path = "/logs", method = "get", operation_id = "getLogs", tag = "Tag::Query")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn get_logs(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Exact source.
        source: Query<Option<String>>,
        /// Level; repeat it for several.
        level: Query<Option<Vec<String>>>,
        /// Earliest timestamp, inclusive.
        from: Query<Option<OffsetDateTime>>,
        /// Latest timestamp, exclusive.
        to: Query<Option<OffsetDateTime>>,
        /// Part of the message, in any case.
        #[oai(validator(min_length = 1, max_length = 1024))]
        q: Query<Option<String>>,
        /// W3C trace id.
        #[oai(name = "traceId", validator(pattern = "^[0-9A-Fa-f]{32}$"))]
        trace_id: Query<Option<String>>,
        /// Most events of the page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Answer<JsonBytes<EventPage>, Querying> {
        let answer = async {
            refuse_unknown_parameters(request, &["source", "level", "from", "to", "q", "traceId", "limit", "cursor"])?;
            let filter = filter(source.0, level.0, from.0, to.0, q.0, trace_id.0)?;
            let after = cursor
                .0
                .map(|text| cursor::read(&text).ok_or("is not a nextCursor of an earlier page"))
                .transpose()
                .map_err(invalid("cursor"))?;
            let query = LogQuery { filter, after, limit: limit.0 };
            // Every condition is a field, so none can be missing from what tells queries apart.
            let key = format!("/api/logs {query:?}");
            let LogQuery { filter, after, limit } = query;
            let bytes = dependencies.cached(&key, async {
                let page = dependencies.query.page(filter, after, Some(limit)).await?;
                let next_cursor = page.next().as_ref().map(cursor::write);
                Ok(event_page(&page.items, next_cursor.as_deref()))
            });
            JsonBytes::held(bytes.await?, &dependencies.bodies)
        };
        answer.await.into()
    }

    /// Count events
    ///
    /// Per level and interval of time.
    #[oai(path = "/logs/stats", method = "get", operation_id = "getLogStats", tag = "Tag::Query")]
    async fn get_stats(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Earliest timestamp, inclusive; an hour before `to` unless given.
        from: Query<Option<OffsetDateTime>>,
        /// Latest timestamp, exclusive; now unless given.
        to: Query<Option<OffsetDateTime>>,
        /// Length of a bucket, such as 30s, 5m, 1h or 1d; chosen to suit unless given. At most 1,000 buckets.
        #[oai(validator(pattern = "^[1-9][0-9]{0,8}[smhd]$"))]
        interval: Query<Option<String>>,
    ) -> Answer<JsonBytes<LogStats>, Counting> {
        let answer = async {
            refuse_unknown_parameters(request, &["from", "to", "interval"])?;
            let interval = interval.0.map(|text| duration(&text).ok_or("must be a number with s, m, h or d"));
            let interval = interval.transpose().map_err(invalid("interval"))?;
            let (from, to) = (time("from", from.0)?, time("to", to.0)?);
            // As given: the hour before now is one query, whenever it is asked.
            let key = format!("/api/logs/stats {:?}", (from, to, interval));
            let bytes = dependencies.cached(&key, async {
                let stats = dependencies.query.stats(from, to, interval).await?;
                Ok(log_stats(&stats).to_json_string().into_bytes())
            });
            Ok::<_, Failure>(JsonBytes::new(bytes.await?))
        };
        answer.await.into()
    }

    /// Follow events as they are stored
    ///
    /// Server-Sent Events. Begins with what is stored from now on, or after `Last-Event-ID`; a browser's `EventSource`
    /// resumes by itself. A reader that has fallen too far behind is told how many events it missed.
    #[oai(path = "/logs/tail", method = "get", operation_id = "tailLogs", tag = "Tag::Query")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn tail(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Exact source.
        source: Query<Option<String>>,
        /// Level; repeat it for several.
        level: Query<Option<Vec<String>>>,
        /// Earliest timestamp, inclusive.
        from: Query<Option<OffsetDateTime>>,
        /// Latest timestamp, exclusive.
        to: Query<Option<OffsetDateTime>>,
        /// Part of the message, in any case.
        #[oai(validator(min_length = 1, max_length = 1024))]
        q: Query<Option<String>>,
        /// W3C trace id.
        #[oai(name = "traceId", validator(pattern = "^[0-9A-Fa-f]{32}$"))]
        trace_id: Query<Option<String>>,
        /// The id of the last event that was seen.
        #[oai(name = "Last-Event-ID", validator(maximum(value = "9000000000000000")))]
        last_event_id: Header<Option<u64>>,
    ) -> Answer<EventStream<StoredEventSchema>, Following> {
        let follow = || {
            refuse_unknown_parameters(request, &["source", "level", "from", "to", "q", "traceId"])?;
            let filter = filter(source.0, level.0, from.0, to.0, q.0, trace_id.0)?;
            let stopping = Box::pin(dependencies.health.draining());
            let follow = dependencies.tail.follow(filter, last_event_id.0, stopping)?;
            Ok::<_, Failure>(EventStream::of(follow))
        };
        follow().into()
    }

    /// Look at dead letters
    ///
    /// Records that can never be stored as events, oldest first. All conditions must hold.
    #[oai(path = "/dlq", method = "get", operation_id = "getDeadLetters", tag = "Tag::DeadLetters")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn dead_letters(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// This one only.
        #[oai(validator(minimum(value = "1"), maximum(value = "9000000000000000")))]
        id: Query<Option<u64>>,
        /// Topic that it was read from.
        topic: Query<Option<String>>,
        /// Partition that it was read from.
        partition: Query<Option<u32>>,
        /// Found at this time or later.
        from: Query<Option<OffsetDateTime>>,
        /// Found before this time.
        to: Query<Option<OffsetDateTime>>,
        /// Whether it was sent to the bus again.
        redriven: Query<Option<bool>>,
        /// Most letters of the page.
        #[oai(default = "letters_default", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        #[oai(validator(maximum(value = "9000000000000000")))]
        cursor: Query<Option<u64>>,
    ) -> Answer<JsonBytes<DeadLetterPage>, Listing> {
        let answer = async {
            let known = ["id", "topic", "partition", "from", "to", "redriven", "limit", "cursor"];
            refuse_unknown_parameters(request, &known)?;
            let filter = DeadLetterFilter {
                id: id.0,
                topic: topic.0,
                partition: partition.0,
                from: time("from", from.0)?,
                to: time("to", to.0)?,
                redriven: redriven.0,
                copied: None,
            };
            let page = dependencies.dead_letters.page(filter, cursor.0, limit.0).await?;
            let next_cursor = page.next();
            let page = DeadLetterPage { dead_letters: page.items.into_iter().map(dead_letter).collect(), next_cursor };
            JsonBytes::held(page.to_json_string().into_bytes(), &dependencies.bodies)
        };
        answer.await.into()
    }

    /// Send dead letters to the bus again
    ///
    /// Oldest first, to the partition that they came from. What has become an event is stored once, however often it
    /// is sent; what still cannot be stored is a new dead letter.
    #[oai(path = "/dlq/redrive", method = "post", operation_id = "redriveDeadLetters", tag = "Tag::DeadLetters")]
    async fn redrive(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        headers: &HeaderMap,
        redrive: JsonBody<RedriveRequest>,
    ) -> Answer<Json<RedriveResult>, Redriving> {
        let answer = async {
            let body = dependencies.bodies.read(headers, redrive.body).await?;
            if body.bytes.len() > REDRIVE_BYTES_MAX {
                let detail = format!("this body has at most {REDRIVE_BYTES_MAX} bytes; nothing was sent");
                return Err(Failure::TooLarge { detail });
            }
            let request: RedriveRequest = serde_json::from_slice(&body.bytes)
                .map_err(|error| Failure::Undecodable { detail: format!("nothing was sent: {error}") })?;
            let filter = DeadLetterFilter {
                id: request.id,
                topic: request.topic,
                partition: request.partition,
                from: time("from", request.from)?,
                to: time("to", request.to)?,
                redriven: None,
                copied: None,
            };
            let dry_run = request.dry_run;
            let result = dependencies.dead_letters.redrive(Redrive {
                filter,
                limit: request.limit,
                per_second: request.rate_per_second,
                dry_run,
                force: request.force,
            });
            let Redriven { redriven, skipped, more } = result.await?;
            Ok::<_, Failure>(Json(RedriveResult { redriven, skipped, more, dry_run }))
        };
        answer.await.into()
    }

    /// Read one event
    #[oai(path = "/logs/:eventId", method = "get", operation_id = "getLog", tag = "Tag::Query")]
    async fn get_log(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Identity of the event.
        #[oai(name = "eventId")]
        event_id: Path<Uuid>,
    ) -> Answer<JsonBytes<StoredEventSchema>, Finding> {
        let answer = async {
            refuse_unknown_parameters(request, &[])?;
            let found = dependencies.query.find(event_id.0).await?;
            let stored = found.ok_or(Failure::NotFound { detail: "there is no event with this id" })?;
            let mut bytes = Vec::new();
            write_stored_event(&stored, &mut bytes);
            Ok::<_, Failure>(JsonBytes::new(bytes))
        };
        answer.await.into()
    }
}

fn default_limit() -> u32 {
    domain::query::PAGE_EVENTS_DEFAULT
}

fn letters_default() -> u32 {
    application::dead_letters::LETTERS_DEFAULT
}

/// The filter that these query parameters describe.
fn filter(
    source: Option<String>,
    levels: Option<Vec<String>>,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    text: Option<String>,
    trace_id: Option<String>,
) -> Result<LogFilter, Failure> {
    let levels = levels.unwrap_or_default();
    // In order and once each: who asks the same in another order asks the same.
    let levels = levels.iter().map(|level| Level::parse(level)).collect::<Result<BTreeSet<_>, _>>();
    let rule = "must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL; repeat the parameter for several";
    let trace_id = trace_id.map(|id| from_hex(&id).ok_or("must have 32 hexadecimal digits"));
    Ok(LogFilter {
        source,
        levels: levels.map_err(|_| invalid("level")(rule))?.into_iter().collect(),
        from: time("from", from)?,
        to: time("to", to)?,
        text,
        trace_id: trace_id.transpose().map_err(invalid("traceId"))?,
    })
}

fn time(parameter: &'static str, time: Option<OffsetDateTime>) -> Result<Option<Timestamp>, Failure> {
    let timestamp = |time: OffsetDateTime| {
        let micros = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000));
        micros.ok().and_then(|micros| Timestamp::from_unix_micros(micros).ok())
    };
    let timestamp = time.map(|time| timestamp(time).ok_or("must lie between the years 0000 and 9999"));
    timestamp.transpose().map_err(invalid(parameter))
}

/// A number with a unit: s, m, h or d.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1)?;
    let (number, unit) = text.split_at_checked(unit)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

fn log_stats(stats: &Stats) -> LogStats {
    let total = stats.buckets.iter().fold([0; Level::ALL.len()], |mut total, (_, counts)| {
        total.iter_mut().zip(counts).for_each(|(sum, events)| *sum += events);
        total
    });
    let bucket = |(start, counts): &(Timestamp, [u64; Level::ALL.len()])| StatsBucket {
        start: date_time(*start),
        counts: (*counts).into(),
    };
    LogStats {
        from: date_time(stats.query.from),
        to: date_time(stats.query.to),
        interval_seconds: stats.query.interval.as_secs_f64(),
        total: total.into(),
        buckets: stats.buckets.iter().map(bucket).collect(),
    }
}

fn dead_letter(letter: StoredDeadLetter) -> DeadLetterSchema {
    let (key, value) = (std::str::from_utf8(&letter.key), std::str::from_utf8(&letter.value));
    let (key, value, encoding) = match (key, value) {
        (Ok(key), Ok(value)) => (key.to_owned(), value.to_owned(), "text"),
        _ => (STANDARD.encode(&letter.key), STANDARD.encode(&letter.value), "base64"),
    };
    DeadLetterSchema {
        id: letter.id,
        group: letter.feed.group,
        topic: letter.feed.topic,
        partition: letter.feed.partition,
        offset: letter.offset,
        key,
        value,
        encoding: encoding.to_owned(),
        reason: letter.reason,
        at: date_time(letter.at),
        attempts: letter.attempts,
        redriven_at: letter.redriven_at.map(date_time),
    }
}

fn invalid<E: std::fmt::Display>(parameter: &'static str) -> impl Fn(E) -> Failure {
    move |rule| Failure::InvalidParameter { detail: format!("{parameter}: {rule}") }
}

/// A misspelt condition must not silently widen a query.
fn refuse_unknown_parameters(request: &Request, known: &[&str]) -> Result<(), Failure> {
    let given: Vec<(String, String)> = request
        .params()
        .map_err(|_| Failure::InvalidParameter { detail: "the query string cannot be read".to_owned() })?;
    for (index, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let detail = if known.is_empty() {
                format!("{name} is not a parameter here: there are none")
            } else {
                format!("{name} is not a parameter here; known are: {}", known.join(", "))
            };
            return Err(Failure::InvalidParameter { detail });
        }
        if name != "level" && given.iter().take(index).any(|(earlier, _)| earlier == name) {
            let detail = format!("{name} is given more than once; only level can be repeated");
            return Err(Failure::InvalidParameter { detail });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use domain::ports::{Clock, LogStore, MockLogStore, MockQueryCache, MockRecordPublisher};
    use domain::query::Page;

    use super::*;
    use crate::actuator::LogControl;

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_micros(1_705_314_600_000_000).expect("in range")
        }
    }

    fn dependencies(store: MockLogStore, cache: MockQueryCache) -> ConsumerDependencies {
        let (store, clock): (Arc<dyn LogStore>, Arc<dyn Clock>) = (Arc::new(store), Arc::new(FixedClock));
        ConsumerDependencies {
            query: QueryLogs::new(Arc::clone(&store), Arc::clone(&clock)),
            tail: Tail::new(Arc::clone(&store)),
            dead_letters: DeadLetters::new(store, Arc::new(MockRecordPublisher::new()), clock),
            health: Health::default(),
            bodies: BodyBudget::new(1 << 20),
            cache: Some(Arc::new(cache)),
        }
    }

    async fn get(dependencies: ConsumerDependencies, uri: &str) -> (u16, String) {
        let actuator = Actuator {
            role: "consumer",
            started_at: FixedClock.now(),
            health: Health::default(),
            gateway: None,
            log: LogControl::NONE,
            metrics: Arc::new(String::new),
            document: "{}".into(),
        };
        let request = Request::builder().uri_str(uri).finish();
        let response = consumer_endpoint(dependencies, actuator).get_response(request).await;
        (response.status().as_u16(), response.into_body().into_string().await.expect("text"))
    }

    /// A store in which there is nothing.
    fn empty() -> MockLogStore {
        let mut store = MockLogStore::new();
        store.expect_query().returning(|_| Ok(Page::default()));
        store.expect_stats().returning(|_| Ok(Vec::new()));
        store
    }

    #[tokio::test]
    async fn a_cached_answer_is_shown_and_the_store_is_not_asked() {
        for path in ["/api/logs", "/api/logs/stats"] {
            let mut cache = MockQueryCache::new();
            cache.expect_get().return_const(Some(b"cached".to_vec()));
            let answer = get(dependencies(MockLogStore::new(), cache), path).await;
            assert_eq!(answer, (200, "cached".to_owned()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_long_is_cached() {
        for (duration, times) in [(CACHED_FROM, 0), (CACHED_FROM + Duration::from_millis(1), 1)] {
            let mut cache = MockQueryCache::new();
            cache.expect_get().return_const(None);
            cache
                .expect_put()
                .withf(|query, answer| (query, answer) == ("query", b"answer"))
                .times(times)
                .return_const(());
            let dependencies = dependencies(MockLogStore::new(), cache);
            let answer = dependencies.cached("query", async {
                tokio::time::advance(duration).await;
                Ok(b"answer".to_vec())
            });
            assert_eq!(answer.await.expect("an answer"), b"answer");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_cached_however_long_it_takes() {
        let mut cache = MockQueryCache::new();
        cache.expect_get().return_const(None);
        let dependencies = dependencies(MockLogStore::new(), cache);
        let failure = dependencies.cached("query", async {
            tokio::time::advance(CACHED_FROM * 2).await;
            Err(Failure::QueryTooBroad)
        });
        assert!(matches!(failure.await, Err(Failure::QueryTooBroad)));
    }

    /// What the cache is asked for by a request.
    async fn cache_key(uri: &str) -> String {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&asked);
        let mut cache = MockQueryCache::new();
        cache.expect_get().returning(move |query| {
            note.lock().expect("lock").push(query.to_owned());
            None
        });
        cache.expect_put().return_const(());
        assert_eq!(get(dependencies(empty(), cache), uri).await.0, 200, "{uri}");
        let mut asked = asked.lock().expect("lock");
        assert_eq!(asked.len(), 1, "{uri}");
        asked.remove(0)
    }

    #[tokio::test]
    async fn queries_are_told_apart_by_what_they_ask_and_not_by_how_it_is_written() {
        let cursor = cursor::write(&domain::query::PageKey {
            timestamp: Timestamp::MIN,
            event_id: Uuid::from_u128(1),
            received_at: Timestamp::MAX,
        });
        let different: [&[&str]; 16] = [
            &["/api/logs", "/api/logs?limit=100"],
            &["/api/logs?limit=99"],
            &["/api/logs?source=a", "/api/logs?source=%61"],
            &["/api/logs?source=A"],
            &["/api/logs?q=a"],
            &["/api/logs?q=b"],
            &["/api/logs?level=ERROR", "/api/logs?level=error&level=ERROR"],
            &["/api/logs?level=WARN&level=ERROR", "/api/logs?level=ERROR&level=WARNING"],
            &["/api/logs?from=2024-01-01T00:00:00Z", "/api/logs?from=2024-01-01T01:00:00%2B01:00"],
            &["/api/logs?to=2024-01-01T00:00:00Z"],
            &[
                "/api/logs?traceId=0123456789ABCDEF0123456789ABCDEF&q=a",
                "/api/logs?q=a&traceId=0123456789abcdef0123456789abcdef",
            ],
            &[&format!("/api/logs?cursor={cursor}")],
            &["/api/logs/stats"],
            &["/api/logs/stats?interval=60s", "/api/logs/stats?interval=1m"],
            &["/api/logs/stats?from=2024-01-15T10:00:00Z"],
            &["/api/logs/stats?to=2024-01-15T10:00:00Z"],
        ];
        let mut keys = BTreeMap::new();
        for (query, spellings) in different.into_iter().enumerate() {
            for uri in spellings {
                let key = cache_key(uri).await;
                assert_eq!(*keys.entry(key).or_insert(query), query, "{uri}");
            }
        }
        assert_eq!(keys.len(), different.len(), "{keys:#?}");
    }

    #[test]
    fn intervals_are_a_number_and_a_unit() {
        for (text, seconds) in
            [("1s", 1), ("90m", 5_400), ("2h", 7_200), ("7d", 604_800), ("999999999d", 86_399_999_913_600)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5", "5w", "-1s", "1.5h", "1 s", "99999999999999999999d", "1µ"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
