//! `instructions NAME` runs a step a few times to warm up, and once to be counted. `instructions` lists the steps, each
//! with the number of its events.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "called by a script")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        micro::steps().iter().for_each(|step| println!("{} {}", step.events, step.name));
        return ExitCode::SUCCESS;
    };
    let Some(mut step) = micro::steps().into_iter().find(|step| step.name == name) else {
        eprintln!("instructions: unknown step '{name}'");
        return ExitCode::from(64);
    };
    for _ in 0..3 {
        (step.run)();
    }
    micro::counted(&mut step.run);
    ExitCode::SUCCESS
}
