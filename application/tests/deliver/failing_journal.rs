//! Writes to the journal fail, and permanently rejected records cannot be kept.

use std::sync::Arc;
use std::time::Duration;

use application::health::Health;
use domain::alert::{AlertKind, AlertState};
use domain::delivery::breaker::BreakerState;
use domain::delivery::{Deliveries, Durability};
use domain::ports::{PublishError, RefusedRecord};
use tokio::sync::watch;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_batch_whose_write_fails_and_those_behind_it_were_never_accepted() {
    let harness = harness();
    harness.bus.lock().down = true;
    harness.disk.lock().slow = true;
    let promises = ["a", "b", "c"].map(|value| harness.deliver(0, STRICT, &[value]));
    harness.disk.write(1);
    harness.disk.lock().failing = 1;
    harness.disk.write(2);
    let [a, b, c] = promises;
    assert_eq!(promise(a).await, Durability::Journaled);
    for refused in [b, c] {
        assert!(matches!(refused.await.expect("an answer"), Err(PublishError::Unavailable(_))));
    }
    harness.disk.lock().slow = false;
    assert_eq!(promise(harness.deliver(0, STRICT, &["d"])).await, Durability::Journaled);
    harness.bus.lock().down = false;
    harness.bus.lock().quick = true;
    until("the others are sent", || harness.bus.published(0) == ["a", "d"]).await;
    until("settled", || harness.account(STRICT).acknowledged == 2).await;
    assert_eq!(harness.account(STRICT), Deliveries { accepted: 2, acknowledged: 2, ..Deliveries::default() });
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_a_batch_that_the_bus_has_is_repeated_and_blocks_no_batch() {
    let harness = harness();
    harness.disk.lock().slow = true;
    let first = harness.deliver(0, STRICT, &["a"]);
    let second = harness.deliver(0, STRICT, &["b"]);
    // The bus reports neither: they are queued for the journal, oldest first, and the first write fails.
    until("both are queued", || harness.disk.lock().waiting.len() == 2).await;
    harness.disk.lock().failing = 1;
    harness.disk.write(1);
    // Until the delivery handles the failure the journal takes nothing; afterwards the writes behind the failed one
    // fail as well.
    assert!(harness.delivery.deliver(crate::harness::batch(0, &["early"]), vec![STRICT]).is_ok(), "the bus takes it");
    harness.disk.write(1);
    harness.disk.lock().slow = false;
    assert_eq!((promise(first).await, promise(second).await), (Durability::Journaled, Durability::Journaled));
    harness.bus.lock().down = true;
    until("open", || harness.delivery.status().breaker == BreakerState::Open).await;
    assert_eq!(promise(harness.deliver(0, STRICT, &["c"])).await, Durability::Journaled);
    assert_eq!(harness.disk.kept(0), ["a", "b", "early", "c"], "in order, without a gap");
    assert!(harness.delivery.accepts());
}

#[tokio::test(start_paused = true)]
async fn a_drain_retries_failed_writes() {
    let harness = harness();
    promise(harness.deliver(0, LOOSE, &["a"])).await;
    promise(harness.deliver(0, LOOSE, &["b"])).await;
    harness.disk.lock().failing = 3;
    assert_eq!(harness.delivery.drain(Duration::from_secs(20)).await, 0);
    assert_eq!(harness.disk.kept(0), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn records_rejected_while_being_journaled_are_kept_if_they_were_accepted() {
    let refusal = || vec![RefusedRecord { position: 0, reason: "too bad".to_owned() }];
    // The promise of the journal and the rejection by the bus come in either order; the first one decides.
    for journaled_first in [true, false] {
        let harness = harness();
        harness.disk.lock().slow = true;
        let promised = harness.deliver(0, STRICT, &["bad"]);
        until("queued", || !harness.disk.lock().waiting.is_empty()).await;
        if journaled_first {
            harness.disk.write(1);
            harness.bus.settle(Err(PublishError::Refused(refusal())));
        } else {
            harness.bus.settle(Err(PublishError::Refused(refusal())));
            harness.disk.write(1);
        }
        let promise = promised.await.expect("an answer").expect("a promise");
        until("it is over", || harness.delivery.status().deliveries[STRICT as usize].journaled == 0).await;
        pass(Duration::from_secs(1)).await;
        let account = harness.account(STRICT);
        let kept = harness.disk.lock().refused.len() as u64;
        assert_eq!(kept, account.dead_lettered, "{journaled_first}: {promise:?}");
        let was_accepted = promise.refused.is_empty();
        assert_eq!(account.dead_lettered == 1, was_accepted, "{journaled_first}: {promise:?}");
    }
}

/// Delivers large records that the bus rejects after they were accepted. Returns how many the bus got.
async fn deliver_and_reject(harness: &Harness, records: usize) -> usize {
    let large = "x".repeat(60_000);
    let mut published = 0;
    for _ in 0..records {
        promise(harness.deliver(0, LOOSE, &[&large])).await;
        let unsettled = harness.bus.lock().unsettled.len();
        for _ in 0..unsettled {
            published += 1;
            harness
                .bus
                .settle(Err(PublishError::Refused(vec![RefusedRecord { position: 0, reason: "bad".to_owned() }])));
        }
        pass(Duration::from_millis(50)).await;
    }
    published
}

#[tokio::test(start_paused = true)]
async fn rejected_records_stop_the_bus_also_while_the_refused_log_hangs() {
    let harness = harness();
    let (keeps, later) = watch::channel(false);
    harness.disk.lock().keeps_refused_later = Some(later);
    assert_eq!(deliver_and_reject(&harness, 40).await, 5, "nothing more is sent that the bus could reject");
    assert!(harness.delivery.accepts() && harness.journal().unkept.is_none(), "nothing has failed yet");
    assert_eq!(harness.disk.kept(0).len(), 40, "the journal takes the rest");
    harness.bus.lock().quick = true;
    keeps.send_replace(true);
    until("all is kept", || harness.account(LOOSE).dead_lettered == 5).await;
    until("and the rest is sent", || harness.account(LOOSE).acknowledged == 35).await;
}

#[tokio::test(start_paused = true)]
async fn rejected_records_that_cannot_be_kept_stop_the_bus_before_they_fill_the_memory() {
    use AlertKind::{RecordsRefused, RefusedLogUnwritable};
    let harness = harness();
    let (told, _stop, _) = tell(&harness.delivery);
    harness.disk.lock().keeps_no_refused = true;
    let published = deliver_and_reject(&harness, 40).await;
    let (fault, bytes) = harness.journal().unkept.expect("they are not kept");
    assert!(bytes > MEMORY_BYTES_MAX / 4 && bytes < MEMORY_BYTES_MAX / 4 + 100_000, "{bytes}");
    assert_eq!(published, 5, "nothing more is sent that the bus could reject");
    assert_eq!(harness.disk.kept(0).len(), 40, "the journal takes the rest, behind the records that wait to be kept");
    assert!(!harness.delivery.accepts(), "it accepts no more");
    let health = Health::default().with_delivery(Arc::clone(&harness.delivery));
    let wrong = health.components().await.into_iter().find(|(name, _)| *name == "journal").and_then(|(_, wrong)| wrong);
    assert!(wrong.is_some_and(|wrong| wrong.contains(&fault)), "health names it");
    pass(Duration::from_secs(5)).await;
    assert_eq!(seen(&told, "reason"), [(RefusedLogUnwritable, AlertState::Firing, fault)]);

    // Disk space becomes available.
    (harness.disk.lock().keeps_no_refused, harness.bus.lock().quick) = (false, true);
    until("all is kept", || harness.account(LOOSE).dead_lettered == 5).await;
    until("and the rest is sent", || harness.account(LOOSE).acknowledged == 35).await;
    assert_eq!(harness.disk.lock().refused.len(), 5);
    assert!(harness.delivery.accepts() && harness.journal().unkept.is_none());
    pass(Duration::from_secs(90)).await;
    let kinds: Vec<_> = seen(&told, "").into_iter().map(|(kind, state, _)| (kind, state)).collect();
    let expected = [
        (RefusedLogUnwritable, AlertState::Firing),
        (RecordsRefused, AlertState::Firing),
        (RefusedLogUnwritable, AlertState::Resolved),
    ];
    assert_eq!(kinds, expected);
}
