//! Metrics for Prometheus and the process's own log.

mod logs;
mod metric;
mod prometheus;

pub use logs::{InvalidFilter, init_logs};
pub use metric::Metric;
pub use prometheus::Prometheus;
