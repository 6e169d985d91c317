//! `spillway completions` and `spillway man`: documents about the command line itself.

use std::path::Path;

use clap_complete::Shell;

/// The completions of a shell for this command line.
#[must_use]
pub fn completions(shell: Shell, mut command_line: clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_line, "spillway", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of this command line.
///
/// # Errors
/// Never in practice: it is written into memory.
pub fn manual(command_line: clap::Command) -> std::io::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command_line).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Writes the manual pages of this command line and of all commands into a directory, which is created if necessary.
///
/// # Errors
/// A page cannot be written.
pub fn write_manuals(command_line: clap::Command, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command_line, directory)
}
