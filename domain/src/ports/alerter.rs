use crate::alert::Alert;

/// Sends alerts to the operator. Never fails and never blocks: the queue of alerts is bounded, and alerts that cannot
/// be sent are counted. The rules of [`crate::alert`] decide beforehand how often to send.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Alerter: Send + Sync {
    /// Sends this alert, after all earlier ones.
    fn alert(&self, alert: Alert);
}
