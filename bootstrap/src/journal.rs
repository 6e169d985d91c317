//! `spillway journal`: inspects what producers keep on disk, for operators.
//!
//! Constraints:
//! * Nothing is changed, and a running producer is not disturbed.
//! * Standard output contains the requested data only: `export` can be piped into `spillway send`, or any program that
//!   reads JSON lines.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use adapter_embedded::inspection::{self, DamagedPlace, JournalStatus, PartitionStatus, Verification};
use anyhow::Context;
use bytesize::ByteSize;
use clap::Subcommand;
use domain::delivery::Guarantee;
use serde_json::value::RawValue;

use crate::send::grouped;

/// What to do with the journals of the data directory.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Show the content of each journal, and whether a process uses it
    Status,
    /// Read everything and list damaged places; exits with 1 if there are any
    Verify,
    /// Print the events as JSON, one per line
    ///
    /// By journal, partition and order of acceptance. The output may include events that the bus has acknowledged, as
    /// long as others in the same file are not: the store recognises their eventId. Damaged entries are left out; the
    /// exit code is then 1.
    Export {
        /// Print the events that the bus permanently rejected, as {"reason", "partition", "event"}, instead of those
        /// that wait for it
        #[arg(long)]
        refused: bool,
    },
}

/// Runs the command. Returns whether everything is undamaged.
///
/// # Errors
/// Reading from disk or writing to standard output failed.
pub fn run(command: Command, data_dir: &Path) -> anyhow::Result<bool> {
    if !data_dir.join("journal").is_dir() {
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        anyhow::bail!(
            "no journal in {}: only a producer with Kafka has one; SPILLWAY_DATA_DIR names another directory",
            data_dir.display()
        );
    }
    let unreadable = || format!("cannot read the journals in {} (set by SPILLWAY_DATA_DIR)", data_dir.display());
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        Command::Status => {
            let journals = inspection::status(data_dir).with_context(unreadable)?;
            let text = Status { data_dir, journals: &journals }.to_string();
            written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
            Ok(true)
        }
        Command::Verify => {
            let verification = inspection::verify(data_dir).with_context(unreadable)?;
            let text = Verified(&verification).to_string();
            written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
            Ok(verification.damages == 0)
        }
        Command::Export { refused } => {
            let exported = if refused {
                inspection::refused(data_dir, |entry| {
                    let reason = serde_json::to_string(entry.reason)?;
                    write!(out, "{{\"reason\":{reason},\"partition\":{},\"event\":", entry.partition)?;
                    write_event(&mut out, entry.record.value)?;
                    out.write_all(b"}\n")
                })
            } else {
                inspection::entries(data_dir, |_, record| {
                    write_event(&mut out, record.value)?;
                    out.write_all(b"\n")
                })
            };
            let damages = match exported {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
                exported => exported.with_context(unreadable)?,
            };
            written(out.flush())?;
            if damages > 0 {
                // Not to standard output, which contains events only.
                let places =
                    if damages == 1 { "1 place is".to_owned() } else { format!("{} places are", grouped(damages)) };
                anyhow::bail!("{places} damaged and left out: spillway journal verify lists them");
            }
            Ok(true)
        }
    }
}

/// A closed pipe is not an error: the reader has seen enough.
fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes an event as JSON on one line; a value that is not JSON is written as text.
fn write_event(out: &mut impl io::Write, value: &[u8]) -> io::Result<()> {
    let is_line = !value.contains(&b'\n') && serde_json::from_slice::<&RawValue>(value).is_ok();
    if is_line {
        out.write_all(value)
    } else {
        serde_json::to_writer(out, &String::from_utf8_lossy(value)).map_err(Into::into)
    }
}

struct Status<'a> {
    data_dir: &'a Path,
    journals: &'a [JournalStatus],
}

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.journals.is_empty() {
            return writeln!(f, "no journal in {}", self.data_dir.display());
        }
        for journal in self.journals {
            let state = if journal.in_use { "in use" } else { "not in use" };
            let what = if journal.partitions.is_empty() { "nothing waits".to_owned() } else { size(journal.bytes) };
            writeln!(f, "journal {}: {state}, {what}", journal.number)?;
            for partition in &journal.partitions {
                write_partition(f, partition)?;
            }
            if journal.refused > 0 {
                let (events, bytes) = (counted(journal.refused), size(journal.refused_bytes));
                writeln!(f, "  permanently rejected: {events}, {bytes}")?;
            }
        }
        Ok(())
    }
}

fn write_partition(f: &mut fmt::Formatter<'_>, partition: &PartitionStatus) -> fmt::Result {
    let (number, events, bytes) = (partition.partition, partition.records.iter().sum(), size(partition.bytes));
    write!(f, "  partition {number}: {}, {bytes}", counted(events))?;
    if let Some((first, last)) = partition.numbers {
        write!(f, ", numbers {first} to {last}")?;
    }
    if let Some(oldest) = partition.oldest {
        write!(f, ", oldest received at {oldest}")?;
    }
    let mut by_guarantee = String::new();
    for (guarantee, events) in Guarantee::ALL.iter().zip(partition.records).filter(|(_, events)| *events > 0) {
        let separator = if by_guarantee.is_empty() { "" } else { ", " };
        write!(by_guarantee, "{separator}{} {}", grouped(events), guarantee.name())?;
    }
    if by_guarantee.is_empty() { writeln!(f) } else { writeln!(f, " ({by_guarantee})") }
}

struct Verified<'a>(&'a Verification);

impl fmt::Display for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verification { files, entries, bytes, damages, first_damages } = self.0;
        writeln!(f, "{} files, {} entries, {}", grouped(*files), grouped(*entries), size(*bytes))?;
        for DamagedPlace { file, offset, bytes, number, reason } in first_damages {
            let file = file.display();
            writeln!(
                f,
                "damaged: {file} at byte {offset}, {bytes} bytes, expected number {number} or later: {reason}"
            )?;
        }
        match damages.saturating_sub(first_damages.len() as u64) {
            0 if *damages == 0 => writeln!(f, "nothing is damaged"),
            0 => Ok(()),
            more => writeln!(f, "and {} more damaged places", grouped(more)),
        }
    }
}

fn counted(events: u64) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{} events", grouped(events)) }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
