//! Counting events.

use std::sync::Arc;

use application::query::Stats;
use domain::level::Level;
use domain::timestamp::Timestamp;
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use poem_openapi::types::ToJSON;
use time::OffsetDateTime;

use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented, JsonBytes};
use crate::openapi::schemas::{LogStats, StatsBucket, Tag, date_time};
use crate::query::dependencies::ConsumerDependencies;
use crate::query::logs::Querying;
use crate::query::params::{duration, invalid, refuse_unknown_parameters, time};

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
            Ok::<_, ApiError>(JsonBytes::new(bytes.await?))
        };
        answer.await.into()
    }
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
