//! `spillway send`: sends the lines of files or of standard input to the API of a Spillway.
//!
//! * Every line with text is an event, or part of one (crate `formats`), or a header of `tail`. Every event is
//!   accounted for: accepted, refused with a reason, in doubt, or not sent.
//! * A file that is sent again is stored once as far as it is unchanged: its events have the same identifiers
//!   (`event_id.rs`), and the store drops repeats within its dedup window, one day by default. A copy of a file is
//!   another file. Events from standard input or a pipe are always new; within one run they are stored once too.
//! * Nothing in an input ends the reading of a pipe; a pipe is refused only if it begins with content that has no lines
//!   (`content.rs`).
//! * At the first signal nothing more is read, and what was read from a pipe is sent within [`STOP_TIMEOUT`]. The
//!   second signal ends the run at once.
//! * Values of headers and the password of a URL are never shown.

mod answer;
mod client;
mod content;
mod decompression;
mod document;
mod event_id;
mod header;
mod input;
mod lines;
mod options;
mod patience;
mod pending;
mod progress;
#[cfg(test)]
mod scripted_server;
mod sender;
mod source;
mod summary;
mod tail_header;
mod tally;
mod target;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use self::input::Input;
pub use self::options::{Options, duration};
use self::patience::Stopped;
use self::sender::Sender;
pub use self::summary::{Summary, grouped, rate};
pub use self::target::{Target, URL_VARIABLE};

/// How long the sending of what was read may take after the first signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The signals that end a run.
pub trait StopSignals {
    /// Waits for the next signal. The future may be dropped at any time.
    fn next(&mut self) -> impl Future<Output = ()>;
}

/// Sends everything and returns the outcome. Ends early at a signal.
///
/// A read of standard input cannot be cancelled: the caller must not wait for the blocking threads of its runtime
/// (`Runtime::shutdown_background`).
///
/// # Errors
/// The URL is one of https, and the system has no certificates of authorities; or there are too many headers. Errors of
/// files and servers are in the summary.
pub async fn run(options: Options, signals: impl StopSignals) -> anyhow::Result<Summary> {
    let inputs = Input::all(&options.files, options.source.as_ref());
    let (stop, stopped) = watch::channel(false);
    let mut sender = Sender::new(&options, input::bytes_total(&inputs).await, stopped)?;
    let ended = until_stopped(sender.send_all(&inputs), &stop, signals).await;
    Ok(sender.finish(&inputs, ended))
}

/// Awaits the end of `sending`. The first signal sets `stop`, and then there is little time left.
async fn until_stopped(
    sending: impl Future<Output = Result<(), Stopped>>,
    stop: &watch::Sender<bool>,
    mut signals: impl StopSignals,
) -> Result<(), Stopped> {
    let mut sending = pin!(sending);
    tokio::select! {
        biased;
        () = signals.next() => {
            stop.send_replace(true);
        }
        ended = &mut sending => return ended,
    }
    tokio::select! {
        biased;
        () = signals.next() => Err(Stopped("interrupted".to_owned())),
        ended = timeout(STOP_TIMEOUT, sending) => ended.unwrap_or_else(|_| {
            let seconds = STOP_TIMEOUT.as_secs();
            Err(Stopped(format!("interrupted; not all that was read could be sent within {seconds} s")))
        }),
    }
}
