//! `spillway completions`: a document about the command line itself.

use clap_complete::Shell;

/// The completions of a shell for this command line.
#[must_use]
pub fn completions(shell: Shell, mut command_line: clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_line, "spillway", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
