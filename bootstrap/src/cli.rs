//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::App;
use crate::example::example;
use crate::journal;
use crate::role::Role;
use crate::send;
use crate::settings::Settings;
use crate::system::{SystemClock, until_clock_is_set};
use crate::task::TaskEnded;

/// Bad configuration or usage (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Log ingestion that keeps its promises
#[derive(Debug, Parser)]
#[command(
    name = "spillway",
    bin_name = "spillway",
    version,
    after_help = "Every setting can be given as an environment variable: `spillway config` lists them.\n\
                  Exit codes: 0 clean, 64 bad configuration or usage, 1 anything else."
)]
struct Arguments {
    /// Configuration file (TOML) [default: spillway.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Gateway, producer and consumer in one process, without any other server [default]
    All,
    /// The entry point in front of producers and consumers
    Gateway,
    /// Ingestion API
    Producer,
    /// Storing and query API
    Consumer,
    /// Send the lines of files or of standard input to a Spillway
    Send(Box<send::Options>),
    /// Inspect the journals in the data directory, also next to a running producer
    #[command(subcommand)]
    Journal(journal::Command),
    /// Print the effective configuration as environment variables
    Config {
        /// Print a configuration file instead, with the meaning and default of each setting
        #[arg(long)]
        example: bool,
    },
    /// Print the OpenAPI document
    Openapi,
}

/// Runs the command line of this process. Exit codes: 0 clean, 64 bad configuration or usage, 1 anything else.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors.
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    let command = match arguments.command.unwrap_or(Command::All) {
        // These need no configuration.
        Command::Config { example: true } => {
            print(&example());
            return ExitCode::SUCCESS;
        }
        Command::Openapi => {
            print(&adapter_http::openapi_document());
            return ExitCode::SUCCESS;
        }
        Command::Send(options) => return send_lines(*options),
        command => command,
    };
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = match Settings::load(arguments.config.as_deref(), environment) {
        Ok(settings) => settings,
        Err(error) => return usage(&error.to_string()),
    };
    if let Command::Journal(command) = command {
        return match journal::run(command, &settings.data_dir) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                report(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = adapter_telemetry::init_logs(&settings.log, settings.log_format.into()) {
        return usage(&format!("log: {error}"));
    }
    let role = match command {
        Command::Config { .. } => {
            print(&settings.to_variables());
            return ExitCode::SUCCESS;
        }
        Command::All | Command::Openapi | Command::Send(_) | Command::Journal(_) => Role::All,
        Command::Gateway => Role::Gateway,
        Command::Producer => Role::Producer,
        Command::Consumer => Role::Consumer,
    };
    if let Err(error) = settings.check_role(role) {
        return usage(&error.to_string());
    }
    match serve(role, &settings) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn send_lines(options: send::Options) -> ExitCode {
    let sent =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
            let summary = runtime.block_on(async { send::run(options, stop_signal()?).await });
            // A read of standard input may be in progress and cannot be cancelled.
            runtime.shutdown_background();
            summary
        });
    match sent {
        Ok(summary) => {
            print(&summary.to_string());
            if summary.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(role: Role, settings: &Settings) -> anyhow::Result<usize> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let left = runtime.block_on(async {
        // From here on a signal requests a drain.
        let mut stop = Box::pin(stop_signal()?);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), role = role.name(), "starting");
        let open = async {
            until_clock_is_set(&SystemClock).await;
            App::build(role, settings).await
        };
        let app = tokio::select! {
            app = open => app?,
            () = &mut stop => return Ok(0),
        };
        let addresses = app.addresses();
        for (name, address) in
            [("gateway", addresses.gateway), ("producer", addresses.producer), ("consumer", addresses.consumer)]
        {
            if let Some(address) = address {
                tracing::info!(%address, "{name} listens");
            }
        }
        let (data_dir, bus, store) = (settings.data_dir.display(), settings.bus.word(), settings.store.kind.word());
        tracing::info!(%data_dir, bus, store, "storing events");
        if let Some(address) = addresses.gateway.or(addresses.producer).or(addresses.consumer) {
            tracing::info!("documentation: http://{address}/swagger-ui");
        }
        app.run(stop).await.map_err(|TaskEnded| anyhow::anyhow!("a task ended unexpectedly: see the log"))
    })?;
    runtime.shutdown_background();
    Ok(left)
}

/// Resolves at SIGTERM or Ctrl-C.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn usage(message: &str) -> ExitCode {
    report(message);
    EXIT_USAGE.into()
}

/// Prints the answer of a command. A reader that has seen enough, such as `head`, closes the pipe.
fn print(text: &str) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        report(&format!("cannot write to standard output: {error}"));
    }
}

fn report(message: &str) {
    use std::io::Write;
    // A failure to write to standard error cannot be reported.
    let _ = writeln!(std::io::stderr(), "spillway: {message}");
}
