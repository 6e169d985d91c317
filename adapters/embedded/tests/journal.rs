//! The journal on disk keeps the promises of its port.

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::path::Path;
use std::sync::Arc;

use adapter_embedded::inspection;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use contracts::DEADLINE;
use contracts::journal::{JournalSubject, KeptRefused};
use tempfile::TempDir;

fn open(directory: &Path, bytes_max: u64) -> DiskJournal {
    DiskJournal::open(directory, JournalOptions::new(bytes_max)).expect("the journal opens")
}

struct DiskJournals;

impl JournalSubject for DiskJournals {
    type Place = TempDir;
    type Journal = DiskJournal;

    async fn place(&self) -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    async fn open(&self, place: &TempDir, bytes_max: u64) -> Arc<DiskJournal> {
        Arc::new(open(place.path(), bytes_max))
    }

    async fn close(&self, journal: Arc<DiskJournal>) {
        assert!(journal.close(DEADLINE).await, "the journal ends in order");
    }

    async fn refused(&self, place: &TempDir) -> Vec<KeptRefused> {
        let mut all = Vec::new();
        let damages = inspection::refused(place.path(), |entry| {
            let (reason, value) = (entry.reason.to_owned(), entry.record.value.to_vec());
            all.push(KeptRefused { reason, partition: entry.partition, value });
            Ok(())
        });
        assert_eq!(damages.expect("the disk works"), 0);
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_on_disk_keeps_the_promises_of_its_port() {
    contracts::journal::all(&DiskJournals).await;
}
