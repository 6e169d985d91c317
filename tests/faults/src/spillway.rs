//! `spillway`, as the harness starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bootstrap::main()
}
