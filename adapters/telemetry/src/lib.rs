//! Metrics for Prometheus and the process's own log.

mod log_alerter;
mod logs;
mod metric;
#[cfg(test)]
mod metrics_page;
mod process;
mod prometheus;

pub use log_alerter::LogAlerter;
pub use logs::{InvalidFilter, LogFormat, init_logs, log_filter, set_log_filter};
pub use metric::Metric;
pub use process::resident_bytes;
pub use prometheus::{EventTotals, Prometheus, Quantiles};
