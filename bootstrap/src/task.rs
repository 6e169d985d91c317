//! Tasks that run until they are stopped. One that ends by itself, or panics, stops the process.

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
        let guard = EndGuard { name, stopped: Some(stopped.clone()), ended: Arc::clone(&self.ended) };
        Task { name, stop, handle: tokio::spawn(guard.watch(work(stopped))) }
    }

    /// Starts work that may end by itself, because its owner tells it to in another way. A panic stops the process.
    pub fn spawn_owned(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(EndGuard { name, stopped: None, ended: Arc::clone(&self.ended) }.watch(work))
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
    /// `None` for work that may end by itself, and must not panic.
    stopped: Option<watch::Receiver<bool>>,
    ended: Arc<Notify>,
}

impl EndGuard {
    async fn watch(self, work: impl Future<Output = ()>) {
        let _guard = self;
        work.await;
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let is_expected = match &self.stopped {
            // A task whose owner is gone was stopped as well.
            Some(stopped) => *stopped.borrow() || stopped.has_changed().is_err(),
            None => !std::thread::panicking(),
        };
        if !is_expected {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn broken() {
        panic!("of the test");
    }

    /// Whether a task has ended by itself so far.
    async fn one_has_ended(tasks: &Tasks) -> bool {
        timeout(Duration::ZERO, tasks.one_ended()).await.is_ok()
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_noticed_and_one_that_is_stopped_is_not() {
        let tasks = Tasks::default();
        let stopped = tasks.spawn("stopped", |mut stop| async move {
            let _ = stop.wait_for(|stop| *stop).await;
        });
        stopped.stop(Instant::now() + Duration::from_secs(30)).await;
        assert!(!one_has_ended(&tasks).await);
        let ended = tasks.spawn("ended", |_| async {});
        ended.handle.await.expect("it ends");
        assert!(one_has_ended(&tasks).await);
        let broken = tasks.spawn("broken", |_| broken());
        assert!(broken.handle.await.is_err());
        assert!(one_has_ended(&tasks).await);
    }

    #[tokio::test]
    async fn of_work_that_may_end_by_itself_a_panic_is_noticed() {
        let tasks = Tasks::default();
        tasks.spawn_owned("ended", async {}).await.expect("it ends");
        assert!(!one_has_ended(&tasks).await);
        assert!(tasks.spawn_owned("broken", broken()).await.is_err());
        assert!(one_has_ended(&tasks).await);
    }
}
