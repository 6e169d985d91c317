use crate::alert::Alert;

/// Tells somebody. Never fails and never blocks: what waits to be told is bounded, and what cannot be told is counted. How
/// often to tell is decided before, by the rules of [`crate::alert`].
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Alerter: Send + Sync {
    /// Tells this, after what was told before.
    fn alert(&self, alert: Alert);
}
