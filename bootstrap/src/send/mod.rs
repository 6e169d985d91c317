//! `spillway send`: sends the lines of files or of standard input to the API of a Spillway.
//!
//! * Every non-blank line is one event, or part of the stack trace of the previous event. Every event is accounted for:
//!   accepted, refused with a reason, in doubt, or not sent.
//! * A file that is sent again is stored once: its lines have the same identifiers, and the store drops repeats within
//!   its dedup window, one day by default. A copy of a file is another file. Events from standard input or a pipe are
//!   always new; within one run they are stored once too.

mod answer;
mod client;
mod event_id;
mod input;
mod joining;
mod levels;
mod line;
mod lines;
mod members;
mod options;
mod patience;
mod pending;
mod progress;
#[cfg(test)]
mod scripted_server;
mod sender;
mod summary;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod times;

use self::input::Input;
pub use self::options::Options;
use self::patience::Stopped;
use self::sender::Sender;
pub use self::summary::{Summary, grouped, rate};
pub use self::target::Target;

/// Sends everything and returns the outcome. Ends early when `stop` resolves, without waiting for an answer.
///
/// A read of standard input cannot be cancelled: the caller must not wait for the blocking threads of its runtime
/// (`Runtime::shutdown_background`).
///
/// # Errors
/// Never in practice: errors of files and servers are in the summary.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<Summary> {
    let inputs = Input::all(&options.files, options.source.as_ref());
    let mut sender = Sender::new(&options, input::bytes_total(&inputs).await)?;
    let ended = tokio::select! {
        biased;
        () = stop => Err(Stopped("interrupted".to_owned())),
        ended = sender.send_all(&inputs) => ended,
    };
    Ok(sender.finish(&inputs, ended))
}
