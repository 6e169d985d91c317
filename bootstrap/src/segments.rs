//! `spillway segments`: inspects the sealed segments of the embedded store, and gives up lost ones, for operators.
//!
//! Constraints:
//! * A running process is not disturbed. Only `forget` changes the store: it gives up a segment that cannot be read.
//! * Standard output contains the requested data only: `export` can be piped into `spillway send`, or any program that
//!   reads JSON lines.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use adapter_embedded::segments::{Segment, SegmentError, SegmentSummary, for_each_event, verify};
use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, forget_segment, list_segments};
use anyhow::Context;
use application::codec::write_value;
use bytesize::ByteSize;
use clap::{Subcommand, ValueHint};
use domain::ports::StoreError;

use crate::backends::STORE_FILE;
use crate::send::grouped;

/// What to do with the sealed segments of the data directory.
#[derive(Clone, Debug, Subcommand)]
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
    /// Give up a segment whose file is lost, so that queries answer again without its events
    ///
    /// Its events cannot be found again, even if the file reappears: first look for a copy, and export what can be read.
    /// A segment that can be read is not given up. A running process answers without the segment from its next query on.
    Forget {
        /// Name of its file, as the other commands print it
        #[arg(value_name = "NAME", value_hint = ValueHint::Other)]
        name: String,
        /// Give it up; without this option, the command says what would be given up, and exits with 1
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the command. Returns whether everything is undamaged.
///
/// # Errors
/// Reading from disk or writing to standard output failed; or a segment is not given up.
pub fn run(command: &Command, data_dir: &Path) -> anyhow::Result<bool> {
    let store = Store::open(data_dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match command {
        Command::List => list(&store, &mut out).map(|()| true),
        Command::Verify => verify_all(&store, &mut out),
        Command::Export => export(&store, &mut out),
        Command::Forget { name, yes } => forget(&store, name, *yes, &mut out).map(|()| true),
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
        wait_for(list_segments(&file))
            .with_context(|| format!("cannot read the list of segments in {}", file.display()))
            .map_err(Failure::Store)
    }

    /// Gives up a segment. Returns how many events it has; `None` if it is not listed.
    fn forget(&self, name: &str) -> Result<Option<u64>, Failure> {
        let file = self.data_dir.join(STORE_FILE);
        wait_for(forget_segment(&file, name))
            .with_context(|| format!("cannot change the list of segments in {}", file.display()))
            .map_err(Failure::Store)
    }

    /// Whether a segment was merged or removed after it was listed.
    fn is_gone(&self, summary: &SegmentSummary) -> Result<bool, Failure> {
        Ok(!self.segments()?.contains(summary))
    }
}

/// Waits for an answer of the store.
fn wait_for<T>(answer: impl Future<Output = Result<T, StoreError>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(answer)?)
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

fn forget(store: &Store<'_>, name: &str, is_confirmed: bool, out: &mut impl Write) -> Result<(), Failure> {
    let refused = |why: String| Failure::Store(anyhow::anyhow!(why));
    let unknown =
        || refused(format!("{name} is not a segment of this store: spillway segments list shows their names"));
    let summary = store.segments()?.into_iter().find(|summary| summary.name == name).ok_or_else(unknown)?;
    let Err(fault) = verify(&store.files, &summary) else {
        return Err(refused(format!("{name} can be read, and is not given up")));
    };
    let events =
        format!("{} events, received from {} to {}", grouped(summary.rows), summary.received.from, summary.received.to);
    if !is_confirmed {
        return Err(refused(format!("{fault}; to give up its {events}, add --yes")));
    }
    store.forget(name)?.ok_or_else(unknown)?;
    writeln!(out, "{name} is given up: {events}")?;
    Ok(())
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use adapter_embedded::store::{SealOptions, SqliteStore, StoreOptions};
    use domain::Uuid;
    use domain::event::{IdOrigin, LogEvent};
    use domain::level::Level;
    use domain::ports::{Append, GroupPartition, LogStore};
    use domain::timestamp::Timestamp;

    use super::*;

    /// Leaves a data directory with one segment, of four events.
    async fn leave_a_segment(data_dir: &Path) {
        let options = StoreOptions { dedup_window: Duration::from_secs(3_600), query_timeout: Duration::from_secs(60) };
        let seal = SealOptions { hot_events: 0, events_min: 1, ..SealOptions::default() };
        let segments = Arc::new(Directory::open(&data_dir.join(SEGMENTS)).unwrap());
        let store = SqliteStore::over(&data_dir.join(STORE_FILE), options, seal, segments).await.unwrap();
        let time = Timestamp::from_unix_micros(1_705_314_600_000_000).unwrap();
        let event = |n: u64| LogEvent {
            event_id: Uuid::from_u128(u128::from(n) + 1),
            id_origin: IdOrigin::Client,
            source: "shop".into(),
            level: Level::Info,
            message: "order placed".into(),
            timestamp: time,
            received_at: time,
            stack_trace: None,
            trace_id: None,
            span_id: None,
            metadata: None,
        };
        let events: Vec<_> = (0..4).map(|n| (n, event(n))).collect();
        let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 0 };
        let append =
            Append { group_partition: &group_partition, expected: None, next: 4, events: &events, dead_letters: &[] };
        store.append(&append).await.unwrap();
        while store.seal().await.unwrap() {}
        store.close().await;
    }

    #[test]
    fn a_segment_is_given_up_only_if_it_is_lost_and_with_a_confirmation() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(leave_a_segment(directory.path()));
        let store = Store::open(directory.path()).unwrap();
        let names = || store.segments().ok().unwrap().into_iter().map(|summary| summary.name).collect::<Vec<_>>();
        let [name]: [String; 1] = names().try_into().unwrap();
        let give_up = |name: &str, is_confirmed| {
            let mut out = Vec::new();
            let done = forget(&store, name, is_confirmed, &mut out);
            let printed = String::from_utf8(out).unwrap();
            match done {
                Ok(()) => Ok(printed),
                Err(Failure::Store(error)) => Err(format!("{error:#}")),
                Err(_) => panic!("neither the output nor a segment fails"),
            }
        };
        let refused = give_up(&name, true).unwrap_err();
        assert!(refused.contains("can be read"), "{refused}");
        std::fs::remove_file(directory.path().join(SEGMENTS).join(&name)).unwrap();
        let refused = give_up(&name, false).unwrap_err();
        assert!(refused.contains("its 4 events, received from 2024-01-15T10:30:00Z") && refused.ends_with("add --yes"));
        assert!(give_up("000000000099.parquet", true).unwrap_err().contains("is not a segment"));
        assert_eq!(names(), std::slice::from_ref(&name));
        let given_up = give_up(&name, true).unwrap();
        assert!(given_up.starts_with(&format!("{name} is given up: 4 events, ")), "{given_up}");
        assert_eq!(names(), [""; 0]);
    }
}
