//! Assembles Spillway: settings, wiring, run and drain.
//!
//! Building an [`App`] and running it to its end are two steps, so that tests can use port 0 and separate directories.
//! This is the only crate that knows every adapter, and the only one that uses `anyhow`.

mod access;
mod agent_listeners;
mod alerts;
mod app;
mod arguments;
mod backends;
mod cli;
mod client;
#[cfg(test)]
mod configuration_page;
mod consumer_role;
mod context;
mod credentials;
mod disk;
mod drain;
mod example;
mod gateway_role;
mod http_client;
mod instance;
mod journal;
mod key;
mod metrics;
mod producer_role;
mod role;
mod roles;
mod sealing;
mod secret_argument;
mod segments;
mod send;
pub mod settings;
mod settings_source;
mod settled;
mod suggested;
mod system;
mod task;
mod tls;

/// Requests and records are constantly allocated on one thread and freed on another, the worst case of the C library's
/// allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use app::App;
pub use cli::main;
pub use role::{Addresses, Role};
pub use task::TaskEnded;
