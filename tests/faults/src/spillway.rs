//! `spillway`, as started by the harness.

use std::process::ExitCode;

fn main() -> ExitCode {
    bootstrap::main()
}
