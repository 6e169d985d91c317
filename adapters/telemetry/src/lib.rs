//! Metrics for Prometheus and the process's own log.

mod log_alerter;
mod logs;
mod metric;
mod process;
mod prometheus;

pub use log_alerter::LogAlerter;
pub use logs::{InvalidFilter, init_logs};
pub use metric::Metric;
pub use prometheus::{Prometheus, Quantiles};
