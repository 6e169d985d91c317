//! The query API: one file an operation.

mod blocks;
pub mod context;
mod cursor;
pub mod dead_letters;
pub mod dependencies;
pub mod event_stream;
pub mod export;
pub mod fields;
pub mod logs;
mod params;
pub mod search;
pub mod stats;
mod stored_event;
pub mod tail;
#[cfg(test)]
mod tests;

use poem_openapi::OpenApi;

use self::search::Searching;

/// All operations of the query API.
pub fn query_api() -> impl OpenApi + 'static {
    let searching = (logs::LogsApi, stats::StatsApi, tail::TailApi, fields::FieldsApi, export::ExportApi);
    (Searching(searching), logs::EventApi, context::ContextApi, dead_letters::DeadLettersApi)
}
