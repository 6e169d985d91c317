//! The arguments of the process: the commands, and the options that are not those of one of them.
//!
//! * A configuration file is an option of the commands that have settings. Others refuse it: it would have no effect.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::{client, journal, key, segments, send};

/// The commands with the settings of a server: `--config` is an option of these.
const WITH_SETTINGS: [&str; 8] = ["all", "gateway", "producer", "consumer", "key", "journal", "segments", "config"];

/// The help of the whole program: clap cannot group commands. A test compares it with the commands.
const HELP_TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

Servers:
  all          Gateway, producer and consumer in one process, without any other server [default]
  gateway      The entry point in front of producers and consumers
  producer     Ingestion API
  consumer     Storing and query API

Reading from a Spillway:
  query        Search stored events
  tail         Follow events as they are stored
  stats        Count events over time
  fields       List the fields of stored events
  values       List the values of a field
  dlq          List dead letters, and send them to the bus again

Sending to a Spillway:
  send         Send the lines of files or of standard input to a Spillway
  generate     Send made-up events at a rate, and measure the answers

On this machine:
  key          Create, list, rotate and revoke access keys
  journal      Inspect the journals in the data directory, also next to a running producer
  segments     Inspect the sealed segments in the data directory, or give one up, also next to a running process
  config       Check the configuration, and print it as environment variables
  openapi      Print the OpenAPI document
  completions  Print the completions of a shell
  man          Print the manual page of the program
  help         Print this message or the help of the given subcommand(s)

Options:
{options}{after-help}";

/// Log ingestion that keeps its promises
#[derive(Debug, Parser)]
#[command(
    name = "spillway",
    bin_name = "spillway",
    version,
    help_template = HELP_TEMPLATE,
    after_help = "Every setting can be given as an environment variable: `spillway config` lists them.\n\
                  Exit codes: 0 clean, 64 bad configuration or usage, 1 anything else. The commands that read have\n\
                  more: `spillway query --help`."
)]
pub struct Arguments {
    /// Configuration file (TOML) [default: spillway.toml, if it exists]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// What to run; `all` unless it is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Gateway, producer and consumer in one process, without any other server [default]
    All,
    /// The entry point in front of producers and consumers
    Gateway,
    /// Ingestion API
    Producer,
    /// Storing and query API
    Consumer,
    #[command(flatten)]
    Client(client::Command),
    /// Send the lines of files or of standard input to a Spillway
    Send(Box<send::Options>),
    /// Create, list, rotate and revoke access keys
    #[command(subcommand)]
    Key(key::Command),
    /// Inspect the journals in the data directory, also next to a running producer
    #[command(subcommand)]
    Journal(journal::Command),
    /// Inspect the sealed segments in the data directory, or give one up, also next to a running process
    #[command(subcommand)]
    Segments(segments::Command),
    /// Check the configuration, and print it as environment variables
    ///
    /// Secrets are masked. An unknown key or an invalid value is an error that names the key; the exit code is then 64. A role checks
    /// at its start what it alone needs: its servers, its access keys and its certificates.
    Config {
        /// Print a configuration file instead, with the meaning and default of each setting
        #[arg(long)]
        example: bool,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Print the completions of a shell
    Completions {
        /// Shell to complete for
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Print the manual page of the program
    Man {
        /// Write this page and those of all commands to a directory instead
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// The definition of the command line.
#[must_use]
pub fn command_line() -> clap::Command {
    let mut line = Arguments::command();
    let config = line.get_arguments().find(|argument| argument.get_id() == "config").cloned();
    let Some(config) = config else { return line };
    for name in WITH_SETTINGS {
        // What is given to a command is a value of the program too.
        line = line.mut_subcommand(name, |command| command.arg(config.clone().global(true)));
    }
    line
}

/// Reads the arguments of a process.
///
/// # Errors
/// They are not a command, or ask for help or the version; or a configuration file is given to a command without settings.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut line = command_line();
    let mut matches = line.try_get_matches_from_mut(arguments)?;
    let without_settings = matches.subcommand_name().filter(|name| !WITH_SETTINGS.contains(name));
    if let Some(name) = without_settings.filter(|_| matches.contains_id("config")) {
        let message = format!("{name} has no settings of a server, and does not take --config");
        return Err(line.error(ErrorKind::ArgumentConflict, message));
    }
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut line))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_help_lists_every_command() {
        let help = command_line().render_help().to_string();
        for command in command_line().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let line = format!("\n  {:<11}  {about}", command.get_name());
            assert!(help.contains(&line), "{line} is not in:\n{help}");
        }
        assert!(help.contains("--config <FILE>") && help.contains("Exit codes"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }

    #[test]
    fn a_configuration_file_is_for_commands_with_settings() {
        let read = |words: &str| read(words.split(' ').map(OsString::from));
        for words in [
            "spillway --config f",
            "spillway --config f all",
            "spillway all --config f",
            "spillway key --config f list",
            "spillway key list --config f",
            "spillway config --config f",
        ] {
            assert_eq!(read(words).unwrap().config.as_deref(), Some(Path::new("f")), "{words}");
        }
        for words in [
            "spillway query --config f",
            "spillway --config f query",
            "spillway dlq list --config f",
            "spillway send --config f",
            "spillway openapi --config f",
        ] {
            assert!(read(words).is_err(), "{words}");
        }
        for command in command_line().get_subcommands_mut() {
            let has_option = command.render_help().to_string().contains("--config <FILE>");
            assert_eq!(has_option, WITH_SETTINGS.contains(&command.get_name()), "{}", command.get_name());
        }
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        command_line().debug_assert();
    }
}
