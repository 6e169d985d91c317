//! The HTTP interface of Spillway: producer, consumer and gateway.
//!
//! Constraints:
//! * Bytes in, borrowed parse: the hot route builds no tree and copies no text before an event is encoded.
//! * Nothing is read without a bound in bytes and time.
//! * Every failure becomes one [`error::ApiError`], which a protocol renders; it is logged once and shows no internals.
//! * [`routes`] is the only place that knows paths. The OpenAPI document comes from the types that the handlers use.

mod access;
mod actuator;
mod body;
mod client_address;
mod console;
mod endpoints;
mod error;
mod gateway;
mod ingest;
mod openapi;
mod query;
mod routes;
mod server;
mod tls;

pub use access::{AccessControl, AccessRules, HostName, HostNames, InvalidHostName, InvalidOrigin, Origin, Origins};
pub use actuator::instance::InstanceReading;
pub use actuator::{Actuator, LogControl, UPSTREAMS};
pub use body::BodyBudget;
pub use client_address::TrustedProxies;
pub use console::{Console, ConsoleFile};
pub use endpoints::{consumer_endpoint, gateway_endpoint, producer_endpoint};
pub use gateway::balancing::Availability;
pub use gateway::instances::{InstanceState, InvalidUpstream, UpstreamUrl};
pub use gateway::{Gateway, Upstream};
pub use ingest::RefusalLog;
pub use ingest::accept::ProducerDependencies;

pub use ingest::agents::AgentAdmission;
pub use ingest::native;
pub use openapi::document::openapi_document;
pub use openapi::fleet::{
    BreakerReport, ConsumerReport, GatewayReport, JournalReport, OutageReport, ProducerReport, SpaceReport,
};
pub use query::dependencies::ConsumerDependencies;
pub use routes::{Access, ListedOperation, RouteRole, decode_agent_body, operations};
pub use server::{Activity, Answered, GrpcServer, LocalService, Observer, Server, ServerOptions, Service};
pub use tls::{ClientAuth, Protocol as TlsProtocol, Tls, TlsError, TlsOptions, UpstreamTls, UpstreamTlsOptions};
