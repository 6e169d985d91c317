//! The one table of operations: method, path, role, who may use it, and who answers.
//!
//! Router, access control, rate limit, gateway and the answers 404 and 405 read it. An operation without a line on who may use
//! it does not compile. A new ingestion path is one line here; the OpenAPI document
//! is held to the table by a test.

use application::ingest::AgentIntake;
use domain::access::Role;
use domain::ports::RequestClass;
use poem::Request;
use poem::http::Method;
use poem_openapi::OpenApi;

use crate::ingest::Protocol;
use crate::ingest::agents::bulk::{Bulk, probes};
use crate::ingest::agents::hec::{self, Acknowledgements, Envelopes, RawLines};
use crate::ingest::agents::loki::Loki;
use crate::ingest::agents::objects::Objects;
use crate::ingest::agents::otlp::Otlp;
use crate::ingest::agents::{AgentProtocol, Fixed};
use crate::ingest::api::ProducerApi;
use crate::ingest::native::{BatchArray, BatchLines, SingleEvent};

/// The role that an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRole {
    /// Takes events.
    Producer,
    /// Answers queries.
    Consumer,
    /// Is the entry point: only a gateway answers it.
    Gateway,
    /// Every role answers it for itself: a gateway does not forward it.
    Every,
}

/// Who may use an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, under any host name: it shows only whether the process works, and changes nothing.
    Monitor,
    /// A scraper: a key with the role `operate` that is not restricted to some sources, or anyone if the operator says so; under
    /// any host name then.
    Scrape,
    /// Anyone: it shows nothing of events or of the state of the process.
    Anyone,
    /// A key in a header, whatever its roles; a session is not enough.
    AnyKey,
    /// A key with this role.
    Role(Role),
    /// A key with this role that is not restricted to some sources: what the operation shows cannot be divided.
    WholeRole(Role),
}

/// Who answers a request.
#[derive(Clone, Copy)]
pub enum Operation {
    /// Takes events of the first of these protocols that has the media type of the body.
    Ingest(RequestClass, &'static [&'static dyn Protocol]),
    /// Takes what an agent sends.
    Agent(&'static dyn AgentProtocol),
    /// Answers what an agent asks before it sends, always with the same. Not in the document: it is not for people.
    Probe(&'static Fixed),
    /// A handler of poem-openapi.
    Api,
    /// A page beside the API: the OpenAPI document or Swagger UI.
    Page,
    /// Says where the documentation is.
    Home,
    /// Begins the session of a browser. Not in the document: programs present their key.
    BeginSession,
    /// Ends it.
    EndSession,
    /// Says whether keys are required, and whose session the browser has. Not in the document either.
    ShowSession,
    /// A file of the console, or the way to it.
    Console,
}

/// One operation.
#[derive(Clone)]
pub struct Route {
    /// The method; GET also stands for HEAD.
    pub method: Method,
    /// The path; a segment in braces is a parameter, and one with an asterisk in them all that follows.
    pub path: &'static str,
    /// The role that it belongs to.
    pub role: RouteRole,
    /// Who may use it.
    pub access: Access,
    /// Who answers it.
    pub operation: Operation,
}

impl Route {
    /// Whether each of its requests is audited: those that change the process or dead letters, that read
    /// everything, and that begin a session.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        let operates = matches!(self.access, Access::Role(Role::Operate) | Access::WholeRole(Role::Operate));
        self.path == EXPORT || self.access == Access::AnyKey || (operates && self.method != Method::GET)
    }
}

const fn route(method: Method, path: &'static str, role: RouteRole, access: Access, operation: Operation) -> Route {
    Route { method, path, role, access, operation }
}

/// Where events are exported.
const EXPORT: &str = "/api/logs/export";
/// Where a browser begins and ends its session.
const SESSION: &str = "/api/session";

/// Where the console is; its files are below.
pub const CONSOLE: &str = "/console";

/// Who may use what.
const INGEST: Access = Access::Role(Role::Ingest);
const READ: Access = Access::Role(Role::Read);
const OPERATE: Access = Access::Role(Role::Operate);

/// All operations. A path without parameters comes before one with parameters that also matches.
pub static ROUTES: &[Route] = {
    use Access::{AnyKey, Anyone, Monitor, Scrape, WholeRole};
    use Operation::{Agent, Api, BeginSession, Console, EndSession, Home, Ingest, Page, Probe, ShowSession};
    use RouteRole::{Consumer, Every, Gateway, Producer};
    &[
        route(Method::POST, "/api/logs", Producer, INGEST, Ingest(RequestClass::Single, &[&SingleEvent])),
        route(
            Method::POST,
            "/api/logs/batch",
            Producer,
            INGEST,
            Ingest(RequestClass::Batch, &[&BatchArray, &BatchLines]),
        ),
        route(Method::POST, "/api/logs/ingest", Producer, INGEST, Agent(&Objects)),
        route(Method::GET, "/api/logs/health", Producer, WholeRole(Role::Read), Api),
        route(Method::GET, "/api/logs", Consumer, READ, Api),
        route(Method::GET, "/api/logs/stats", Consumer, READ, Api),
        route(Method::GET, "/api/logs/tail", Consumer, READ, Api),
        route(Method::GET, "/api/logs/fields", Consumer, READ, Api),
        route(Method::GET, "/api/logs/values", Consumer, READ, Api),
        route(Method::GET, EXPORT, Consumer, READ, Api),
        route(Method::GET, "/api/logs/{eventId}", Consumer, READ, Api),
        route(Method::GET, "/api/logs/{eventId}/context", Consumer, READ, Api),
        route(Method::GET, "/api/dlq", Consumer, WholeRole(Role::Operate), Api),
        route(Method::POST, "/api/dlq/redrive", Consumer, WholeRole(Role::Operate), Api),
        route(Method::GET, "/actuator/health", Every, OPERATE, Api),
        route(Method::GET, "/actuator/health/liveness", Every, Monitor, Api),
        route(Method::GET, "/actuator/health/readiness", Every, Monitor, Api),
        route(Method::GET, "/actuator/info", Every, OPERATE, Api),
        route(Method::GET, "/actuator/instance", Every, WholeRole(Role::Operate), Api),
        route(Method::GET, "/actuator/fleet", Gateway, WholeRole(Role::Operate), Api),
        route(Method::GET, "/actuator/log", Every, OPERATE, Api),
        route(Method::PUT, "/actuator/log", Every, WholeRole(Role::Operate), Api),
        route(Method::GET, "/actuator/metrics", Every, WholeRole(Role::Operate), Api),
        route(Method::GET, "/actuator/metrics/{name}", Every, WholeRole(Role::Operate), Api),
        route(Method::GET, "/actuator/prometheus", Every, Scrape, Api),
        route(Method::GET, SESSION, Every, Anyone, ShowSession),
        route(Method::POST, SESSION, Every, AnyKey, BeginSession),
        route(Method::DELETE, SESSION, Every, Anyone, EndSession),
        route(Method::GET, "/", Every, Anyone, Home),
        route(Method::GET, "/openapi.json", Every, READ, Page),
        route(Method::GET, "/swagger-ui", Every, READ, Page),
        route(Method::POST, "/v1/logs", Producer, INGEST, Agent(&Otlp)),
        route(Method::POST, "/loki/api/v1/push", Producer, INGEST, Agent(&Loki)),
        route(Method::POST, "/api/prom/push", Producer, INGEST, Agent(&Loki)),
        route(Method::POST, "/services/collector", Producer, INGEST, Agent(&Envelopes)),
        route(Method::POST, "/services/collector/event", Producer, INGEST, Agent(&Envelopes)),
        route(Method::POST, "/services/collector/event/1.0", Producer, INGEST, Agent(&Envelopes)),
        route(Method::POST, "/services/collector/raw", Producer, INGEST, Agent(&RawLines)),
        route(Method::POST, "/services/collector/raw/1.0", Producer, INGEST, Agent(&RawLines)),
        route(Method::POST, "/services/collector/ack", Producer, INGEST, Agent(&Acknowledgements)),
        route(Method::GET, "/services/collector/health", Producer, Monitor, Probe(&hec::HEALTHY)),
        route(Method::GET, "/services/collector/health/1.0", Producer, Monitor, Probe(&hec::HEALTHY)),
        route(Method::POST, "/_bulk", Producer, INGEST, Agent(&Bulk)),
        route(Method::PUT, "/_bulk", Producer, INGEST, Agent(&Bulk)),
        route(Method::GET, "/_license", Producer, INGEST, Probe(&probes::LICENSE)),
        route(Method::GET, "/_cluster/health", Producer, INGEST, Probe(&probes::HEALTH)),
        route(Method::GET, "/_cat/health", Producer, INGEST, Probe(&probes::CAT_HEALTH)),
        route(Method::GET, "/_nodes/{*}", Producer, INGEST, Probe(&probes::NODES)),
        route(Method::GET, "/_index_template/{*}", Producer, INGEST, Probe(&probes::EMPTY)),
        route(Method::PUT, "/_index_template/{*}", Producer, INGEST, Probe(&probes::ACKNOWLEDGED)),
        route(Method::GET, "/_component_template/{*}", Producer, INGEST, Probe(&probes::EMPTY)),
        route(Method::PUT, "/_component_template/{*}", Producer, INGEST, Probe(&probes::ACKNOWLEDGED)),
        route(Method::GET, "/_template/{*}", Producer, INGEST, Probe(&probes::EMPTY)),
        route(Method::PUT, "/_template/{*}", Producer, INGEST, Probe(&probes::ACKNOWLEDGED)),
        route(Method::GET, "/_ilm/{*}", Producer, INGEST, Probe(&probes::EMPTY)),
        route(Method::PUT, "/_ilm/{*}", Producer, INGEST, Probe(&probes::ACKNOWLEDGED)),
        route(Method::GET, "/_ingest/{*}", Producer, INGEST, Probe(&probes::EMPTY)),
        route(Method::PUT, "/_ingest/{*}", Producer, INGEST, Probe(&probes::ACKNOWLEDGED)),
        route(Method::POST, "/{index}/_bulk", Producer, INGEST, Agent(&Bulk)),
        route(Method::PUT, "/{index}/_bulk", Producer, INGEST, Agent(&Bulk)),
        route(Method::GET, "/{index}/_refresh", Producer, INGEST, Probe(&probes::REFRESHED)),
        route(Method::POST, "/{index}/_refresh", Producer, INGEST, Probe(&probes::REFRESHED)),
        // After the indices, of which one may have this name.
        route(Method::GET, CONSOLE, Gateway, Anyone, Console),
        route(Method::GET, "/console/{*}", Gateway, Anyone, Console),
    ]
};

/// The same operations that take events, as the document describes them.
pub fn ingest_operations() -> impl OpenApi + 'static {
    ProducerApi
}

/// What the table says about an operation, for checks of a process that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOperation {
    /// The method.
    pub method: &'static str,
    /// The path; a segment in braces is a parameter.
    pub path: &'static str,
    /// The role that it belongs to.
    pub role: RouteRole,
    /// Who may use it.
    pub access: Access,
}

/// All operations, in the order of the table.
pub fn operations() -> impl Iterator<Item = ListedOperation> {
    ROUTES.iter().map(|route| ListedOperation {
        method: route.method.as_str(),
        path: route.path,
        role: route.role,
        access: route.access,
    })
}

/// What the table says about a request.
pub enum Found {
    /// This operation.
    Route(&'static Route),
    /// The path has other methods: these, as the header `Allow` lists them.
    OtherMethods(String),
    /// Nothing is at this path.
    Nothing,
}

/// Looks a request up among the operations of some roles.
pub fn find(method: &Method, path: &str, serves: impl Fn(RouteRole) -> bool) -> Found {
    let mut allow: Vec<&str> = Vec::new();
    let mut at: Option<&str> = None;
    for route in ROUTES.iter().filter(|route| serves(route.role)) {
        // The first path that matches is the path of the request: a later one has a parameter in the place of a name.
        if !at.map_or_else(|| matches(route.path, path), |at| at == route.path) {
            continue;
        }
        at = Some(route.path);
        if route.method == *method || (route.method == Method::GET && *method == Method::HEAD) {
            return Found::Route(route);
        }
        allow.push(route.method.as_str());
    }
    if allow.is_empty() {
        return Found::Nothing;
    }
    allow.sort_unstable();
    Found::OtherMethods(allow.join(", "))
}

/// Whether a path of the table stands for the path of a request. A slash at the end of either changes nothing.
fn matches(pattern: &str, path: &str) -> bool {
    if pattern == path {
        return true;
    }
    let (mut pattern, mut path) = (segments(pattern), segments(path));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some("{*}"), Some(_)) => return true,
            (Some(pattern), Some(segment)) if pattern.starts_with('{') || pattern == segment => {}
            _ => return false,
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Decodes a body that has no coding, as a request to this path with this media type would: for tests of arbitrary
/// bytes. `None` if no agent sends anything to this path; otherwise whether the body can be taken.
#[must_use]
pub fn decode_agent_body(path: &str, media_type: &str, body: &[u8], intake: &mut AgentIntake<'_>) -> Option<bool> {
    let Found::Route(route) = find(&Method::POST, path, |_| true) else { return None };
    let Operation::Agent(protocol) = route.operation else { return None };
    let request = Request::builder().method(Method::POST).uri_str(path).content_type(media_type).finish();
    intake.reserve(body.len());
    Some(protocol.decode(&request, body, intake).is_ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_table_and_the_document_have_the_same_operations() {
        let document: Value = serde_json::from_str(&crate::openapi_document()).expect("JSON");
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().expect("operations").keys();
                methods.map(|method| (method.to_ascii_uppercase(), path.clone()))
            })
            .collect();
        let in_table: BTreeSet<(String, String)> = ROUTES
            .iter()
            .filter(|route| {
                !matches!(
                    route.operation,
                    Operation::Page
                        | Operation::Home
                        | Operation::Probe(_)
                        | Operation::BeginSession
                        | Operation::EndSession
                        | Operation::ShowSession
                        | Operation::Console
                )
            })
            .map(|route| (route.method.to_string(), route.path.to_owned()))
            .collect();
        assert_eq!(in_table, documented);
    }

    #[test]
    fn a_request_finds_its_operation_whatever_the_order_of_the_table() {
        let found = |method: Method, path: &str| match find(&method, path, |_| true) {
            Found::Route(route) => format!("{} {}", route.method, route.path),
            Found::OtherMethods(allow) => format!("405 {allow}"),
            Found::Nothing => "404".to_owned(),
        };
        for (method, path, expected) in [
            (Method::POST, "/api/logs", "POST /api/logs"),
            (Method::HEAD, "/api/logs/", "GET /api/logs"),
            (Method::DELETE, "/api/logs", "405 GET, POST"),
            (Method::GET, "/api/logs/stats", "GET /api/logs/stats"),
            (Method::POST, "/api/logs/stats", "405 GET"),
            (Method::GET, "/api/logs/018d", "GET /api/logs/{eventId}"),
            (Method::GET, "/api/logs/018d/more", "404"),
            (Method::GET, "/swagger-ui/", "GET /swagger-ui"),
            (Method::GET, "/", "GET /"),
            (Method::GET, "/nothing", "404"),
            (Method::GET, "/console", "GET /console"),
            (Method::GET, "/console/", "GET /console"),
            (Method::HEAD, "/console/a/b.js", "GET /console/{*}"),
            (Method::POST, "/console/a.js", "405 GET"),
            (Method::PUT, "/console/_bulk", "PUT /{index}/_bulk"),
            (Method::PUT, "/api/session", "405 DELETE, GET, POST"),
            (Method::POST, "/api/logs/ingest", "POST /api/logs/ingest"),
            (Method::GET, "/api/logs/ingest", "405 POST"),
            (Method::PUT, "/logs-app/_bulk", "PUT /{index}/_bulk"),
            (Method::HEAD, "/_index_template/logs", "GET /_index_template/{*}"),
            (Method::PUT, "/_ilm/policy/logs", "PUT /_ilm/{*}"),
            (Method::GET, "/_ilm", "404"),
            (Method::DELETE, "/_bulk", "405 POST, PUT"),
        ] {
            assert_eq!(found(method, path), expected, "{path}");
        }
        assert!(matches!(find(&Method::POST, "/api/logs", |role| role == RouteRole::Consumer), Found::OtherMethods(_)));
        for only_a_gateway in ["/console/", "/actuator/fleet"] {
            assert!(matches!(find(&Method::GET, only_a_gateway, |role| role == RouteRole::Every), Found::Nothing));
        }
    }

    #[test]
    fn only_what_shows_nothing_is_open_to_anyone_and_what_changes_something_is_audited() {
        let paths = |of: fn(&Route) -> bool| {
            let of_table = ROUTES.iter().filter(|route| of(route));
            of_table.map(|route| format!("{} {}", route.method, route.path)).collect::<Vec<_>>()
        };
        let open = paths(|route| matches!(route.access, Access::Monitor | Access::Anyone));
        assert_eq!(
            open,
            [
                "GET /actuator/health/liveness",
                "GET /actuator/health/readiness",
                "GET /api/session",
                "DELETE /api/session",
                "GET /",
                "GET /services/collector/health",
                "GET /services/collector/health/1.0",
                "GET /console",
                "GET /console/{*}",
            ]
        );
        let whole = paths(|route| matches!(route.access, Access::WholeRole(_)));
        assert_eq!(
            whole,
            [
                "GET /api/logs/health",
                "GET /api/dlq",
                "POST /api/dlq/redrive",
                "GET /actuator/instance",
                "GET /actuator/fleet",
                "PUT /actuator/log",
                "GET /actuator/metrics",
                "GET /actuator/metrics/{name}",
            ]
        );
        assert_eq!(
            paths(Route::is_audited),
            ["GET /api/logs/export", "POST /api/dlq/redrive", "PUT /actuator/log", "POST /api/session"]
        );
        for route in
            ROUTES.iter().filter(|route| matches!(route.operation, Operation::Ingest(..) | Operation::Agent(_)))
        {
            assert_eq!(route.access, INGEST, "{}", route.path);
        }
        for route in ROUTES.iter().filter(|route| route.role == RouteRole::Consumer) {
            let read = matches!(route.access, Access::Role(Role::Read) | Access::WholeRole(Role::Operate));
            assert!(read, "{}", route.path);
        }
    }
}
