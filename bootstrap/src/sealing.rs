//! Seals old events of the embedded store in the background.

use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::store::SqliteStore;
use application::health::Check;
use tokio::sync::watch;

/// How often to look for events to seal.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait after a failure, such as a full disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Runs one step after the other, until `stop`. What a step did not finish is removed by the next one, or at the next start.
pub async fn run(store: Arc<SqliteStore>, mut stop: watch::Receiver<bool>) {
    loop {
        let step = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            step = store.seal() => step,
        };
        let wait = match step {
            // Other work comes first.
            Ok(true) => Duration::ZERO,
            Ok(false) => INTERVAL,
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(error = format!("{error:#}"), "cannot seal events, retrying in 1 min");
                RETRY_INTERVAL
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Why a segment cannot be read, if there is one.
pub fn check(store: Arc<SqliteStore>) -> Check {
    Arc::new(move || store.segments_status().fault)
}
