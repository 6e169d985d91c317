//! The threads of the publisher: one receives reports and replaces the client, the other monitors the topic.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domain::backoff::Backoff;
use domain::ports::BusState;
use rdkafka::producer::{Producer, PurgeConfig};
use tokio::sync::oneshot;

use super::client_queue::DeliveryContext;
use super::shared::{Client, Shared};
use super::silence::Silence;
use crate::client::REPORTS_POLL;
use crate::lock::lock;

/// Maximum wait for the last reports of a client that is being replaced.
const LAST_REPORTS: Duration = Duration::from_secs(10);
/// First wait before another client is created.
const REPLACE_FIRST_WAIT: Duration = Duration::from_millis(100);
const REPLACE_LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often the topic is queried while it is healthy, and while it is not.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum wait for the topic's metadata.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Receives reports, and replaces the client when it fails.
pub(super) fn send(shared: &Arc<Shared>, mut client: Arc<Client>) {
    let backoff = || Backoff::new(REPLACE_FIRST_WAIT, REPLACE_LONGEST_WAIT);
    let mut waits = backoff();
    loop {
        shared.switch(Some(&client));
        let mut more = true;
        let broken = loop {
            client.poll(if more { Duration::ZERO } else { REPORTS_POLL });
            if shared.has_ended() {
                return shared.switch(None);
            }
            if let Some((code, reason)) = client.client().fatal_error() {
                client.context().break_off(Some(code), &reason);
            }
            if let Some(reason) = lock(&client.context().broken).clone() {
                break reason;
            }
            more = shared.hand_over();
        };
        shared.switch(None);
        tracing::warn!(
            reason = broken,
            "delivery failed; replacing the Kafka client and resending the records in order"
        );
        client.purge(PurgeConfig::default().queue().inflight());
        let began = Instant::now();
        while client.in_flight_count() > 0 && began.elapsed() < LAST_REPORTS {
            client.poll(REPORTS_POLL);
        }
        if client.context().decided.load(Ordering::Acquire) {
            waits = backoff();
        }
        drop(client);
        client = loop {
            std::thread::park_timeout(waits.next().unwrap_or_default());
            if shared.has_ended() {
                return;
            }
            match shared.new_client() {
                Ok(client) => break client,
                Err(error) => tracing::error!(%error, "cannot create another Kafka client; retrying"),
            }
        };
    }
}

/// Monitors the topic: whether it exists, its number of partitions, and whether Kafka responds at all.
pub(super) fn look_after(shared: &Shared, looked: oneshot::Sender<()>) {
    let _ = shared.looking.set(std::thread::current());
    let mut looked = Some(looked);
    let mut silence = Silence::new(Instant::now());
    while !shared.has_ended() {
        let client = lock(&shared.client).clone();
        let seen = client.as_ref().map(|client| {
            let metadata = || client.client().fetch_metadata(Some(&shared.name), LOOK_TIMEOUT);
            (shared.topic.look(metadata), client)
        });
        let wait = match seen {
            // Being replaced.
            None => LOOK_AGAIN_INTERVAL,
            Some((Ok(partitions), client)) => {
                client.context().error_log.clear();
                silence.end(Instant::now());
                shared.count(partitions);
                if client.context().message_bytes_max < shared.topic.message_bytes_max() {
                    client.context().break_off(None, "the topic accepts larger records than before");
                }
                // The failed records are gone, refused permanently: no record is left to show that Kafka accepts them
                // again.
                if shared.memory.records.load(Ordering::Acquire) == 0 {
                    shared.note_fault(None);
                }
                shared.reachability.find(BusState::Up);
                looked.take().map(|looked| looked.send(()));
                LOOK_INTERVAL
            }
            Some((Err(error), client)) => {
                shared.reachability.find(BusState::Down(client.context().error_log.explain(&error)));
                looked.take().map(|looked| looked.send(()));
                if let Some(silent) = silence.go_on(Instant::now(), client.in_flight_count() > 0) {
                    let reason = format!("the metadata of the topic could not be read for {} s", silent.as_secs());
                    client.context().break_off(None, &reason);
                }
                LOOK_AGAIN_INTERVAL
            }
        };
        drop(client);
        std::thread::park_timeout(wait);
    }
}
