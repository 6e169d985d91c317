//! Reports the space of the disk under the data directory, in health and in the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::disk::Disk;
use application::health::Check;
use bytesize::ByteSize;
use domain::disk::{DiskNotice, DiskSpace, DiskState, DiskWatch};
use tokio::sync::watch;

use crate::settings::BusKind;

/// How often the space is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is refused while disk space is short. With Kafka the disk matters only during an outage of Kafka.
fn consequence(bus: BusKind, state: DiskState) -> &'static str {
    match (bus, state) {
        (_, DiskState::Ample) => "events of all levels are accepted",
        (BusKind::Embedded, DiskState::Reserved) => "only ERROR and FATAL are accepted",
        (BusKind::Embedded, DiskState::Full) => "no events are accepted, the remaining space is for the store",
        (BusKind::Kafka, DiskState::Reserved) => "only ERROR and FATAL are journaled while Kafka is unavailable",
        (BusKind::Kafka, DiskState::Full) => "no events are journaled while Kafka is unavailable",
    }
}

/// Reports that disk space is short, while it is, and the consequences.
pub fn check(bus: BusKind, disk: Arc<Disk>) -> Check {
    Arc::new(move || {
        let space = disk.space();
        let free = ByteSize(space.free_bytes);
        let wrong = |consequence| format!("the disk under DATA_DIR has {free} free: {consequence}; free some space");
        Some(space.state()).filter(|state| *state != DiskState::Ample).map(|state| wrong(consequence(bus, state)))
    })
}

/// Logs when the disk is filling up, and each change of what is accepted, until `stop`.
pub async fn watch(bus: BusKind, disk: Arc<Disk>, directory: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut watch = DiskWatch::default();
    loop {
        let asked = Arc::clone(&disk);
        // A hanging disk must not keep the process from stopping.
        let space = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            space = tokio::task::spawn_blocking(move || asked.refresh()) => space.unwrap_or(DiskSpace::UNKNOWN),
        };
        for notice in watch.observe(space) {
            log(bus, notice, space, &directory);
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

fn log(bus: BusKind, notice: DiskNotice, space: DiskSpace, directory: &std::path::Path) {
    let (directory, free_bytes) = (directory.display(), space.free_bytes);
    match notice {
        DiskNotice::Filling(percent) => {
            tracing::warn!(%directory, percent, free_bytes, "the disk under the data directory is filling up");
        }
        DiskNotice::State(state @ DiskState::Ample) => {
            tracing::info!(%directory, free_bytes, "the disk has space again: {}", consequence(bus, state));
        }
        DiskNotice::State(state @ DiskState::Reserved) => {
            tracing::warn!(%directory, free_bytes, "the disk is nearly full: {}", consequence(bus, state));
        }
        DiskNotice::State(state @ DiskState::Full) => {
            tracing::error!(%directory, free_bytes, "the disk is full: {}", consequence(bus, state));
        }
    }
}
