//! `spillway dlq`: lists dead letters, and sends them to the bus again.

mod conditions;
mod list;
mod redrive;

use clap::Subcommand;

use super::connection::Connection;
use super::failure::Failure;
use super::output::Output;

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List dead letters, oldest first
    List(list::ListOptions),
    /// Show a dead letter
    Show(list::ShowOptions),
    /// Send dead letters to the bus again, oldest first
    Redrive(redrive::Options),
}

impl Command {
    /// The server and the terminal.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        match self {
            Self::List(options) => &options.connection,
            Self::Show(options) => &options.connection,
            Self::Redrive(options) => &options.connection,
        }
    }

    /// Whether the output is paged on a terminal.
    #[must_use]
    pub fn pages(&self) -> bool {
        !matches!(self, Self::Redrive(_))
    }

    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::List(options) => list::list(options, output).await,
            Self::Show(options) => list::show(options, output).await,
            Self::Redrive(options) => redrive::run(options, output).await,
        }
    }
}
