//! Bodies of requests and answers, within the memory that there is for them.

pub(crate) mod budget;
mod decompress;
mod read;
mod replayable;
mod request_body;
#[cfg(test)]
mod tests;

pub use budget::{BodyBudget, Lease, NoRoom};
pub use decompress::Coding;
pub use replayable::ReplayableBody;
pub use request_body::REQUEST_BYTES_MAX;
