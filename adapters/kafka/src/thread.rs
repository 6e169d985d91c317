//! The start of the threads of this crate, and what tells that one has panicked.

use std::thread::JoinHandle;

use tokio::sync::Notify;

use crate::options::InvalidOptions;

/// Notified when a thread has panicked.
static PANICKED: Notify = Notify::const_new();

/// Completes, for one caller, once a thread of this crate has panicked. Records are then no longer sent or read: end the process.
pub async fn thread_panicked() {
    PANICKED.notified().await;
}

/// Starts a thread for work that waits for the client, which no runtime thread does.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, InvalidOptions> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = PanicGuard;
        work();
    });
    thread.map_err(|error| InvalidOptions(format!("cannot start a thread: {error}")))
}

/// Notices that its thread panics.
struct PanicGuard;

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            PANICKED.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_is_noticed_and_one_that_ends_is_not() {
        assert!(spawn("ends", || {}).expect("a thread").join().is_ok());
        assert!(timeout(Duration::ZERO, thread_panicked()).await.is_err());
        assert!(spawn("breaks", || panic!("of the test")).expect("a thread").join().is_err());
        assert!(timeout(Duration::ZERO, thread_panicked()).await.is_ok());
    }
}
