//! Counting events.

use std::collections::BTreeMap;
use std::sync::Arc;

use application::query::{Stats, StatsRequest, Values};
use application::search::{group_by, parse_duration};
use domain::level::Level;
use domain::stats::GroupBy;
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use poem_openapi::types::ToJSON;

use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented, JsonBytes};
use crate::openapi::schemas::{FieldValues, LogStats, StatsBucket, Tag, ValueCount, date_time};
use crate::query::dependencies::ConsumerDependencies;
use crate::query::logs::Querying;
use crate::query::params::invalid;
use crate::query::search::search;

/// How statistics answer.
pub struct Counting;

impl Documented for Counting {
    const SUCCESS: (u16, &'static str) = (200, "Counts");
    const FAILURES: &'static [(u16, &'static str)] = Querying::FAILURES;
}

/// Counting events.
pub struct StatsApi;

#[OpenApi(prefix_path = "/api")]
impl StatsApi {
    /// Count events
    ///
    /// By interval of time, and by level, source or another field. Without `from`, from an hour before `to`; with
    /// `from=first`, from the first matching event, and if no event matches, `from` equals `to`; without `to`, until now.
    #[oai(path = "/logs/stats", method = "get", operation_id = "getLogStats", tag = "Tag::Query")]
    async fn get_stats(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// Length of a bucket, such as 30s, 5m, 1h or 1d; chosen to suit unless given. At most 1,000 buckets.
        #[oai(validator(pattern = "^[1-9][0-9]{0,8}[smhdw]$"))]
        interval: Query<Option<String>>,
        /// What to count by: `level` (unless given), `source`, `traceId` or a name in metadata. The 20 most frequent values are
        /// counted, and the rest together.
        #[oai(validator(min_length = 1, max_length = 256))]
        by: Query<Option<String>>,
        /// Leaves out empty buckets.
        sparse: Query<Option<bool>>,
    ) -> Answer<JsonBytes<LogStats>, Counting> {
        let answer = async {
            let search = search(request, &["interval", "by", "sparse"], dependencies.query.now())?;
            let interval = interval.0.map(|text| parse_duration(&text).ok_or("must be a number with s, m, h, d or w"));
            let interval = interval.transpose().map_err(invalid("interval"))?;
            let name = by.0.unwrap_or_else(|| "level".to_owned());
            let by = group("by", &name)?;
            // As given: the hour before now is one query, whenever it is asked, and the answer repeats the name.
            let key = format!("/api/logs/stats {} {interval:?} {name:?} {:?}", search.key(), sparse.0);
            let request = StatsRequest { search, interval, by, sparse: sparse.0.unwrap_or(false) };
            let bytes = dependencies.cached(&key, async {
                let stats = dependencies.query.stats(&request).await?;
                Ok(log_stats(stats, name, &request.by).to_json_string().into_bytes())
            });
            JsonBytes::held(bytes.await?, &dependencies.bodies)
        };
        answer.await.into()
    }

    /// Values of a field
    ///
    /// The most frequent ones among the matching events. Without `from`, from an hour before `to`; with `from=first`, from the
    /// first matching event, and if no event matches, `from` equals `to`; without `to`, until now.
    #[oai(path = "/logs/values", method = "get", operation_id = "getLogValues", tag = "Tag::Query")]
    async fn get_values(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// `level`, `source`, `traceId` or a name in metadata, such as `http.status`.
        #[oai(validator(min_length = 1, max_length = 256))]
        field: Query<String>,
        /// Most values.
        #[oai(default = "values_default", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> Answer<JsonBytes<FieldValues>, Counting> {
        let answer = async {
            let search = search(request, &["field", "limit"], dependencies.query.now())?;
            let by = group("field", &field.0)?;
            let key = format!("/api/logs/values {} {:?} {}", search.key(), field.0, limit.0);
            let bytes = dependencies.cached(&key, async {
                let values = dependencies.query.values(&search, by, Some(limit.0)).await?;
                Ok(field_values(values, field.0.clone()).to_json_string().into_bytes())
            });
            JsonBytes::held(bytes.await?, &dependencies.bodies)
        };
        answer.await.into()
    }
}

fn values_default() -> u32 {
    application::query::VALUES_DEFAULT
}

fn group(parameter: &'static str, name: &str) -> Result<GroupBy, ApiError> {
    group_by(name).ok_or("must be level, source, traceId or a name in metadata").map_err(invalid(parameter))
}

fn log_stats(stats: Stats, by: String, group: &GroupBy) -> LogStats {
    // Levels are few, and a reader expects each.
    let none = || match group {
        GroupBy::Level => Level::ALL.iter().map(|level| (level.name().to_owned(), 0)).collect(),
        GroupBy::Source | GroupBy::TraceId | GroupBy::Metadata(_) => BTreeMap::new(),
    };
    let (mut total, mut other, mut buckets) = (none(), 0, Vec::with_capacity(stats.buckets.len()));
    for (start, counted) in stats.buckets {
        let mut counts = none();
        for (value, events) in counted.values {
            *total.entry(value.clone()).or_default() += events;
            counts.insert(value, events);
        }
        other += counted.other;
        buckets.push(StatsBucket { start: date_time(start), counts, other: counted.other });
    }
    let interval_seconds = stats.interval.as_secs_f64();
    LogStats { from: date_time(stats.from), to: date_time(stats.to), interval_seconds, by, total, other, buckets }
}

fn field_values(values: Values, field: String) -> FieldValues {
    let count = |(value, events)| ValueCount { value, events };
    FieldValues {
        from: date_time(values.from),
        to: date_time(values.to),
        field,
        values: values.values.into_iter().map(count).collect(),
        other: values.other,
    }
}
