//! The query API: one file an operation.

mod cursor;
pub mod dead_letters;
pub mod dependencies;
pub mod event_stream;
pub mod logs;
mod params;
pub mod stats;
mod stored_event;
pub mod tail;
#[cfg(test)]
mod tests;
