//! How a process is, for probes, scrapers and people.

use std::sync::Arc;

use application::health::Health;
use domain::ports::BoxFuture;
use poem::web::Data;
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, OpenApi};

use crate::schema::{ComponentHealth, HealthReport, Tag};

/// What the operations of [`ActuatorApi`] tell about.
#[derive(Clone)]
pub struct Actuator {
    /// What the process depends on.
    pub health: Health,
    /// Says what is wrong with the upstreams of a gateway, if anything is.
    pub upstreams: Option<UpstreamCheck>,
    /// Renders all metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The OpenAPI document of the whole API.
    pub document: Arc<str>,
}

/// Asks the upstreams of a gateway.
pub type UpstreamCheck = Arc<dyn Fn() -> BoxFuture<Option<String>> + Send + Sync>;

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

/// Operations that every role has.
pub struct ActuatorApi;

#[OpenApi(prefix_path = "/actuator")]
impl ActuatorApi {
    /// How this process and what it depends on are
    #[oai(path = "/health", method = "get", operation_id = "getHealth", tag = "Tag::Operations")]
    async fn health(&self, actuator: Data<&Actuator>) -> HealthAnswer {
        let mut components = actuator.health.components().await;
        if let Some(ask) = &actuator.upstreams {
            components.push(("upstreams", ask().await));
        }
        let all_up = components.iter().all(|(_, wrong)| wrong.is_none());
        let components = components
            .into_iter()
            .map(|(name, wrong)| (name.to_owned(), ComponentHealth { status: status(wrong.is_none()), detail: wrong }));
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

    /// All metrics, for Prometheus
    #[oai(path = "/prometheus", method = "get", operation_id = "getPrometheus", tag = "Tag::Operations")]
    async fn prometheus(&self, actuator: Data<&Actuator>) -> PlainText<String> {
        PlainText((actuator.metrics)())
    }
}

fn answer(up: bool, components: Option<std::collections::BTreeMap<String, ComponentHealth>>) -> HealthAnswer {
    let report = Json(HealthReport { status: status(up), components });
    if up { HealthAnswer::Up(report) } else { HealthAnswer::Down(report) }
}

fn status(up: bool) -> String {
    if up { "UP" } else { "DOWN" }.to_owned()
}
