//! The start of the threads of this crate.

use std::thread::JoinHandle;

use crate::options::InvalidOptions;

/// Starts a thread for work that waits for the client, which no runtime thread does.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, InvalidOptions> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| InvalidOptions(format!("cannot start a thread: {error}")))
}
