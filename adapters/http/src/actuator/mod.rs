//! The state of a process, for probes, scrapers and people.

pub mod fleet;
pub mod instance;
pub mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use application::health::Health;
use domain::timestamp::Timestamp;
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, OpenApi};

use crate::access::host::{authority_of, is_loopback};
use crate::actuator::instance::{InstanceReading, report_of, status};
use crate::actuator::metrics::{metric_names, metric_report};
use crate::client_address::{peer_address, was_forwarded};
use crate::error::ApiError;
use crate::gateway::instances::InstanceState;
use crate::openapi::fleet::InstanceReport;
use crate::openapi::payload::{Answer, Documented};
use crate::openapi::schemas::{
    BuildInfo, ComponentHealth, HealthReport, Info, LogDirectives, MetricNames, MetricReport, Tag, date_time,
};

/// What the operations of [`ActuatorApi`] tell about.
#[derive(Clone)]
pub struct Actuator {
    /// What the process does: `all`, `gateway`, `producer` or `consumer`.
    pub role: &'static str,
    /// When the process was started.
    pub started_at: Timestamp,
    /// What the process depends on.
    pub health: Health,
    /// The instances, if this is a gateway.
    pub instances: Option<Arc<dyn Fn() -> Vec<InstanceState> + Send + Sync>>,
    /// Reads what the parts of the process tell about themselves.
    pub reading: Arc<dyn Fn() -> InstanceReading + Send + Sync>,
    /// Renders all metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The process's own log.
    pub log: LogControl,
    /// The OpenAPI document of the whole API.
    pub document: Arc<str>,
}

impl Actuator {
    /// The report of this process, and where it listens.
    pub(crate) async fn report(&self) -> (InstanceReport, Option<SocketAddr>) {
        report_of(self.role, self.started_at, &self.health, &*self.reading).await
    }
}

/// What of the process's own log passes, and how to change that.
#[derive(Clone, Copy)]
pub struct LogControl {
    /// What passes now.
    pub filter: fn() -> String,
    /// Lets something else pass; the error says why not.
    pub set: fn(&str) -> Result<(), String>,
}

impl LogControl {
    /// Of a process that does not log.
    pub const NONE: Self = Self { filter: String::new, set: |_| Ok(()) };
}

/// What the instances behind a gateway are called in its health.
pub const UPSTREAMS: &str = "upstreams";

/// How health answers.
#[derive(ApiResponse)]
pub enum HealthAnswer {
    /// Up
    #[oai(status = 200)]
    Up(Json<HealthReport>),
    /// Down
    #[oai(status = 503)]
    Down(Json<HealthReport>),
}

/// How a metric is shown.
pub struct Measuring;

impl Documented for Measuring {
    const SUCCESS: (u16, &'static str) = (200, "The metric");
    const FAILURES: &'static [(u16, &'static str)] =
        &[(400, "A tag is not written as name:value"), (404, "There is no such metric, or no series with such tags")];
    const FORWARDED: bool = false;
}

/// How the log's filter answers.
pub struct Logging;

impl Documented for Logging {
    const SUCCESS: (u16, &'static str) = (200, "What passes now");
    const FAILURES: &'static [(u16, &'static str)] =
        &[(400, "There is no such filter"), (403, "Asked from another machine, or through a proxy")];
    const FORWARDED: bool = false;
}

/// Operations that every role has.
pub struct ActuatorApi;

#[OpenApi(prefix_path = "/actuator")]
impl ActuatorApi {
    /// How this process and what it depends on are
    #[oai(path = "/health", method = "get", operation_id = "getHealth", tag = "Tag::Operations")]
    async fn health(&self, actuator: Data<&Actuator>) -> HealthAnswer {
        let components = actuator.health.components().await;
        let all_up = components.iter().all(|(_, wrong)| wrong.is_none());
        let components = components.into_iter().map(|(name, wrong)| {
            let instances = actuator.instances.as_ref().filter(|_| name == UPSTREAMS);
            let instances = instances.map(|instances| instances().into_iter().map(Into::into).collect());
            (name.to_owned(), ComponentHealth { status: status(wrong.is_none()), detail: wrong, instances })
        });
        answer(all_up, Some(components.collect()))
    }

    /// Whether this process runs: if not, restart it
    #[oai(path = "/health/liveness", method = "get", operation_id = "getLiveness", tag = "Tag::Operations")]
    async fn liveness(&self) -> HealthAnswer {
        answer(true, None)
    }

    /// Whether to send requests to this process
    #[oai(path = "/health/readiness", method = "get", operation_id = "getReadiness", tag = "Tag::Operations")]
    async fn readiness(&self, actuator: Data<&Actuator>) -> HealthAnswer {
        answer(actuator.health.is_ready(), None)
    }

    /// What runs here
    #[oai(path = "/info", method = "get", operation_id = "getInfo", tag = "Tag::Operations")]
    async fn info(&self, actuator: Data<&Actuator>) -> Json<Info> {
        let build = BuildInfo { name: "spillway".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Json(Info { build, role: actuator.role.to_owned(), started_at: date_time(actuator.started_at) })
    }

    /// What this process tells about its roles: rates, lag, journal, breakers and the alerts that hold
    #[oai(path = "/instance", method = "get", operation_id = "getInstance", tag = "Tag::Operations")]
    async fn instance(&self, actuator: Data<&Actuator>) -> Json<InstanceReport> {
        Json(actuator.report().await.0)
    }

    /// What of this process's own log passes
    #[oai(path = "/log", method = "get", operation_id = "getLogFilter", tag = "Tag::Operations")]
    async fn log_filter(&self, actuator: Data<&Actuator>) -> Json<LogDirectives> {
        Json(LogDirectives { filter: (actuator.log.filter)() })
    }

    /// Change what of this process's own log passes, until it ends
    ///
    /// Only from the machine itself, to a loopback address, with the header `X-Spillway: 1`, and not through a proxy. No level
    /// shows what is in an event.
    #[oai(path = "/log", method = "put", operation_id = "putLogFilter", tag = "Tag::Operations")]
    async fn set_log_filter(
        &self,
        actuator: Data<&Actuator>,
        request: &Request,
        /// A level such as `debug`, or levels by module such as `info,adapter_http=debug`.
        #[oai(validator(
            max_length = 200,
            pattern = "^(([a-z_]+(::[a-z_]+)*=)?(trace|debug|info|warn|error|off))(,([a-z_]+(::[a-z_]+)*=)?(trace|debug|info|warn|error|off))*$"
        ))]
        filter: Query<String>,
        /// Must be `1`: a browser does not send it to another site without asking.
        #[oai(name = "X-Spillway", validator(pattern = "^1$"))]
        _marker: Header<Option<String>>,
    ) -> Answer<Json<LogDirectives>, Logging> {
        if !is_from_this_machine(request) {
            return ApiError::LoopbackOnly.into();
        }
        if let Err(detail) = (actuator.log.set)(&filter.0) {
            return ApiError::InvalidParameter { detail: format!("filter: {detail}") }.into();
        }
        tracing::info!(filter = filter.0, "the log filter was changed");
        Answer::Success(Json(LogDirectives { filter: (actuator.log.filter)() }))
    }

    /// The names of all metrics
    #[oai(path = "/metrics", method = "get", operation_id = "getMetricNames", tag = "Tag::Operations")]
    async fn metric_names(&self, actuator: Data<&Actuator>) -> Json<MetricNames> {
        Json(MetricNames { names: metric_names(&(actuator.metrics)()) })
    }

    /// One metric
    #[oai(path = "/metrics/:name", method = "get", operation_id = "getMetric", tag = "Tag::Operations")]
    async fn metric(
        &self,
        actuator: Data<&Actuator>,
        /// Its name, with dots or with underscores.
        name: Path<String>,
        /// Only series with this tag, written as name:value; repeat it for several.
        tag: Query<Option<Vec<String>>>,
    ) -> Answer<Json<MetricReport>, Measuring> {
        let split = |tag| str::split_once(tag, ':');
        let given = tag.0.unwrap_or_default();
        let Some(tags) = given.iter().map(|tag| split(tag)).collect::<Option<Vec<_>>>() else {
            return ApiError::InvalidParameter { detail: "tag: must be written as name:value".to_owned() }.into();
        };
        let report = metric_report(&(actuator.metrics)(), &name.0, &tags);
        let none = "there is no such metric, or no series with such tags: see /actuator/metrics";
        report.map(Json).ok_or(ApiError::NotFound { detail: none }).into()
    }

    /// All metrics, for Prometheus
    #[oai(path = "/prometheus", method = "get", operation_id = "getPrometheus", tag = "Tag::Operations")]
    async fn prometheus(&self, actuator: Data<&Actuator>) -> PlainText<String> {
        PlainText((actuator.metrics)())
    }
}

/// Whether a request was made on this machine, for it. A proxy on this machine speaks for others; a browser on this machine
/// does so for any page that it shows: its request has the page's host name, or lacks the header (DNS rebinding, cross-site
/// requests).
fn is_from_this_machine(request: &Request) -> bool {
    let headers = request.headers();
    peer_address(request.remote_addr()).to_canonical().is_loopback()
        && authority_of(request).is_some_and(is_loopback)
        && headers.get("x-spillway").is_some_and(|marker| marker == "1")
        && !was_forwarded(headers)
}

fn answer(up: bool, components: Option<std::collections::BTreeMap<String, ComponentHealth>>) -> HealthAnswer {
    let report = Json(HealthReport { status: status(up), components });
    if up { HealthAnswer::Up(report) } else { HealthAnswer::Down(report) }
}
