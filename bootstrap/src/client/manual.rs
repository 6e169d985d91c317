//! The manual pages: what clap knows about a command, and examples, exit codes, variables and files.
//!
//! A page is in the language of `man` (roff). Texts that are shown as they are typed keep their hyphens and quotes, so that
//! they can be copied.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::topics::{environment, examples, exit_codes, files, query_language};

/// The manual page of this command line.
///
/// # Errors
/// Never in practice: it is written into memory.
pub fn manual(command_line: Command) -> io::Result<String> {
    page(command_line)
}

/// Writes the manual pages of this command line and of all commands into a directory, which is created if necessary.
///
/// # Errors
/// A page cannot be written.
pub fn write_manuals(command_line: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command_line = command_line.disable_help_subcommand(true);
    command_line.build();
    write_pages(&command_line, directory)
}

fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(command, directory)?;
    }
    let file = Man::new(command.clone()).get_filename();
    std::fs::write(directory.join(file), page(command.clone())?)
}

fn page(mut command: Command) -> io::Result<String> {
    command.build();
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let (man, mut page) = (Man::new(command.clone()), Vec::new());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8_lossy(&page).into_owned();
    push_notes(&mut page, &command);
    push_list(&mut page, "QUERY LANGUAGE", query_language(&name));
    push_examples(&mut page, examples(&name));
    push_list(&mut page, "EXIT STATUS", exit_codes(&name));
    push_list(&mut page, "ENVIRONMENT", environment(&name));
    push_list(&mut page, "FILES", files(&name));
    if name != "spillway" {
        page.push_str(".SH SEE ALSO\n\\fBspillway\\fR(1)\n");
    }
    Ok(page)
}

/// The text after the help, without its examples and exit codes, which have sections of their own.
fn push_notes(page: &mut String, command: &Command) {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.starts_with("Examples:"));
    let notes = paragraphs.filter_map(|paragraph| paragraph.split("Exit codes:").next()).map(str::trim);
    for (index, note) in notes.filter(|note| !note.is_empty()).enumerate() {
        page.push_str(if index == 0 { ".SH NOTES\n" } else { ".PP\n" });
        note.lines().for_each(|line| push_line(page, line));
    }
}

fn push_examples(page: &mut String, examples: &[(&str, &str)]) {
    for (index, (purpose, command)) in examples.iter().enumerate() {
        page.push_str(if index == 0 { ".SH EXAMPLES\n" } else { ".PP\n" });
        push_line(page, &format!("{purpose}:"));
        page.push_str(".PP\n.RS 4\n.nf\n");
        command.lines().for_each(|line| push_line(page, line));
        page.push_str(".fi\n.RE\n");
    }
}

fn push_list(page: &mut String, heading: &str, entries: &[(&str, &str)]) {
    if !entries.is_empty() {
        page.push_str(&format!(".SH {heading}\n"));
    }
    for (term, meaning) in entries {
        page.push_str(".TP\n");
        push_line(page, term);
        push_line(page, meaning);
    }
}

/// A line of text as it is: roff would take some of its characters for requests or typography.
fn push_line(page: &mut String, text: &str) {
    if text.starts_with('.') {
        page.push_str("\\&");
    }
    for char in text.chars() {
        match char {
            '\\' => page.push_str("\\e"),
            '-' => page.push_str("\\-"),
            '\'' => page.push_str("\\(aq"),
            '`' => page.push_str("\\(ga"),
            '^' => page.push_str("\\(ha"),
            '~' => page.push_str("\\(ti"),
            other => page.push(other),
        }
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_as_they_are_typed() {
        let mut page = String::new();
        push_line(&mut page, r".a -l 'x\y' `~^");
        assert_eq!(page, "\\&.a \\-l \\(aqx\\ey\\(aq \\(ga\\(ti\\(ha\n");
    }
}
