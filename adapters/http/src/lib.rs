//! The HTTP face of Spillway: producer, consumer and gateway APIs.
//!
//! Constraints:
//! * Bytes in, borrowed parse: the hot route builds no tree and copies no text before an event is encoded.
//! * Nothing is read without a bound in bytes and time.
//! * Every failure becomes one [`problem::Failure`], which alone knows status codes; it is logged there once and
//!   shows no internals.
//! * The OpenAPI document is made from the same types that the handlers use.

mod actuator;
mod balancing;
mod body;
mod client_address;
mod connection;
mod consumer;
mod cursor;
mod diagnose;
mod document;
mod event_stream;
mod event_visitor;
pub mod events;
mod gateway;
mod measurements;
mod payload;
mod problem;
mod producer;
mod schema;
mod server;
mod service;
mod upstreams;
mod webhook;
mod webhook_url;

pub use actuator::{Actuator, LogControl, UPSTREAMS};
pub use balancing::Availability;
pub use body::BodyBudget;
pub use client_address::TrustedProxies;
pub use consumer::{ConsumerDependencies, consumer_endpoint};
pub use document::openapi_document;
pub use gateway::{Gateway, gateway_endpoint};
pub use producer::{ProducerDependencies, producer_endpoint};
pub use server::{Activity, Answered, Observer, Server, ServerOptions};
pub use upstreams::{InstanceState, InvalidUpstream, UpstreamUrl};
pub use webhook::{ALERTS_MAX, AlertObserver, AlertOutcome, NoAuthorities, TRIES_MAX, Webhook, WebhookOptions};
pub use webhook_url::{InvalidWebhookUrl, WebhookUrl};
