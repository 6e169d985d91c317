//! Reading files at the start that someone may be writing at that moment.
//!
//! Invariant: a part of a file is not used. It may be valid and give more rights, or lack some of its certificates. So what was
//! read counts only if the files were the same before and after it: half a second apart, unless they are older than that.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::bail;
use tokio::time::sleep;

/// How long files must have been the same.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often they are read before the process gives up: for ten seconds.
const ATTEMPTS_MAX: u32 = 20;

/// What tells a file from the same one after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of a file; `None` if it cannot be looked at, such as because it does not exist.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), modified: metadata.modified().ok() })
    }

    fn is_old(&self) -> bool {
        self.modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age >= INTERVAL)
    }
}

/// What `open` reads from these files, once they are not being written. Waits only if one was changed just now.
///
/// # Errors
/// Those of `open`; or the files do not stop changing.
pub async fn open_settled<T>(files: &[PathBuf], open: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let stamps = || files.iter().map(|path| Stamp::of(path)).collect::<Vec<_>>();
    for _ in 0..ATTEMPTS_MAX {
        let before = stamps();
        let opened = open();
        if !before.iter().flatten().all(Stamp::is_old) {
            sleep(INTERVAL).await;
        }
        if stamps() == before {
            return opened;
        }
    }
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    bail!("a file changes all the time: start again once it is written. It is one of {}", files.join(", "))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, OpenOptions};
    use std::slice::from_ref;

    use tokio::time::Instant;

    use super::*;

    const LONG_AGO: Duration = Duration::from_secs(1_700_000_000);
    /// Never old, however slow the machine is.
    const TO_COME: Duration = Duration::from_secs(4_000_000_000);

    /// Writes a file as at a time since the Unix epoch.
    fn write_at(path: &Path, text: &str, time: Duration) {
        fs::write(path, text).expect("written");
        let file = OpenOptions::new().write(true).open(path).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH + time).expect("changed");
    }

    /// A file with this text that was written long ago.
    fn old_file(directory: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = directory.path().join("file");
        write_at(&path, text, LONG_AGO);
        path
    }

    #[tokio::test(start_paused = true)]
    async fn old_files_are_read_once_and_new_ones_are_read_when_they_were_the_same_for_a_while() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = old_file(&directory, "old");
        let files = [path.clone(), directory.path().join("missing")];
        let (began, reads) = (Instant::now(), Cell::new(0));
        let read = || -> anyhow::Result<String> {
            reads.set(reads.get() + 1);
            Ok(fs::read_to_string(&path)?)
        };
        assert_eq!(open_settled(&files, read).await.expect("readable"), "old");
        assert_eq!((reads.get(), began.elapsed()), (1, Duration::ZERO));
        write_at(&path, "new", TO_COME);
        assert_eq!(open_settled(&files, read).await.expect("readable"), "new");
        assert_eq!((reads.get(), began.elapsed()), (2, INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_file_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = old_file(&directory, "part");
        let is_first = Cell::new(true);
        let read = || -> anyhow::Result<String> {
            let text = fs::read_to_string(&path)?;
            // The writer goes on behind the reader.
            if is_first.replace(false) {
                fs::write(&path, "part and rest")?;
            }
            Ok(text)
        };
        assert_eq!(open_settled(from_ref(&path), read).await.expect("readable"), "part and rest");
        // What cannot be used is not reported before the file is whole.
        let is_first = Cell::new(true);
        let fails_once = || -> anyhow::Result<()> {
            if is_first.replace(false) {
                fs::write(&path, "")?;
                bail!("a part");
            }
            Ok(())
        };
        assert!(open_settled(from_ref(&path), fails_once).await.is_ok());
        assert!(open_settled(from_ref(&path), || -> anyhow::Result<()> { bail!("wrong") }).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_does_not_stop_changing_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = old_file(&directory, "");
        let grow = || -> anyhow::Result<()> {
            let text = fs::read_to_string(&path)?;
            fs::write(&path, format!("{text}x"))?;
            Ok(())
        };
        let error = open_settled(from_ref(&path), grow).await.expect_err("it grows").to_string();
        assert!(error.contains("start again") && error.contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(&path).expect("read").len(), 20);
    }
}
