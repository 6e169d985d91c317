//! Reading of one partition: chunk by chunk from the bus, until it is revoked or its source ends, or until reading on would
//! lose records.

use domain::alert::{Alert, AlertState};
use domain::backoff::Backoff;
use domain::partition::Partition;
use domain::ports::{GroupPartition, SourceError};
use tokio::sync::watch;

use super::store_chunk::Halt;
use super::{FIRST_WAIT, LONGEST_WAIT, Persist};
use crate::cause::Chain;

impl Persist {
    /// Reads a partition from `position` on, and stores what it reads, until `stop` or until its source is closed.
    pub(super) async fn read_partition(
        &self,
        partition: Partition,
        position: Option<u64>,
        stop: watch::Receiver<bool>,
    ) {
        let group_partition = self.group_partition(partition);
        let mut expected = position;
        let mut ended = stop.clone();
        let mut waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let chunk = tokio::select! {
                _ = ended.wait_for(|stop| *stop) => return,
                chunk = self.source.chunk(partition) => chunk,
            };
            let chunk = match chunk {
                Ok(chunk) => {
                    waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
                    chunk
                }
                Err(SourceError::Closed) => return,
                Err(error @ SourceError::OutOfRange { .. }) => {
                    // Continuing would silently skip events: the operator has to decide.
                    tracing::error!(
                        partition,
                        error = %error,
                        "the position in the store is not on the bus, reading of the partition stops: see the runbook partition_stopped"
                    );
                    return self.tell_of_stop(&group_partition, &error.to_string());
                }
                Err(error @ SourceError::Unavailable(_)) => {
                    tracing::warn!(partition, error = %Chain(&error), "cannot read from the bus, retrying");
                    let wait = waits.next().unwrap_or(LONGEST_WAIT);
                    tokio::select! {
                        _ = ended.wait_for(|stop| *stop) => return,
                        () = tokio::time::sleep(wait) => continue,
                    }
                }
            };
            let stored = self.store_chunk(&group_partition, &mut expected, &chunk, &stop).await;
            match stored {
                Ok(()) => self.source.stored(partition, chunk.next),
                Err(Halt::Moved(actual)) => {
                    match actual {
                        Some(actual) => tracing::warn!(
                            partition,
                            ?expected,
                            actual,
                            "another consumer moved the position of this partition, continuing there"
                        ),
                        None => tracing::warn!(
                            partition,
                            ?expected,
                            "the position of this partition was removed from the store, continuing at the earliest record"
                        ),
                    }
                    expected = actual;
                    self.source.seek(partition, actual);
                }
                Err(Halt::Refused(cause)) => {
                    // Without the dead letter, the record would be lost silently.
                    tracing::error!(
                        partition,
                        cause,
                        "the store refuses a dead letter, reading of the partition stops: fix the store, then restart the consumer"
                    );
                    return self.tell_of_stop(&group_partition, &format!("the store refuses a dead letter: {cause}"));
                }
                Err(Halt::Stopped) => return,
            }
        }
    }

    fn tell_of_stop(&self, group_partition: &GroupPartition, reason: &str) {
        if let Some(alerts) = &self.alerts {
            let GroupPartition { topic, partition, .. } = group_partition;
            alerts.tell(Alert::partition_stopped(AlertState::Firing, topic, *partition, reason));
        }
    }
}
