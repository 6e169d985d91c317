//! Where the data goes: standard output, or a pager on a terminal.
//!
//! * Standard output contains the data only. Notes go to standard error; those that are made while a pager has the
//!   terminal are printed after it.
//! * A reader that closes standard output ends the command with success. A pager that cannot be run does not: the output goes
//!   to the terminal without it or, if a shell runs it, the command fails.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

use super::connection::Connection;
use super::failure::Failure;

const BUFFER_BYTES: usize = 64 * 1024;

/// Standard output or a pager.
pub struct Output {
    /// `None` once it is closed.
    writer: Option<Box<dyn Write + Send>>,
    pager: Option<Child>,
    terminal: bool,
    quiet: bool,
    has_data: bool,
    /// Whether notes wait until the output is finished: a pager has the terminal.
    holds_notes: bool,
    held_notes: Vec<String>,
}

impl Output {
    /// Opens the output; on a terminal it is paged if the command `pages`.
    #[must_use]
    pub fn open(connection: &Connection, pages: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let variable = std::env::var("PAGER").ok();
        let pager = if terminal && pages && !connection.no_pager { pager(variable.as_deref()) } else { None };
        let (pager, unusable) = match pager.map(|mut pager| pager.stdin(Stdio::piped()).spawn()).transpose() {
            Ok(pager) => (pager, None),
            Err(error) => (None, Some(error)),
        };
        let mut output = Self::through(pager, terminal, connection.quiet);
        // Without the variable, less is used where there is one.
        if let Some(error) = unusable.filter(|_| variable.is_some()) {
            output.note(format!("-- without the pager of PAGER, which cannot be run: {error}"));
        }
        output
    }

    /// Standard output, or this pager.
    fn through(mut pager: Option<Child>, terminal: bool, quiet: bool) -> Self {
        let writer: Box<dyn Write + Send> = match pager.as_mut().and_then(|pager| pager.stdin.take()) {
            Some(stdin) => Box::new(BufWriter::with_capacity(BUFFER_BYTES, stdin)),
            None => Box::new(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())),
        };
        let holds_notes = pager.is_some();
        Self { writer: Some(writer), pager, terminal, quiet, has_data: false, holds_notes, held_notes: Vec::new() }
    }

    /// An output into memory, which holds its notes.
    #[cfg(test)]
    pub fn in_memory() -> (Self, Written) {
        let written = Written::default();
        let writer: Box<dyn Write + Send> = Box::new(written.clone());
        let output = Self {
            writer: Some(writer),
            pager: None,
            terminal: false,
            quiet: false,
            has_data: false,
            holds_notes: true,
            held_notes: Vec::new(),
        };
        (output, written)
    }

    /// The notes that are held.
    #[cfg(test)]
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.held_notes)
    }

    /// Whether a pager has the terminal.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        self.pager.is_some()
    }

    /// Whether standard output is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether anything was written.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.has_data
    }

    /// Writes data, possibly not at once.
    ///
    /// # Errors
    /// The reader has closed standard output, or it cannot be written.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.has_data |= !data.is_empty();
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write_all(data)).map_err(|error| unwritable(&error))
    }

    /// Writes what is held in memory.
    ///
    /// # Errors
    /// See [`Output::write`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush()).map_err(|error| unwritable(&error))
    }

    /// Tells the user about the data, unless the command is to be quiet.
    pub fn note(&mut self, note: String) {
        if self.quiet {
            return;
        }
        if self.holds_notes { self.held_notes.push(note) } else { print_note(&note) }
    }

    /// Writes everything, waits for the pager, and prints the notes that were held.
    ///
    /// # Errors
    /// See [`Output::write`]; or the pager cannot be run.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        let paged = self.close();
        self.held_notes.drain(..).for_each(|note| print_note(&note));
        paged.and(flushed)
    }

    fn close(&mut self) -> Result<(), Failure> {
        // The pager sees the end of its input.
        self.writer = None;
        let Some(mut pager) = self.pager.take() else { return Ok(()) };
        match pager.wait().ok().and_then(|status| status.code()) {
            // What a shell says of a command that it cannot run or find.
            Some(126 | 127) => Err(Failure::Other("the pager of PAGER cannot be run: add --no-pager".to_owned())),
            // Its other exit codes say nothing about the data.
            _ => Ok(()),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The command has ended in another way.
        let _ = self.close();
    }
}

fn print_note(note: &str) {
    // A failure to write to standard error cannot be reported.
    let _ = writeln!(io::stderr(), "{note}");
}

fn unwritable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Other(format!("cannot write to standard output: {error}")),
    }
}

/// The command of the pager that the variable names, or `less`; `None` if the variable says that there is none. Words alone are
/// not left to a shell, which would begin even if it cannot find the pager.
fn pager(variable: Option<&str>) -> Option<Command> {
    let text = variable.map_or("less -FRX", str::trim);
    if text == "cat" {
        return None;
    }
    let is_plain = |char: char| char.is_ascii_alphanumeric() || " ./_+-".contains(char);
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let mut command = Command::new(if text.chars().all(is_plain) { first } else { "sh" });
    if text.chars().all(is_plain) {
        command.args(words)
    } else {
        command.args(["-c", text])
    };
    Some(command)
}

/// What was written into memory.
#[cfg(test)]
#[derive(Clone, Default)]
pub struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Written {
    /// It as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(variable: Option<&str>) -> Option<Vec<String>> {
        let command = pager(variable)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Some(words.map(|word| word.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn only_a_pager_that_needs_a_shell_is_left_to_one() {
        for (variable, expected) in [
            (None, Some(vec!["less", "-FRX"])),
            (Some(" most -s "), Some(vec!["most", "-s"])),
            (Some("LESS= less -R"), Some(vec!["sh", "-c", "LESS= less -R"])),
            (Some("cat"), None),
            (Some(" "), None),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<String>>());
            assert_eq!(words(variable), expected, "{variable:?}");
        }
        let mut missing = pager(Some("spillway-has-no-such-pager -R")).unwrap();
        assert!(missing.stdin(Stdio::piped()).spawn().is_err());
    }

    #[test]
    fn a_pager_that_a_shell_cannot_run_is_a_failure_and_another_exit_code_is_not() {
        for (code, is_failure) in [("127", true), ("126", true), ("1", false)] {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("cat > /dev/null; exit {code}")]).stdin(Stdio::piped());
            let mut output = Output::through(Some(command.spawn().unwrap()), true, true);
            output.write(b"data\n").unwrap();
            assert_eq!(output.finish().is_err_and(|failure| failure.exit_code() == 1), is_failure, "{code}");
        }
    }
}
