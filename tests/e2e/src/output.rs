//! What the programs under test say, kept for a search for secrets (`scripts/check-secrets`).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// The variable that names a directory.
const DIRECTORY: &str = "TEST_OUTPUT_DIR";
/// Most bytes that are kept of one text.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The file with what nobody may say.
pub const SECRETS: &str = "secrets";
/// The file with what programs logged or printed.
pub const LOGS: &str = "logs";
/// The file with what programs answered.
pub const ANSWERS: &str = "answers";

/// Appends a text to a file of the directory that the environment names, if it names one.
pub fn keep(file: &str, text: &[u8]) {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let path = PathBuf::from(directory).join(file);
    let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
    // In one write, since many processes append.
    let line = [text, b"\n"].concat();
    let kept = OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(&line));
    kept.expect("a directory that can be written");
}
