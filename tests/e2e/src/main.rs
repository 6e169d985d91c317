//! `spillway`, as started by tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    bootstrap::main()
}
