//! The tasks that each read one partition.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use domain::partition::Partition;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

/// The task that reads one partition.
pub(super) struct Reader {
    stop: watch::Sender<bool>,
    /// `None` once it is known to have ended.
    task: Option<JoinHandle<()>>,
}

impl Reader {
    /// The reader that this task is, which ends when `stop` says so.
    pub(super) fn new(stop: watch::Sender<bool>, task: JoinHandle<()>) -> Self {
        Self { stop, task: Some(task) }
    }
}

/// Waits until the reader of a partition panics. A reader that has ended in order stays among them.
pub(super) async fn panicked(readers: &mut HashMap<Partition, Reader>) -> (Partition, JoinError) {
    poll_fn(|context| {
        for (partition, reader) in readers.iter_mut() {
            let Some(task) = &mut reader.task else { continue };
            let Poll::Ready(ended) = Pin::new(task).poll(context) else { continue };
            reader.task = None;
            if let Err(error) = ended {
                return Poll::Ready((*partition, error));
            }
        }
        Poll::Pending
    })
    .await
}

pub(super) async fn stop_all(readers: Vec<Reader>) {
    for reader in &readers {
        let _ = reader.stop.send(true);
    }
    for task in readers.into_iter().filter_map(|reader| reader.task) {
        if let Err(error) = task.await {
            tracing::error!(%error, "the reader of a partition ended abnormally");
        }
    }
}
