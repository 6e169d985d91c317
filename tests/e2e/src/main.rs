//! `spillway`, as tests start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bootstrap::main()
}
