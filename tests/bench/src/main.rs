//! `bench`: measures scenarios and writes the report. See `scripts/bench`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a terminal")]

use std::process::ExitCode;
use std::time::Duration;

use bench::ground::Ground;
use bench::report::{self, Rounds};
use bench::scenarios::all;

/// Where the report is, from the root of the repository.
const PAGE: &str = "docs/benchmarks.md";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (rounds_max, seconds) = (number("BENCH_ROUNDS", 3), number("BENCH_SECONDS", 10));
    let scenarios = all();
    if names.iter().any(|name| name == "--list") {
        for scenario in &scenarios {
            println!("{:12} {}", scenario.name, scenario.title);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = names.iter().find(|name| scenarios.iter().all(|scenario| scenario.name != **name)) {
        eprintln!("bench: there is no scenario '{unknown}': bench --list");
        return ExitCode::from(64);
    }
    if names.is_empty() {
        names = scenarios.iter().map(|scenario| scenario.name.to_owned()).collect();
    }
    let whole = names.len() == scenarios.len();
    let ground = Ground::prepare(Duration::from_secs(seconds)).await;
    let began = report::now();
    let mut measured = Vec::new();
    for scenario in scenarios.iter().filter(|scenario| names.iter().any(|name| name == scenario.name)) {
        let mut rounds = Rounds::default();
        for _ in 0..rounds_max.min(scenario.rounds_max as u64) {
            rounds.add((scenario.run)(&ground).await);
        }
        let section = format!("## {}\n\n{}\n\n{}", scenario.title, scenario.method, rounds.markdown());
        println!("{section}");
        measured.push((scenario, rounds, section));
    }
    if whole {
        let find =
            |name: &str| measured.iter().find(|(scenario, ..)| scenario.name == name).map(|(_, rounds, _)| rounds);
        let targets = report::targets(find);
        let sections: Vec<&str> = measured.iter().map(|(.., section)| section.as_str()).collect();
        let page = format!("{}\n{targets}\n{}", report::heading(&began, rounds_max, seconds), sections.join("\n"));
        if let Err(error) = std::fs::write(PAGE, page) {
            eprintln!("bench: cannot write {PAGE}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
