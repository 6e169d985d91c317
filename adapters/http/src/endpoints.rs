//! The endpoint of each role: it looks a request up in [`crate::routes`], lets [`crate::access`] judge it, and hands it to the
//! code that the table names.

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};

use crate::access::audit::LetIn;
use crate::access::{AccessControl, readable_by};
use crate::actuator::fleet::FleetApi;
use crate::actuator::{Actuator, ActuatorApi};
use crate::console::Console;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::ingest::accept::{ProducerDependencies, refuse};
use crate::ingest::agents::Fixed;
use crate::ingest::agents::bulk::PRODUCT;
use crate::openapi::service::service_endpoint;
use crate::query::dependencies::ConsumerDependencies;
use crate::query::query_api;
use crate::routes::{CONSOLE, Found, Operation, Route, RouteRole, find, ingest_operations};

/// The producer's endpoint.
pub fn producer_endpoint(
    dependencies: ProducerDependencies,
    actuator: Actuator,
    access: AccessControl,
) -> impl Endpoint<Output = Response> + 'static {
    let dependencies = Arc::new(dependencies);
    let handlers = service_endpoint((ingest_operations(), ActuatorApi), Arc::clone(&actuator.document))
        .data(Arc::clone(&dependencies))
        .data(actuator);
    let origins = access.origins();
    let endpoint = handlers.around(move |handlers, mut request| {
        let (dependencies, access) = (Arc::clone(&dependencies), access.clone());
        async move {
            let serves = |of| matches!(of, RouteRole::Producer | RouteRole::Every);
            let (route, audit) = match operation(&access, &mut request, serves) {
                Ok(found) => found,
                Err(refusal) => return Ok(*refusal),
            };
            let response = match route.operation {
                Operation::Ingest(class, protocols) => dependencies.accept(class, protocols, request).await,
                Operation::Agent(protocol) => dependencies.accept_agent(protocol, request).await,
                operation => answer(operation, &handlers, request).await,
            };
            Ok(audited(audit, response))
        }
    });
    readable_by(origins, endpoint)
}

/// The consumer's endpoint.
pub fn consumer_endpoint(
    dependencies: ConsumerDependencies,
    actuator: Actuator,
    access: AccessControl,
) -> impl Endpoint<Output = Response> + 'static {
    let handlers = service_endpoint((query_api(), ActuatorApi), Arc::clone(&actuator.document))
        .data(Arc::new(dependencies))
        .data(actuator);
    let origins = access.origins();
    let endpoint = handlers.around(move |handlers, mut request| {
        let access = access.clone();
        async move {
            let serves = |of| matches!(of, RouteRole::Consumer | RouteRole::Every);
            Ok(match operation(&access, &mut request, serves) {
                Ok((route, audit)) => audited(audit, answer(route.operation, &handlers, request).await),
                Err(refusal) => *refusal,
            })
        }
    });
    readable_by(origins, endpoint)
}

/// The gateway's endpoint, with the console unless that is switched off.
pub fn gateway_endpoint(
    gateway: Gateway,
    actuator: Actuator,
    access: AccessControl,
    console: Option<Console>,
) -> impl Endpoint<Output = Response> + 'static {
    let health = actuator.health.clone();
    let access = access.of_gateway(gateway.trusted_proxies().clone());
    let handlers =
        service_endpoint((ActuatorApi, FleetApi), Arc::clone(&actuator.document)).data(gateway.clone()).data(actuator);
    let origins = access.origins();
    let endpoint = handlers.around(move |handlers, mut request| {
        let (gateway, health, access, console) = (gateway.clone(), health.clone(), access.clone(), console.clone());
        async move {
            let (route, audit) = match operation(&access, &mut request, |_| true) {
                Ok(found) => found,
                Err(refusal) => return Ok(*refusal),
            };
            let response = match (route.role, route.operation, &console) {
                (RouteRole::Producer, ..) => gateway.to_producer(request, &health).await,
                (RouteRole::Consumer, ..) => gateway.to_consumer(request, &health).await,
                (_, Operation::Console, Some(console)) => console.answer(&request),
                (_, Operation::Console, None) => ApiError::nothing_here().into_response(),
                (_, Operation::Home, Some(_)) if is_browser(&request) => redirect_to(&format!("{CONSOLE}/")),
                (_, operation, _) => answer(operation, &handlers, request).await,
            };
            Ok(audited(audit, response))
        }
    });
    readable_by(origins, endpoint)
}

/// Answers a request that takes no events.
async fn answer(operation: Operation, handlers: &impl Endpoint<Output = Response>, mut request: Request) -> Response {
    match operation {
        Operation::Home => return home(&request),
        Operation::Probe(fixed) => return fixed.response(),
        _ => {}
    }
    // The table takes a slash at the end for nothing; poem does not.
    let path = request.uri().path();
    if path.ends_with('/')
        && let Ok(uri) = without_slash_at_end(request.uri())
    {
        *request.uri_mut() = uri;
    }
    let mut response = handlers.get_response(request).await;
    protect(operation, response.headers_mut());
    response
}

/// Says what browsers and caches may not do with an answer: take it for another type, show it within a page of another site,
/// which could make people click in it, or keep what one key may read for another.
fn protect(operation: Operation, headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if matches!(operation, Operation::Api) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn without_slash_at_end(uri: &Uri) -> Result<Uri, poem::http::Error> {
    let path = uri.path().trim_end_matches('/');
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Uri::builder().path_and_query(format!("{path}{query}")).build()
}

/// Sends a browser to Swagger UI, and tells other clients where the documentation is. Clients of Elasticsearch ask here
/// for its version before they send, and refuse one that is older than they are.
fn home(request: &Request) -> Response {
    if is_browser(request) {
        return redirect_to("/swagger-ui");
    }
    const HOME: Fixed = Fixed {
        body: concat!(
            r#"{"name":"spillway","documentation":"/swagger-ui","openapi":"/openapi.json","#,
            r#""health":"/actuator/health","cluster_name":"spillway","cluster_uuid":"spillway","version":{"#,
            r#""number":"9.5.0","build_flavor":"default","minimum_wire_compatibility_version":"8.19.0","#,
            r#""minimum_index_compatibility_version":"8.0.0"},"tagline":"You Know, for Search"}"#
        ),
        header: Some(PRODUCT),
    };
    HOME.response()
}

/// Whether a request comes from a browser that would show a page.
fn is_browser(request: &Request) -> bool {
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

fn redirect_to(path: &str) -> Response {
    Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, path).finish()
}

/// An answer, once what it says is in the audit, if the request is audited.
fn audited(audit: Option<LetIn>, response: Response) -> Response {
    if let Some(audit) = audit {
        audit.answered(&response);
    }
    response
}

/// The operation of a request to a process that serves some roles, if the request may use it, and its audit; otherwise the
/// answer.
fn operation(
    access: &AccessControl,
    request: &mut Request,
    serves: impl Fn(RouteRole) -> bool,
) -> Result<(&'static Route, Option<LetIn>), Box<Response>> {
    let found = find(request.method(), request.uri().path(), serves);
    let route = match &found {
        Found::Route(route) => Some(*route),
        Found::OtherMethods(_) | Found::Nothing => None,
    };
    let audit = match access.judge_audited(request, route) {
        Ok(audit) => audit,
        Err(denial) => {
            let refusal = match route.map(|route| route.operation) {
                Some(Operation::Ingest(_, protocols)) => refuse(protocols, request.headers(), denial),
                Some(Operation::Agent(protocol)) => protocol.error(request, denial.into()),
                _ => ApiError::from(denial).into_response(),
            };
            return Err(refusal.into());
        }
    };
    match found {
        Found::Route(Route { operation: Operation::BeginSession, .. }) => {
            Err(audited(audit, access.begin_session(request)).into())
        }
        Found::Route(Route { operation: Operation::EndSession, path, .. }) => {
            Err(access.end_session(request, path).into())
        }
        Found::Route(Route { operation: Operation::ShowSession, .. }) => Err(access.show_session(request).into()),
        Found::Route(route) => Ok((route, audit)),
        Found::OtherMethods(allow) => Err(ApiError::MethodNotAllowed { allow }.into_response().into()),
        Found::Nothing => Err(ApiError::nothing_here().into_response().into()),
    }
}
