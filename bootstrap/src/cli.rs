//! The command line: runs what the arguments of the process say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::access::{keys_path, open_keys, open_sessions};
use crate::app::App;
use crate::arguments::{Command, command_line, read};
use crate::client;
use crate::example::example;
use crate::journal;
use crate::key;
use crate::role::{Addresses, Role};
use crate::roles::bus_and_store;
use crate::segments;
use crate::send;
use crate::settings::Settings;
use crate::system::{SystemClock, until_clock_is_set};
use crate::task::TaskEnded;
use crate::tls::ListenerTls;

/// Bad configuration or usage (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Runs the command line of this process. Exit codes: 0 clean, 64 bad configuration or usage, 1 anything else; the
/// commands that read have more.
#[must_use]
pub fn main() -> ExitCode {
    let given: Vec<String> = std::env::args_os().filter_map(|argument| argument.into_string().ok()).collect();
    if let Some(condition) = client::excluding_condition(given.iter().map(String::as_str)) {
        let instead = condition.trim_start_matches('-');
        return usage(&format!("{condition} looks like an option: to exclude events, write NOT {instead}"));
    }
    let arguments = match read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            if let Some(message) = client::foreign_option(&given, &error) {
                return usage(&message);
            }
            // Help and version are not errors.
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    let command = match arguments.command.unwrap_or(Command::All) {
        // These need no configuration.
        Command::Config { example: true } => return print(&example()),
        Command::Openapi => return print(&adapter_http::openapi_document()),
        Command::Completions { shell } => return print(&client::completions(shell, command_line())),
        Command::Man { dir } => return print_manual(dir.as_deref()),
        command => command,
    };
    // What the commands that connect are told is not a setting.
    let (for_clients, environment): (Vec<_>, Vec<_>) = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .partition(|(name, _)| name.starts_with(client::VARIABLE_PREFIX));
    if let Err(message) = client::refuse_unknown_variables(for_clients.iter().map(|(name, _)| name.as_str())) {
        return usage(&message);
    }
    match command {
        Command::Send(options) => send_lines(*options),
        Command::Client(command) => run_client(command),
        command => match Settings::load(arguments.config.as_deref(), environment) {
            Ok(settings) => run_with_settings(command, &settings),
            Err(error) => usage(&error.to_string()),
        },
    }
}

/// Runs a command that needs settings.
fn run_with_settings(command: Command, settings: &Settings) -> ExitCode {
    if let Command::Key(command) = command {
        // `all` has a file in its data directory; other roles must name one.
        let keys_file = keys_path(Role::All, settings).unwrap_or_default();
        return match key::run(command, &keys_file, settings) {
            Ok(key::Printed { text, notes }) => {
                let printed = print(&text);
                notes.iter().for_each(|note| report(note));
                printed
            }
            Err(error) => {
                report(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    let inspected = match &command {
        Command::Journal(command) => Some(journal::run(*command, &settings.data_dir)),
        Command::Segments(command) => Some(segments::run(command, &settings.data_dir)),
        _ => None,
    };
    if let Some(inspected) = inspected {
        return match inspected {
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
        Command::Config { .. } => return print(&settings.to_variables()),
        Command::Gateway => Role::Gateway,
        Command::Producer => Role::Producer,
        Command::Consumer => Role::Consumer,
        // The other commands have ended already.
        _ => Role::All,
    };
    if let Err(error) = settings.check_role(role) {
        return usage(&error.to_string());
    }
    let open = open_keys(role, settings).map(drop).map_err(|error| error.to_string());
    let open = open.and_then(|()| open_sessions(role, settings).map(drop).map_err(|error| error.to_string()));
    let open = open.and_then(|()| ListenerTls::open(role, settings).map(drop).map_err(|error| error.to_string()));
    if let Err(message) = open {
        return usage(&message);
    }
    match serve(role, settings) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn send_lines(options: send::Options) -> ExitCode {
    let checked = options.target().map_err(|error| error.to_string());
    let checked = checked.and_then(|target| options.key(&target).map(drop).map_err(|error| error.to_string()));
    if let Err(error) = checked.and(options.headers().map_err(|error| error.to_string())) {
        return usage(&error);
    }
    let is_quiet = options.quiet;
    let sent =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
            let summary = runtime.block_on(async { send::run(options, Signals::listen()?).await });
            // A read of standard input may be in progress and cannot be cancelled.
            runtime.shutdown_background();
            summary
        });
    match sent {
        Ok(summary) => {
            let is_complete = summary.is_complete();
            if !is_quiet || !is_complete {
                // The exit code is that of the events.
                let _ = print(&summary.to_string());
            }
            if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_client(command: client::Command) -> ExitCode {
    let ran = tokio::runtime::Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
        let ran = runtime.block_on(async { Ok::<_, std::io::Error>(client::run(command, stop_signal()?).await) });
        // A write to standard output may be in progress and cannot be cancelled.
        runtime.shutdown_background();
        ran
    });
    match ran {
        Ok((code, message)) => {
            if let Some(message) = message {
                report(&message);
            }
            code.into()
        }
        Err(error) => {
            report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn print_manual(directory: Option<&Path>) -> ExitCode {
    let written = match directory {
        Some(directory) => client::write_manuals(command_line(), directory).map(|()| ExitCode::SUCCESS),
        None => client::manual(command_line()).map(|page| print(&page)),
    };
    match (written, directory) {
        (Ok(code), _) => code,
        (Err(error), directory) => {
            let place = directory.unwrap_or(Path::new("."));
            report(&format!("cannot write the manual pages to {}: {error}", place.display()));
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
        if let Some((bus, store)) = bus_and_store(role, settings) {
            tracing::info!(data_dir = %settings.data_dir.display(), bus, store, "storing events");
        }
        for page in pages(addresses, settings) {
            tracing::info!("{page}");
        }
        app.run(stop).await.map_err(|TaskEnded| anyhow::anyhow!("a task ended unexpectedly: see the log"))
    })?;
    runtime.shutdown_background();
    Ok(left)
}

/// Where a browser on this machine finds a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The pages of this process for a browser, each with its URL.
fn pages(addresses: Addresses, settings: &Settings) -> Vec<String> {
    let url = |address: Option<SocketAddr>, own: &Path| {
        let encrypted = [own, &settings.http.tls_certificate].iter().any(|path| !path.as_os_str().is_empty());
        address.map(|address| format!("{}://{}", if encrypted { "https" } else { "http" }, reachable(address)))
    };
    let gateway = url(addresses.gateway, &settings.gateway.tls_certificate);
    let producer = url(addresses.producer, &settings.producer.tls_certificate);
    let consumer = url(addresses.consumer, &settings.consumer.tls_certificate);
    let console = gateway.as_ref().filter(|_| settings.console).map(|url| format!("console: {url}/console/"));
    let documentation = gateway.or(producer).or(consumer).map(|url| format!("documentation: {url}/swagger-ui"));
    console.into_iter().chain(documentation).collect()
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on the signals no longer end the process.
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

impl send::StopSignals for Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Resolves at the first SIGTERM or Ctrl-C.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::listen()?;
    Ok(async move { send::StopSignals::next(&mut signals).await })
}

fn usage(message: &str) -> ExitCode {
    report(message);
    EXIT_USAGE.into()
}

/// Prints the answer of a command. Returns its exit code: a reader that has seen enough, such as `head`, closes the pipe, and
/// any other failure is one of the command.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            report(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn report(message: &str) {
    use std::io::Write;
    // A failure to write to standard error cannot be reported.
    let _ = writeln!(std::io::stderr(), "spillway: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manual_page_has_examples_and_these_have_only_its_options() {
        let directory = tempfile::tempdir().unwrap();
        client::write_manuals(command_line(), directory.path()).unwrap();
        let mut pages = 0;
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let page = std::fs::read_to_string(&path).unwrap();
            for section in [".SH EXAMPLES\n", ".SH EXIT STATUS\n"] {
                assert!(page.contains(section), "{section} is not in {}", path.display());
            }
            let takes_query = ["query", "tail", "stats", "fields", "values"]
                .iter()
                .any(|name| path.ends_with(format!("spillway-{name}.1")));
            assert_eq!(page.contains(".SH QUERY LANGUAGE\n"), takes_query, "{}", path.display());
            // Examples are between these requests, and nothing else is.
            let examples = page.split(".nf\n").skip(1).filter_map(|text| text.split(".fi\n").next());
            let words = examples.flat_map(str::split_whitespace).filter(|word| word.starts_with("\\-\\-"));
            for option in words {
                assert!(page.contains(&format!("\\fB{option}\\fR")), "{option} is not in {}", path.display());
            }
            pages += 1;
        }
        assert!(pages > 20, "{pages}");
    }

    #[test]
    fn the_urls_of_pages_can_be_opened_on_this_machine() {
        for (listens, reached) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn the_urls_of_pages_are_https_where_the_listener_has_tls() {
        let at = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let all = Addresses { gateway: at(1), producer: at(2), consumer: at(3) };
        let producer = Addresses { producer: at(2), ..Addresses::default() };
        let consumer = Addresses { consumer: at(3), ..Addresses::default() };
        let pages = |addresses, variables: &[&str]| {
            let given = variables.iter().map(|name| (format!("SPILLWAY_{name}"), "/certificate.pem".to_owned()));
            pages(addresses, &Settings::load(None, given).unwrap())
        };
        let gateway_pages = |scheme: &str| {
            ["console: _://127.0.0.1:1/console/", "documentation: _://127.0.0.1:1/swagger-ui"]
                .map(|page| page.replace('_', scheme))
                .to_vec()
        };
        let documentation =
            |scheme: &str, port: u16| vec![format!("documentation: {scheme}://127.0.0.1:{port}/swagger-ui")];
        let (of_all, of_gateway) = (&["HTTP__TLS_CERTIFICATE"][..], &["GATEWAY__TLS_CERTIFICATE"][..]);
        let (of_producer, of_consumer) = (&["PRODUCER__TLS_CERTIFICATE"][..], &["CONSUMER__TLS_CERTIFICATE"][..]);
        assert_eq!(pages(all, &[]), gateway_pages("http"));
        assert_eq!(pages(all, of_all), gateway_pages("https"));
        assert_eq!(pages(all, of_gateway), gateway_pages("https"));
        assert_eq!(pages(all, of_producer), gateway_pages("http"), "that of another listener");
        assert_eq!(pages(producer, of_producer), documentation("https", 2));
        assert_eq!(pages(producer, of_gateway), documentation("http", 2));
        assert_eq!(pages(consumer, of_consumer), documentation("https", 3));
        assert_eq!(pages(consumer, of_all), documentation("https", 3));
    }
}
