//! Assembles Spillway: settings, wiring, run and drain.
//!
//! Building an [`App`] and running it to its end are two steps, so that tests can use port 0 and separate directories.
//! This is the only crate that knows every adapter, and the only one that uses `anyhow`.

mod alerts;
mod app;
mod backends;
mod cli;
mod disk;
mod drain;
mod example;
mod journal;
mod metrics;
mod send;
pub mod settings;
mod system;

/// Requests and records are constantly allocated on one thread and freed on another, the worst case of the C library's
/// allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use app::{Addresses, App, Role, TaskEnded};
pub use cli::main;
