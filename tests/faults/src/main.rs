//! `faults`: runs scenarios and prints their table. See `scripts/faults`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use faults::amounts::Amounts;
use faults::report::{COLUMNS, table};
use faults::scenarios::{Scenario, all, named};
use faults::test_cluster::TestCluster;
use tokio::signal::unix::{SignalKind, signal};

/// Name of the program, in the same directory as this one.
const PROGRAM: &str = "spillway-in-faults";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        let scenarios = all().into_iter().map(|scenario| vec![scenario.name.to_owned(), scenario.fault.to_owned()]);
        print!("{}", table(&["name", "fault"], &scenarios.collect::<Vec<_>>()));
        return ExitCode::SUCCESS;
    }
    let timelines = arguments.iter().any(|argument| argument == "--timeline");
    let names: Vec<&String> = arguments.iter().filter(|argument| *argument != "--timeline").collect();
    let mut scenarios = Vec::new();
    for name in &names {
        let Some(scenario) = named(name) else {
            eprintln!("faults: unknown scenario '{name}': see faults --list");
            return ExitCode::from(64);
        };
        scenarios.push(scenario);
    }
    if names.is_empty() {
        scenarios = all();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        // Servers and processes end with it in any case.
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                code = run(scenarios, timelines) => code,
                () = asked_to_stop() => ExitCode::FAILURE,
            }
        }),
        Err(error) => {
            eprintln!("faults: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => std::future::pending().await,
    }
}

async fn run(scenarios: Vec<Scenario>, timelines: bool) -> ExitCode {
    let program = std::env::current_exe().map(|harness| harness.with_file_name(PROGRAM)).unwrap_or_default();
    let Some(test_cluster) = TestCluster::prepare(&program.to_string_lossy(), Amounts::of_environment()).await else {
        eprintln!("faults: the servers cannot be started");
        return ExitCode::FAILURE;
    };
    let test_cluster = Arc::new(test_cluster);
    let (mut rows, mut broken) = (Vec::new(), 0);
    for scenario in scenarios {
        eprintln!("==== {}", scenario.name);
        let began = Instant::now();
        let report = scenario.run(&test_cluster).await;
        println!("{:<8} {} ({:.0} s)", report.verdict(), scenario.name, began.elapsed().as_secs_f64());
        for line in report.details() {
            println!("         {line}");
        }
        if timelines {
            for line in &report.timeline {
                println!("         {line}");
            }
        }
        broken += usize::from(!report.broken.is_empty());
        let mut row = report.cells(scenario.fault);
        row.push(report.verdict().to_owned());
        rows.push(row);
    }
    let heads: Vec<&str> = COLUMNS.into_iter().chain(["verdict"]).collect();
    println!("\n{}", table(&heads, &rows));
    println!("{} scenarios, {broken} broke a promise", rows.len());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
