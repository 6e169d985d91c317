//! The query API.

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
use domain::query::LogFilter;
use domain::timestamp::Timestamp;
use poem::http::HeaderMap;
use poem::web::Data;
use poem::{Endpoint, EndpointExt, Request, Response};
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use time::OffsetDateTime;
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
            let page = dependencies.query.page(filter, after, Some(limit.0)).await?;
            let next_cursor = page.next().as_ref().map(cursor::write);
            let bytes = event_page(&page.items, next_cursor.as_deref());
            JsonBytes::held(bytes, &dependencies.bodies)
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
    ) -> Answer<Json<LogStats>, Counting> {
        let answer = async {
            refuse_unknown_parameters(request, &["from", "to", "interval"])?;
            let interval = interval.0.map(|text| duration(&text).ok_or("must be a number with s, m, h or d"));
            let stats = dependencies.query.stats(
                time("from", from.0)?,
                time("to", to.0)?,
                interval.transpose().map_err(invalid("interval"))?,
            );
            Ok::<_, Failure>(Json(log_stats(&stats.await?)))
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
    let levels = levels.iter().map(|level| Level::parse(level)).collect::<Result<_, _>>();
    let rule = "must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL; repeat the parameter for several";
    let trace_id = trace_id.map(|id| from_hex(&id).ok_or("must have 32 hexadecimal digits"));
    Ok(LogFilter {
        source,
        levels: levels.map_err(|_| invalid("level")(rule))?,
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
    use super::*;

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
