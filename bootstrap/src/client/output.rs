//! Where the data goes: standard output, or a pager on a terminal.
//!
//! * Standard output contains the data only. Notes go to standard error; those that are made while a pager has the
//!   terminal are printed after it.
//! * A reader that closes standard output ends the command with success.

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
        let mut pager = (terminal && pages && !connection.no_pager).then(start_pager).flatten();
        let writer: Box<dyn Write + Send> = match pager.as_mut().and_then(|pager| pager.stdin.take()) {
            Some(stdin) => Box::new(BufWriter::with_capacity(BUFFER_BYTES, stdin)),
            None => Box::new(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())),
        };
        let quiet = connection.quiet;
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
    /// See [`Output::write`].
    pub fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        self.close();
        self.held_notes.drain(..).for_each(|note| print_note(&note));
        flushed
    }

    fn close(&mut self) {
        // The pager sees the end of its input.
        self.writer = None;
        if let Some(mut pager) = self.pager.take() {
            // Its exit code says nothing about the data.
            let _ = pager.wait();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.close();
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

/// The pager of the user, or `less`; `None` without one.
fn start_pager() -> Option<Child> {
    let mut command = match std::env::var("PAGER") {
        Ok(pager) if pager.trim().is_empty() || pager.trim() == "cat" => return None,
        Ok(pager) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(pager);
            command
        }
        Err(_) => {
            let mut command = Command::new("less");
            command.arg("-FRX");
            command
        }
    };
    command.stdin(Stdio::piped()).spawn().ok()
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
