//! The tasks that each read one partition.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The task that reads one partition.
pub(super) struct Reader {
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

pub(super) async fn stop_all(readers: Vec<Reader>) {
    for reader in &readers {
        let _ = reader.stop.send(true);
    }
    for reader in readers {
        if let Err(error) = reader.task.await {
            tracing::error!(%error, "the reader of a partition ended abnormally");
        }
    }
}
