//! `spillway segments`: inspects the sealed segments of the embedded store, for operators.
//!
//! Constraints:
//! * No event is changed, and a running process is not disturbed.
//! * Standard output contains the requested data only: `export` can be piped into `spillway send`, or any program that
//!   reads JSON lines.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use adapter_embedded::segments::{Segment, SegmentError, SegmentSummary, for_each_event, verify};
use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, list_segments};
use anyhow::Context;
use application::codec::write_value;
use bytesize::ByteSize;
use clap::Subcommand;

use crate::backends::STORE_FILE;
use crate::send::grouped;

/// What to do with the sealed segments of the data directory.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Show the number of events, the size and the times of each segment
    List,
    /// Read everything and list segments that are damaged or missing; exits with 1 if there are any
    Verify,
    /// Print the events as JSON, one per line
    ///
    /// By time of receipt of the segments; within a segment nearly in the order of their timestamps. The newest events are not in
    /// segments. What cannot be read is left out; the exit code is then 1.
    Export,
}

/// Runs the command. Returns whether everything is undamaged.
///
/// # Errors
/// Reading from disk or writing to standard output failed.
pub fn run(command: Command, data_dir: &Path) -> anyhow::Result<bool> {
    let store = Store::open(data_dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match command {
        Command::List => list(&store, &mut out).map(|()| true),
        Command::Verify => verify_all(&store, &mut out),
        Command::Export => export(&store, &mut out),
    };
    match done.and_then(|undamaged| out.flush().map(|()| undamaged).map_err(Failure::Output)) {
        Ok(undamaged) => Ok(undamaged),
        // A closed pipe is not an error: the reader has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(Failure::Output(error)) => Err(error).context("cannot write to standard output"),
        Err(Failure::Store(error)) => Err(error),
        Err(Failure::Segment(error)) => Err(error.into()),
    }
}

/// Why a command ends early.
enum Failure {
    Output(io::Error),
    Store(anyhow::Error),
    Segment(SegmentError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<SegmentError> for Failure {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

/// The embedded store of a data directory.
struct Store<'a> {
    data_dir: &'a Path,
    files: Directory,
}

impl<'a> Store<'a> {
    fn open(data_dir: &'a Path) -> anyhow::Result<Self> {
        let directory = data_dir.join(SEGMENTS);
        if !directory.is_dir() {
            let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
            anyhow::bail!(
                "no segments in {}: only the embedded store has some; SPILLWAY_DATA_DIR names another directory",
                data_dir.display()
            );
        }
        let files = Directory::open(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        Ok(Self { data_dir, files })
    }

    fn segments(&self) -> Result<Vec<SegmentSummary>, Failure> {
        let file = self.data_dir.join(STORE_FILE);
        let listed = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| Ok(runtime.block_on(list_segments(&file))?));
        listed
            .with_context(|| format!("cannot read the list of segments in {}", file.display()))
            .map_err(Failure::Store)
    }

    /// Whether a segment was merged or removed after it was listed.
    fn is_gone(&self, summary: &SegmentSummary) -> Result<bool, Failure> {
        Ok(!self.segments()?.contains(summary))
    }
}

fn list(store: &Store<'_>, out: &mut impl Write) -> Result<(), Failure> {
    let segments = store.segments()?;
    for SegmentSummary { name, file_bytes, rows, received, timestamps, .. } in &segments {
        writeln!(
            out,
            "{name}: {} events, {}, received from {} to {}, timestamps from {} to {}",
            grouped(*rows),
            size(*file_bytes),
            received.from,
            received.to,
            timestamps.from,
            timestamps.to
        )?;
    }
    let (events, bytes) =
        segments.iter().fold((0, 0), |sum, segment| (sum.0 + segment.rows, sum.1 + segment.file_bytes));
    writeln!(out, "{} segments, {} events, {}", grouped(segments.len() as u64), grouped(events), size(bytes))?;
    Ok(())
}

fn verify_all(store: &Store<'_>, out: &mut impl Write) -> Result<bool, Failure> {
    let (mut whole, mut damaged) = (0, 0);
    for summary in store.segments()? {
        match verify(&store.files, &summary) {
            Ok(()) => whole += 1,
            Err(_) if store.is_gone(&summary)? => {}
            Err(error) => {
                damaged += 1;
                writeln!(out, "{error}")?;
            }
        }
    }
    writeln!(out, "{} segments are whole, {} are not", grouped(whole), grouped(damaged))?;
    Ok(damaged == 0)
}

fn export(store: &Store<'_>, out: &mut impl Write) -> Result<bool, Failure> {
    let (mut line, mut damaged) = (Vec::new(), 0);
    for summary in store.segments()? {
        let exported = Segment::open(&store.files, &summary).map_err(Failure::from).and_then(|segment| {
            for_each_event(&segment, |_, stored| {
                line.clear();
                write_value(&stored.event, &mut line);
                line.push(b'\n');
                out.write_all(&line).map_err(Failure::from)
            })
        });
        match exported {
            Err(Failure::Segment(_)) if store.is_gone(&summary)? => {
                let changed =
                    anyhow::anyhow!("{} was merged or removed meanwhile: run the command again", summary.name);
                return Err(Failure::Store(changed));
            }
            Err(Failure::Segment(_)) => damaged += 1,
            exported => exported?,
        }
    }
    out.flush()?;
    if damaged > 0 {
        // Not to standard output, which contains events only.
        let segments =
            if damaged == 1 { "1 segment is".to_owned() } else { format!("{} segments are", grouped(damaged)) };
        let damaged = anyhow::anyhow!("{segments} damaged and left out: spillway segments verify lists them");
        return Err(Failure::Store(damaged));
    }
    Ok(true)
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
