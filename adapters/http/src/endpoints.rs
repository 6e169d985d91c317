//! The endpoint of each role: it looks a request up in [`crate::routes`] and hands it to the code that the table names.

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};

use crate::actuator::{Actuator, ActuatorApi};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::ingest::accept::ProducerDependencies;
use crate::openapi::service::service_endpoint;
use crate::query::dead_letters::DeadLettersApi;
use crate::query::dependencies::ConsumerDependencies;
use crate::query::logs::LogsApi;
use crate::query::stats::StatsApi;
use crate::query::tail::TailApi;
use crate::routes::{Found, Operation, RouteRole, find, ingest_operations};

/// The producer's endpoint.
pub fn producer_endpoint(
    dependencies: ProducerDependencies,
    actuator: Actuator,
) -> impl Endpoint<Output = Response> + 'static {
    let dependencies = Arc::new(dependencies);
    let handlers = service_endpoint((ingest_operations(), ActuatorApi), Arc::clone(&actuator.document))
        .data(Arc::clone(&dependencies))
        .data(actuator);
    handlers.around(move |handlers, request| {
        let dependencies = Arc::clone(&dependencies);
        async move {
            Ok(match operation(&request, RouteRole::Producer) {
                Ok(Operation::Ingest(class, protocols)) => dependencies.accept(class, protocols, request).await,
                Ok(Operation::Api | Operation::Page) => handlers.get_response(request).await,
                Err(error) => error.into_response(),
            })
        }
    })
}

/// The consumer's endpoint.
pub fn consumer_endpoint(
    dependencies: ConsumerDependencies,
    actuator: Actuator,
) -> impl Endpoint<Output = Response> + 'static {
    let api = (LogsApi, StatsApi, TailApi, DeadLettersApi, ActuatorApi);
    let handlers = service_endpoint(api, Arc::clone(&actuator.document)).data(Arc::new(dependencies)).data(actuator);
    handlers.around(|handlers, request| async move {
        Ok(match operation(&request, RouteRole::Consumer) {
            Ok(_) => handlers.get_response(request).await,
            Err(error) => error.into_response(),
        })
    })
}

/// The gateway's endpoint.
pub fn gateway_endpoint(gateway: Gateway, actuator: Actuator) -> impl Endpoint<Output = Response> + 'static {
    let health = actuator.health.clone();
    let handlers = service_endpoint(ActuatorApi, Arc::clone(&actuator.document)).data(actuator);
    handlers.around(move |handlers, request| {
        let (gateway, health) = (gateway.clone(), health.clone());
        async move {
            Ok(match find(request.method(), request.uri().path(), |_| true) {
                Found::Route(route) => match route.role {
                    RouteRole::Producer => gateway.to_producer(request, &health).await,
                    RouteRole::Consumer => gateway.to_consumer(request, &health).await,
                    RouteRole::Every => handlers.get_response(request).await,
                },
                Found::OtherMethods(allow) => ApiError::MethodNotAllowed { allow }.into_response(),
                Found::Nothing => ApiError::nothing_here().into_response(),
            })
        }
    })
}

/// The operation of a request to a role.
fn operation(request: &Request, role: RouteRole) -> Result<Operation, ApiError> {
    match find(request.method(), request.uri().path(), |of| of == role || of == RouteRole::Every) {
        Found::Route(route) => Ok(route.operation),
        Found::OtherMethods(allow) => Err(ApiError::MethodNotAllowed { allow }),
        Found::Nothing => Err(ApiError::nothing_here()),
    }
}
