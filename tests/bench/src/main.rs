//! `bench`: measures scenarios and writes the pages. See `scripts/bench`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bench::report::{self, Rounds};
use bench::scenarios::{DRILL_PAGE, PAGE, PEERS_PAGE, SEARCH_PAGE, SOAK_PAGE, Scenario, all, number};
use bench::test_cluster::TestCluster;

/// Directory of the plots, beside the pages.
const PICTURES: &str = "docs/benchmarks";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let (rounds_max, seconds) = (number("BENCH_ROUNDS", 3), number("BENCH_SECONDS", 10));
    let scenarios = all();
    if names.iter().any(|name| name == "--list") {
        for scenario in &scenarios {
            println!("{:16} {}", scenario.name, scenario.title);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = names.iter().find(|name| scenarios.iter().all(|scenario| scenario.name != **name)) {
        eprintln!("bench: unknown scenario '{unknown}': see bench --list");
        return ExitCode::from(64);
    }
    if names.is_empty() {
        let usual = scenarios.iter().filter(|scenario| scenario.page == PAGE);
        names = usual.map(|scenario| scenario.name.to_owned()).collect();
    }
    let mut test_cluster = TestCluster::new(Duration::from_secs(seconds));
    let began = report::now();
    let mut measured = Vec::new();
    for scenario in scenarios.iter().filter(|scenario| names.iter().any(|name| name == scenario.name)) {
        // Beside scenarios that do not need the servers, they would only take memory and time.
        if scenario.needs_servers {
            test_cluster.start_servers().await;
        }
        let mut rounds = Rounds::default();
        for _ in 0..rounds_max.min(scenario.rounds_max as u64) {
            rounds.add((scenario.run)(&test_cluster).await);
        }
        println!("{}", section(scenario, &rounds));
        measured.push((scenario, rounds));
    }
    for (page, title, command) in [
        (PAGE, "Benchmarks", "scripts/bench"),
        (SEARCH_PAGE, "Search latency", "scripts/verify search"),
        (PEERS_PAGE, "Spillway beside other programs", "scripts/bench peers peers-loss"),
        (SOAK_PAGE, "Half an hour", "scripts/bench soak"),
        (DRILL_PAGE, "Lag drill", "scripts/bench lag-drill"),
    ] {
        let of_page: Vec<_> = measured.iter().filter(|(scenario, _)| scenario.page == page).collect();
        if of_page.is_empty() || of_page.len() < scenarios.iter().filter(|scenario| scenario.page == page).count() {
            continue;
        }
        let others = if page == PEERS_PAGE { test_cluster.peer_versions() } else { Vec::new() };
        let mut text = report::heading(title, &began, command, &others);
        let targets: Option<&[report::Target]> = match page {
            PAGE => Some(&report::TARGETS),
            PEERS_PAGE => Some(&report::PEER_TARGETS),
            _ => None,
        };
        if let Some(targets) = targets {
            let find =
                |name: &str| of_page.iter().find(|(scenario, _)| scenario.name == name).map(|(_, rounds)| rounds);
            text.push_str(&format!("\n{}\n{}", report::method(rounds_max, seconds), report::targets(targets, find)));
        }
        for (scenario, rounds) in of_page {
            text.push_str(&format!("\n{}", section(scenario, rounds)));
            if let Some(picture) = &scenario.picture {
                let file = format!("{PICTURES}/{}.svg", scenario.name);
                if let Err(error) = std::fs::create_dir_all(PICTURES) {
                    return cannot_write(&file, &error);
                }
                rounds.draw(Path::new(&file), scenario.title, picture);
                text.push_str(&format!("\n![{}](benchmarks/{}.svg)\n", scenario.title, scenario.name));
            }
        }
        if let Err(error) = std::fs::write(page, text) {
            return cannot_write(page, &error);
        }
    }
    ExitCode::SUCCESS
}

fn section(scenario: &Scenario, rounds: &Rounds) -> String {
    format!("## {}\n\n{}\n\n{}", scenario.title, scenario.method, rounds.markdown())
}

fn cannot_write(file: &str, error: &io::Error) -> ExitCode {
    eprintln!("bench: cannot write {file}: {error}");
    ExitCode::FAILURE
}
