//! Tasks that run until they are stopped. One that ends by itself stops the process.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// A task that should run until it is stopped has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskEnded;

/// Starts the tasks of a process.
#[derive(Clone, Default)]
pub struct Tasks {
    /// Notified if a task ends by itself.
    ended: Arc<Notify>,
}

impl Tasks {
    /// Starts work that runs until the receiver that it gets says so.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Task {
        let (stop, stopped) = watch::channel(false);
        let guard = EndGuard { name, stopped: stopped.clone(), ended: Arc::clone(&self.ended) };
        let work = work(stopped);
        let handle = tokio::spawn(async move {
            let _guard = guard;
            work.await;
        });
        Task { name, stop, handle }
    }

    /// Waits until a task has ended by itself.
    pub async fn one_ended(&self) {
        self.ended.notified().await;
    }
}

/// Work that runs until it is told to stop.
pub struct Task {
    name: &'static str,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

/// Notices a task that ends though it was not stopped, such as by a panic: the process cannot do its work then.
struct EndGuard {
    name: &'static str,
    stopped: watch::Receiver<bool>,
    ended: Arc<Notify>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        // A task whose owner is gone was stopped as well.
        if !*self.stopped.borrow() && self.stopped.has_changed().is_ok() {
            tracing::error!(task = self.name, "a task has ended by itself: the process stops");
            self.ended.notify_one();
        }
    }
}

impl Task {
    /// Stops all of the work, by force after `deadline`.
    pub async fn stop_all(tasks: impl IntoIterator<Item = Self>, deadline: Instant) {
        let tasks: Vec<Self> = tasks.into_iter().collect();
        for task in &tasks {
            let _ = task.stop.send(true);
        }
        for task in tasks {
            task.stop(deadline).await;
        }
    }

    /// Stops the work, by force after `deadline`.
    pub async fn stop(mut self, deadline: Instant) {
        let _ = self.stop.send(true);
        match timeout_at(deadline, &mut self.handle).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(task = self.name, %error, "a task did not end by itself"),
            Err(_) => {
                tracing::warn!(
                    task = self.name,
                    "still busy at the end of its part of the drain, breaking off: its requests get no answer; lost events would be in a line of their own"
                );
                self.handle.abort();
            }
        }
    }
}
