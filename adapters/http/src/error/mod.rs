//! Errors of the API, and how they look in an answer.

mod api_error;
pub mod problem_json;

pub use api_error::{ApiError, Described, ErrorClass, OverLimit};
