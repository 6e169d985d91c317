//! Sends alerts to the log, and to a webhook if one is set.

use std::sync::{Arc, Mutex, PoisonError};

use adapter_telemetry::{LogAlerter, Prometheus};
use adapter_webhook::{AlertObserver, AlertOutcome, Webhook, WebhookOptions};
use anyhow::Context;
use domain::alert::{Alert, FiringAlerts};
use domain::ports::{Alerter, Clock};
use tokio::time::Instant;

use crate::role::{Addresses, Role};
use crate::settings::Settings;
use crate::system::host_name;
use crate::task::Tasks;

/// Sends alerts to all configured receivers.
pub struct Alerts {
    log: LogAlerter,
    webhook: Option<Webhook>,
    prometheus: Arc<Prometheus>,
    clock: Arc<dyn Clock>,
    firing: Mutex<FiringAlerts>,
}

impl Alerts {
    /// Starts sending, in the name of a process of this role that listens at these addresses.
    ///
    /// # Errors
    /// The webhook URL is https, and no trusted certificates are available.
    pub fn start(
        role: Role,
        settings: &Settings,
        addresses: Addresses,
        clock: Arc<dyn Clock>,
        prometheus: &Arc<Prometheus>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let webhook = match &settings.alert.webhook_url.0 {
            None => None,
            Some(url) => {
                let options = WebhookOptions {
                    url: url.clone(),
                    timeout: settings.alert.timeout.0,
                    instance: instance(addresses),
                    role: role.name(),
                };
                let webhook = Webhook::start(options, Arc::clone(&clock), observer(prometheus), |sending| {
                    tasks.spawn_owned("webhook", sending)
                });
                Some(webhook.context("alert.webhook_url cannot be used")?)
            }
        };
        Ok(Self { log: LogAlerter, webhook, prometheus: Arc::clone(prometheus), clock, firing: Mutex::default() })
    }

    /// The alerts that hold now.
    pub fn firing(&self) -> FiringAlerts {
        self.firing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends queued alerts, until `deadline` at the latest, and accepts no more.
    pub async fn close(&self, deadline: Instant) {
        let Some(webhook) = &self.webhook else { return };
        let left = webhook.close(deadline.saturating_duration_since(Instant::now())).await;
        if left > 0 {
            tracing::warn!(alerts = left, "not all alerts could be sent to the webhook in time");
        }
    }
}

impl Alerter for Alerts {
    fn alert(&self, alert: Alert) {
        let name = alert.kind.name();
        self.firing.lock().unwrap_or_else(PoisonError::into_inner).observe(&alert, self.clock.now());
        match &self.webhook {
            None => {
                self.log.alert(alert);
                self.prometheus.alert_logged(name);
            }
            Some(webhook) => {
                self.log.alert(alert.clone());
                webhook.alert(alert);
            }
        }
    }
}

fn observer(prometheus: &Arc<Prometheus>) -> AlertObserver {
    let prometheus = Arc::clone(prometheus);
    Arc::new(move |name, outcome| match outcome {
        AlertOutcome::Delivered => prometheus.alert_delivered(name),
        AlertOutcome::Failed => prometheus.alert_failed(name),
        AlertOutcome::Dropped => prometheus.alert_dropped(),
    })
}

/// Identifies a process, also among several on one machine.
fn instance(addresses: Addresses) -> String {
    let address = addresses.gateway.or(addresses.producer).or(addresses.consumer);
    let port = address.map(|address| format!(":{}", address.port())).unwrap_or_default();
    format!("{}{port}", host_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_after_its_machine_and_its_first_port() {
        let at = |port| Some(([127, 0, 0, 1], port).into());
        let all = Addresses { gateway: at(8080), producer: at(8081), consumer: at(8082) };
        let host = host_name();
        assert!(!host.is_empty());
        assert_eq!(instance(all), format!("{host}:8080"));
        assert_eq!(instance(Addresses { consumer: at(8082), ..Addresses::default() }), format!("{host}:8082"));
        assert_eq!(instance(Addresses::default()), host);
    }
}
