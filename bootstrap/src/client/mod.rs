//! The commands that read from a Spillway over HTTP, and `generate`, which writes to one.
//!
//! * Standard output contains the data only; notes, questions and errors go to standard error.
//! * No text of an event controls the terminal (`escape.rs`). Nothing is held in memory beyond a limit.
//! * The exit code says what went wrong (`failure.rs`), for scripts.
//!
//! `output.rs` is standard output or the pager; `api.rs` makes requests; each command has a file.

mod advice;
mod api;
mod completions;
mod connection;
mod dlq;
mod escape;
mod event;
mod event_writer;
mod failure;
mod fields;
mod filters;
mod generate;
mod manual;
mod names;
mod numbers;
mod output;
mod parameters;
mod query;
mod sse;
mod stats;
mod table;
mod tail;
#[cfg(test)]
mod test_server;
mod times;
mod topics;
mod variables;

use std::time::Duration;

use clap::Subcommand;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use self::advice::foreign_option;
pub use self::completions::completions;
use self::connection::Connection;
use self::failure::Failure;
use self::filters::Filters;
pub use self::filters::excluding_condition;
pub use self::manual::{manual, write_manuals};
use self::output::Output;
pub use self::variables::{VARIABLE_PREFIX, refuse_unknown_variables};

/// How long a command that has results to report may take to write them after a signal.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// A command for a Spillway that runs somewhere.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Search stored events
    Query(Box<query::Options>),
    /// Follow events as they are stored
    Tail(Box<tail::Options>),
    /// Count events over time
    Stats(Box<stats::Options>),
    /// List the fields of stored events
    Fields(Box<fields::FieldsOptions>),
    /// List the values of a field
    Values(Box<fields::ValuesOptions>),
    /// List dead letters, and send them to the bus again
    #[command(subcommand)]
    Dlq(Box<dlq::Command>),
    /// Send made-up events at a rate, and measure the answers
    Generate(Box<generate::Options>),
}

impl Command {
    fn connection(&self) -> &Connection {
        match self {
            Self::Query(options) => &options.connection,
            Self::Tail(options) => &options.connection,
            Self::Stats(options) => &options.connection,
            Self::Fields(options) => &options.connection,
            Self::Values(options) => &options.connection,
            Self::Dlq(command) => command.connection(),
            Self::Generate(options) => &options.connection,
        }
    }

    /// The conditions on events, if it has any.
    fn filters(&self) -> Option<&Filters> {
        match self {
            Self::Query(options) => Some(&options.filters),
            Self::Tail(options) => Some(&options.filters),
            Self::Stats(options) => Some(&options.filters),
            Self::Fields(options) => Some(&options.filters),
            Self::Values(options) => Some(&options.filters),
            Self::Dlq(_) | Self::Generate(_) => None,
        }
    }

    /// Whether the output is paged on a terminal.
    fn pages(&self) -> bool {
        match self {
            Self::Query(_) | Self::Stats(_) | Self::Fields(_) | Self::Values(_) => true,
            Self::Dlq(command) => command.pages(),
            Self::Tail(_) | Self::Generate(_) => false,
        }
    }
}

/// Runs a command until it ends or `stop` resolves. Returns the exit code, and the message for standard error if there is
/// one.
///
/// A write to standard output cannot be cancelled: the caller must not wait for the tasks of its runtime
/// (`Runtime::shutdown_background`).
pub async fn run(command: Command, stop: impl Future<Output = ()>) -> (u8, Option<String>) {
    // A tail has no other end.
    let may_be_stopped = matches!(command, Command::Tail(_));
    let output = Output::open(command.connection(), command.pages());
    let paged = output.is_paged();
    // It reports what it has done so far.
    let reports = matches!(command, Command::Generate(_));
    let (ask, asked) = oneshot::channel();
    let mut task = tokio::spawn(execute(command, output, asked));
    let ended = tokio::select! {
        biased;
        () = stop => {
            // A reader of standard output that does not take the report must not hold up the end.
            let reported = reports && ask.send(()).is_ok() && timeout(REPORT_TIMEOUT, &mut task).await.is_ok();
            if !reported {
                task.abort();
                if paged {
                    // The pager restores the terminal. What became of the task no longer matters.
                    let _ = task.await;
                }
            }
            Err(Failure::Interrupted)
        }
        ended = &mut task => {
            ended.unwrap_or_else(|_| Err(Failure::Other("the command ended by a defect of Spillway: please report it".to_owned())))
        }
    };
    match ended {
        Ok(()) => (0, None),
        Err(Failure::Interrupted) if may_be_stopped => (0, None),
        Err(failure) => (failure.exit_code(), failure.message()),
    }
}

/// Runs a command. One that reports ends early, with its report, when `stop` says so.
async fn execute(command: Command, mut output: Output, stop: oneshot::Receiver<()>) -> Result<(), Failure> {
    let query = command.filters().map(Filters::text).unwrap_or_default();
    let result = match command {
        Command::Query(options) => query::run(*options, &mut output).await,
        Command::Tail(options) => tail::run(*options, &mut output).await,
        Command::Stats(options) => stats::run(*options, &mut output).await,
        Command::Fields(options) => fields::run_fields(*options, &mut output).await,
        Command::Values(options) => fields::run_values(*options, &mut output).await,
        Command::Dlq(command) => (*command).run(&mut output).await,
        Command::Generate(options) => generate::run(*options, &mut output, stop).await,
    };
    let finished = output.finish();
    match (result, finished) {
        // A pager that cannot be run closes its input too.
        (Err(Failure::Closed), Err(failure)) => Err(failure),
        (result, finished) => result.and(finished).map_err(|failure| failure.with_place(&query)),
    }
}
