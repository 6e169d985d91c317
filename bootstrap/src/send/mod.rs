//! `spillway send`: sends the lines of files or of standard input to the API of a Spillway.
//!
//! * Every line with text is an event, or part of one (crate `formats`). Every event is accounted for: accepted,
//!   refused with a reason, in doubt, or not sent.
//! * A file that is sent again is stored once as far as it is unchanged: its events have the same identifiers
//!   (`event_id.rs`), and the store drops repeats within its dedup window, one day by default. A copy of a file is
//!   another file. Events from standard input or a pipe are always new; within one run they are stored once too.
//! * Nothing in an input ends the reading of a pipe; a pipe is refused only if it begins with the signature of content
//!   that has no lines (`content.rs`).
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
mod summary;
mod tally;
mod target;
#[cfg(test)]
mod tests;

use self::input::Input;
pub use self::options::Options;
use self::patience::Stopped;
use self::sender::Sender;
pub use self::summary::{Summary, grouped, rate};
pub use self::target::{Target, URL_VARIABLE};

/// Sends everything and returns the outcome. Ends early when `stop` resolves, without waiting for an answer.
///
/// A read of standard input cannot be cancelled: the caller must not wait for the blocking threads of its runtime
/// (`Runtime::shutdown_background`).
///
/// # Errors
/// The URL is one of https, and the system has no certificates of authorities; or there are too many headers. Errors of
/// files and servers are in the summary.
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
