//! The delivery queue over an in-memory bus and journal that the test controls.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "what a test needs in order to run may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use application::delivery::{Delivery, Promise};
use domain::admission::Usage;
use domain::alert::{AlertKind, AlertState};
use domain::delivery::breaker::BreakerState;
use domain::delivery::{Deliveries, Durability};
use domain::ports::{MockTelemetry, PublishError, RefusedRecord};
use tokio::time::{Instant, timeout};

mod failing_journal;
mod harness;

use harness::*;

#[tokio::test(start_paused = true)]
async fn on_a_healthy_bus_nothing_touches_the_disk() {
    let harness = harness();
    let (loose, strict) = (harness.deliver(0, LOOSE, &["a", "b"]), harness.deliver(0, STRICT, &["c"]));
    assert_eq!(promise(loose).await, Durability::Buffered);
    assert_eq!(harness.account(LOOSE), Deliveries { accepted: 2, buffered: 2, ..Deliveries::default() });
    assert_eq!(harness.account(STRICT), Deliveries::default(), "nothing was promised");
    harness.bus.settle(Ok(()));
    harness.bus.settle(Ok(()));
    assert_eq!(promise(strict).await, Durability::Acknowledged);
    assert_eq!(harness.account(STRICT), Deliveries { accepted: 1, acknowledged: 1, ..Deliveries::default() });
    assert_eq!(harness.account(LOOSE), Deliveries { accepted: 2, acknowledged: 2, ..Deliveries::default() });
    assert!(harness.disk.lock().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batches_without_a_timely_report_are_journaled_oldest_first_and_not_sent_again() {
    let harness = harness();
    promise(harness.deliver(1, LOOSE, &["a"])).await;
    let began = Instant::now();
    let strict = harness.deliver(1, STRICT, &["b"]);
    harness.deliver(1, LOOSE, &["c"]);
    assert_eq!(promise(strict).await, Durability::Journaled);
    assert_eq!(began.elapsed(), ACK_WAIT);
    assert_eq!(harness.disk.kept(1), ["a", "b"], "every batch before it, and none after it");
    assert_eq!(harness.account(LOOSE), Deliveries { accepted: 2, journaled: 1, buffered: 1, ..Deliveries::default() });
    for _ in 0..3 {
        harness.bus.settle(Ok(()));
    }
    until("released", || harness.disk.kept(1).is_empty()).await;
    assert_eq!(harness.bus.published(1), ["a", "b", "c"], "each once");
    assert_eq!(harness.account(LOOSE), Deliveries { accepted: 2, acknowledged: 2, ..Deliveries::default() });
    assert_eq!(harness.account(STRICT), Deliveries { accepted: 1, acknowledged: 1, ..Deliveries::default() });
}

#[tokio::test(start_paused = true)]
async fn at_most_once_alone_is_not_journaled_while_the_breaker_is_closed() {
    let harness = harness();
    promise(harness.deliver(1, LOOSE, &["a"])).await;
    pass(ACK_WAIT * 5).await;
    assert_eq!(harness.delivery.status().breaker, BreakerState::Closed, "five failures are not ten");
    assert!(harness.disk.kept(1).is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_the_breaker_opens_everything_is_journaled_and_new_batches_go_behind() {
    let harness = harness();
    promise(harness.deliver(2, LOOSE, &["elsewhere"])).await;
    let lost = harness.open(1).await;
    until("all of it is on disk", || harness.disk.kept(1) == lost && harness.disk.kept(2) == ["elsewhere"]).await;
    assert_eq!(promise(harness.deliver(1, LOOSE, &["later"])).await, Durability::Journaled);
    for other in ["other", "another"] {
        assert_eq!(promise(harness.deliver(0, STRICT, &[other])).await, Durability::Journaled);
    }
    assert_eq!(harness.bus.published(0), [""; 0]);
    assert_eq!(harness.account(LOOSE), Deliveries { accepted: 12, journaled: 12, ..Deliveries::default() });
    // A late report makes the breaker half-open, three calls close it, and the rest follows in order.
    harness.bus.lock().quick = true;
    for _ in 0..11 {
        harness.bus.settle(Ok(()));
    }
    until("closed", || harness.delivery.status().breaker == BreakerState::Closed).await;
    assert_eq!(promise(harness.deliver(1, STRICT, &["new"])).await, Durability::Acknowledged);
    until("all is released", || harness.disk.kept(1).is_empty() && harness.disk.kept(0).is_empty()).await;
    assert_eq!(harness.bus.published(1), [lost, vec!["later".to_owned(), "new".to_owned()]].concat());
    assert_eq!(harness.account(LOOSE), Deliveries { accepted: 12, acknowledged: 12, ..Deliveries::default() });
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_refuses_is_tried_again_from_the_journal_with_growing_waits() {
    let harness = harness();
    harness.bus.lock().down = true;
    let began = Instant::now();
    assert_eq!(promise(harness.deliver(0, STRICT, &["a"])).await, Durability::Journaled);
    assert_eq!(began.elapsed(), Duration::ZERO, "no caller waits for a bus that is known to be unavailable");
    assert_eq!(promise(harness.deliver(0, STRICT, &["b"])).await, Durability::Journaled);
    // At 0, 100, 300, 700 ms and so on; still closed, since there are fewer than ten results.
    pass(Duration::from_millis(800)).await;
    harness.bus.lock().down = false;
    harness.bus.lock().quick = true;
    until("all is released", || harness.disk.kept(0).is_empty()).await;
    assert!((Duration::from_millis(1_500)..Duration::from_millis(1_600)).contains(&began.elapsed()), "{began:?}");
    assert_eq!(harness.bus.published(0), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_without_a_backlog_goes_straight_to_the_bus() {
    let harness = harness();
    harness.bus.lock().full = true;
    assert_eq!(promise(harness.deliver(1, LOOSE, &["a"])).await, Durability::Journaled, "no room in memory");
    harness.bus.lock().full = false;
    // The backlog of partition 1 is about to be read; partition 0 is not delayed.
    let strict = harness.deliver(0, STRICT, &["b"]);
    assert_eq!(harness.bus.published(0), ["b"]);
    harness.bus.settle(Ok(()));
    assert_eq!(promise(strict).await, Durability::Acknowledged);
    until("the other follows", || harness.bus.published(1) == ["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn with_a_full_journal_and_an_unavailable_bus_nothing_is_taken() {
    let harness = harness();
    harness.bus.lock().down = true;
    harness.disk.lock().full = true;
    let error = harness.delivery.deliver(batch(0, &["a"]), vec![STRICT]).expect_err("no room");
    assert!(matches!(error, PublishError::Full), "{error}");
    assert!(!harness.delivery.accepts());
    harness.disk.lock().full = false;
    assert!(harness.delivery.accepts(), "an outage alone does not make it unready");
    assert_eq!(harness.account(STRICT), Deliveries::default());
}

#[tokio::test(start_paused = true)]
async fn while_the_bus_takes_nothing_only_the_journal_has_capacity() {
    let harness = harness();
    let usage = || harness.delivery.usage(0);
    assert_eq!(usage(), Usage { used_bytes: 0, bytes_max: 101_000_000 });
    harness.bus.lock().down = true;
    assert_eq!(usage(), Usage { used_bytes: 0, bytes_max: 100_000_000 }, "the bus is known to be unavailable");
    harness.bus.lock().down = false;
    harness.open(1).await;
    assert_eq!(usage(), Usage { used_bytes: 0, bytes_max: 100_000_000 }, "the breaker is open");
    harness.disk.lock().fault = Some("no disk".to_owned());
    assert_eq!(usage(), Usage { used_bytes: 0, bytes_max: 1_000_000 }, "there is only memory");
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_answers_again_is_tried_at_once_even_with_nothing_in_flight() {
    let harness = harness();
    harness.bus.lock().down = true;
    for partition in [0, 1, 2] {
        promise(harness.deliver(partition, STRICT, &["a"])).await;
    }
    until("open", || harness.delivery.status().breaker == BreakerState::Open).await;
    pass(Duration::from_secs(5)).await;
    assert_eq!(harness.delivery.status().breaker, BreakerState::Open);
    (harness.bus.lock().down, harness.bus.lock().quick) = (false, true);
    let began = Instant::now();
    until("all is sent", || (0..3).all(|partition| harness.disk.kept(partition).is_empty())).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(harness.delivery.status().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_closes_once_all_is_settled_though_no_further_events_come() {
    let harness = harness();
    let (told, _stop, _) = tell(&harness.delivery);
    let breaker = || harness.delivery.status().breaker;
    let silent = harness.open(1).await;
    pass(Duration::from_secs(2)).await;
    for _ in 1..silent.len() {
        harness.bus.settle(Ok(()));
    }
    pass(Duration::from_secs(30)).await;
    assert_eq!(breaker(), BreakerState::HalfOpen, "a batch has no report yet");
    harness.bus.settle(Ok(()));
    until("closed", || breaker() == BreakerState::Closed).await;
    pass(Duration::from_secs(2)).await;
    let states: Vec<_> = seen(&told, "").into_iter().map(|(kind, state, _)| (kind, state)).collect();
    assert_eq!(states, [(AlertKind::BreakerOpen, AlertState::Firing), (AlertKind::BreakerOpen, AlertState::Resolved)]);
    assert_eq!(harness.bus.published(1), silent, "each once, and nothing besides");

    // The same after a backlog of one batch.
    harness.bus.lock().down = true;
    promise(harness.deliver(0, STRICT, &["a"])).await;
    until("open", || breaker() == BreakerState::Open).await;
    (harness.bus.lock().down, harness.bus.lock().quick) = (false, true);
    until("closed", || breaker() == BreakerState::Closed).await;
    assert_eq!((harness.bus.published(0), harness.disk.kept(0)), (vec!["a".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_line_catches_up_while_new_batches_keep_coming() {
    let harness = harness();
    harness.bus.lock().down = true;
    promise(harness.deliver(0, STRICT, &["first"])).await;
    harness.bus.lock().down = false;
    harness.bus.lock().quick = true;
    harness.disk.lock().slow = true;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for n in 0..100 {
        pace.tick().await;
        let promised = harness.deliver(0, STRICT, &[format!("{n}")]);
        // The disk is always one write behind.
        let waiting = harness.disk.lock().waiting.len();
        harness.disk.write(waiting.saturating_sub(1));
        drop(promised);
    }
    until("direct", || harness.bus.published(0).len() == 101).await;
    let expected = std::iter::once("first".to_owned()).chain((0..100).map(|n| n.to_string()));
    assert_eq!(harness.bus.published(0), expected.collect::<Vec<_>>());
    assert_eq!(promise(harness.deliver(0, STRICT, &["direct"])).await, Durability::Acknowledged);
}

#[tokio::test(start_paused = true)]
async fn permanently_rejected_records_leave_the_line_and_their_neighbours_continue() {
    let harness = harness();
    let refusal = |position| RefusedRecord { position, reason: "too bad".to_owned() };
    // Before anything was promised: an error of that event, and nothing to keep.
    let strict = harness.deliver(0, STRICT, &["a", "bad", "c"]);
    harness.bus.settle(Err(PublishError::Refused(vec![refusal(1)])));
    let kept = timeout(DEADLINE, strict).await.expect("in time").expect("an answer").expect("a promise");
    assert_eq!(kept, Promise { durability: Durability::Acknowledged, refused: vec![refusal(1)] });
    assert_eq!(harness.account(STRICT), Deliveries { accepted: 2, acknowledged: 2, ..Deliveries::default() });
    assert_eq!(harness.disk.lock().refused, []);
    // After its 202: kept.
    promise(harness.deliver(0, LOOSE, &["d", "worse"])).await;
    harness.bus.settle(Err(PublishError::Refused(vec![refusal(1)])));
    until("kept", || harness.account(LOOSE).dead_lettered == 1).await;
    assert_eq!(harness.disk.lock().refused, [("worse".to_owned(), "too bad".to_owned())]);
    let account = Deliveries { accepted: 2, acknowledged: 1, dead_lettered: 1, ..Deliveries::default() };
    assert_eq!(harness.account(LOOSE), account);
    assert_eq!(harness.delivery.status().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn journals_of_dead_processes_are_adopted_and_counted() {
    let harness = harness();
    let orphan = Arc::<Disk>::default();
    let entries = [("x".to_owned(), STRICT), ("y".to_owned(), LOOSE)];
    orphan.lock().entries.insert(2, (7..).zip(entries).collect());
    harness.disk.lock().to_adopt.push(Arc::clone(&orphan));
    harness.bus.lock().quick = true;
    until("replayed", || orphan.kept(2).is_empty()).await;
    assert_eq!(harness.bus.published(2), ["x", "y"]);
    assert_eq!(harness.account(STRICT), Deliveries { recovered: 1, acknowledged: 1, ..Deliveries::default() });
    until("released", || Arc::strong_count(&orphan) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_journal_of_a_dead_process_is_reported() {
    let harness = harness();
    let (told, _stop, _) = tell(&harness.delivery);
    let orphan = Arc::<Disk>::default();
    orphan.lock().entries.insert(2, (7..).zip([("x".to_owned(), STRICT)]).collect());
    orphan.lock().damaged_bytes = 300;
    harness.disk.lock().to_adopt.push(Arc::clone(&orphan));
    harness.bus.lock().quick = true;
    pass(Duration::from_secs(10)).await;
    assert_eq!(harness.account(STRICT), Deliveries { recovered: 1, acknowledged: 1, ..Deliveries::default() });
    assert_eq!(seen(&told, "new"), [(AlertKind::JournalDamaged, AlertState::Firing, "300".to_owned())]);
    assert_eq!(harness.journal().damage, (2, 300));
}

#[tokio::test(start_paused = true)]
async fn events_of_a_missing_partition_wait_and_do_not_count_against_the_bus() {
    let harness = harness();
    let orphan = Arc::<Disk>::default();
    orphan.lock().entries.insert(3, (0..).zip([("x".to_owned(), STRICT)]).collect());
    harness.disk.lock().to_adopt.push(Arc::clone(&orphan));
    harness.bus.lock().quick = true;
    pass(Duration::from_secs(600)).await;
    assert_eq!(harness.delivery.status().breaker, BreakerState::Closed);
    assert_eq!((harness.bus.published(3), orphan.kept(3)), (vec![], vec!["x".to_owned()]));
    assert_eq!(harness.journal().stranded, Some((3, 3)), "health reports it");
    assert_eq!(promise(harness.deliver(0, STRICT, &["y"])).await, Durability::Acknowledged);
}

#[tokio::test(start_paused = true)]
async fn entries_that_cannot_be_read_back_are_counted_as_lost() {
    let harness = harness();
    harness.bus.lock().down = true;
    promise(harness.deliver(0, STRICT, &["a", "b", "c"])).await;
    harness.disk.lock().entries.entry(0).or_default().remove(&1);
    harness.bus.lock().down = false;
    harness.bus.lock().quick = true;
    until("read", || harness.account(STRICT).journaled == 0).await;
    let account = Deliveries { accepted: 3, acknowledged: 2, dropped: [0, 1], ..Deliveries::default() };
    assert_eq!(harness.account(STRICT), account);
}

#[tokio::test(start_paused = true)]
async fn a_drain_journals_batches_that_the_bus_does_not_acknowledge_in_time() {
    let harness = harness();
    promise(harness.deliver(0, LOOSE, &["a"])).await;
    let began = Instant::now();
    assert_eq!(harness.delivery.drain(Duration::from_secs(20)).await, 0);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(harness.disk.kept(0), ["a"]);
    let late = harness.delivery.deliver(batch(0, &["late"]), vec![STRICT]);
    assert!(matches!(late, Err(PublishError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_drain_returns_how_many_accepted_events_are_only_in_memory() {
    let harness = harness();
    promise(harness.deliver(0, LOOSE, &["a", "b"])).await;
    harness.disk.lock().full = true;
    assert_eq!(harness.delivery.drain(Duration::from_secs(20)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn outages_of_bus_and_journal_are_reported_when_they_begin_and_end() {
    use AlertKind::{BreakerOpen, JournalFilling, JournalUnwritable};
    use AlertState::{Firing, Resolved};
    let harness = harness();
    let (told, _stop, _) = tell(&harness.delivery);
    harness.open(0).await;
    harness.bus.lock().down = true;
    for value in ["a", "b", "c"] {
        assert_eq!(promise(harness.deliver(1, STRICT, &[value])).await, Durability::Journaled);
    }
    pass(Duration::from_secs(5)).await;
    assert_eq!(seen(&told, ""), [(BreakerOpen, Firing, String::new())]);
    harness.disk.lock().full = true;
    pass(Duration::from_secs(5)).await;
    harness.disk.lock().fault = Some("no disk".to_owned());
    pass(Duration::from_secs(5)).await;
    (harness.disk.lock().full, harness.disk.lock().fault) = (false, None);
    // After a minute the breaker is half-open, the backlog is tried and refused, and the breaker opens again: this is
    // one outage.
    pass(Duration::from_secs(100)).await;
    (harness.bus.lock().down, harness.bus.lock().quick) = (false, true);
    for _ in 0..10 {
        harness.bus.settle(Ok(()));
    }
    until("closed", || harness.delivery.status().breaker == BreakerState::Closed).await;
    pass(Duration::from_secs(5)).await;
    let kinds: Vec<_> = seen(&told, "").into_iter().map(|(kind, state, _)| (kind, state)).collect();
    assert_eq!(
        kinds,
        [
            (BreakerOpen, Firing),
            (JournalFilling, Firing),
            (JournalUnwritable, Firing),
            (JournalFilling, Resolved),
            (JournalUnwritable, Resolved),
            (BreakerOpen, Resolved),
        ]
    );
    assert_eq!(seen(&told, "percent")[1].2, "100");
    assert_eq!(seen(&told, "reason")[2].2, "no disk");
}

#[tokio::test(start_paused = true)]
async fn an_unusable_embedded_bus_is_reported_while_it_takes_nothing_but_not_when_it_is_closed() {
    use AlertKind::BusUnusable;
    let (bus, telemetry) = (Arc::<Bus>::default(), MockTelemetry::new());
    let publisher = Arc::<Bus>::clone(&bus);
    let delivery = Arc::new(Delivery::new(publisher, Arc::new(telemetry)));
    let (told, _stop, _) = tell(&delivery);
    bus.lock().down = true;
    pass(Duration::from_secs(5)).await;
    bus.lock().down = false;
    pass(Duration::from_secs(90)).await;
    let reason = || "unavailable".to_owned();
    let expected = [(BusUnusable, AlertState::Firing, reason()), (BusUnusable, AlertState::Resolved, reason())];
    assert_eq!(seen(&told, "reason"), expected);
    delivery.drain(Duration::ZERO).await;
    bus.lock().down = true;
    pass(Duration::from_secs(5)).await;
    assert_eq!(seen(&told, "reason"), expected);
}

#[tokio::test(start_paused = true)]
async fn accepted_events_that_are_rejected_or_lost_are_reported_with_counts_and_completely_at_the_end() {
    use AlertKind::{EventsLost, RecordsRefused};
    use AlertState::Firing;
    let harness = harness();
    let (told, stop, telling) = tell(&harness.delivery);
    let refuse = async |values: &[&str]| {
        let refusal = |position| RefusedRecord { position, reason: "too bad".to_owned() };
        promise(harness.deliver(1, LOOSE, values)).await;
        harness.bus.settle(Err(PublishError::Refused((0..values.len()).map(refusal).collect())));
        pass(Duration::from_secs(5)).await;
    };
    // A rejected event without a promise is reported to the client only.
    let unpromised = harness.deliver(1, STRICT, &["bad"]);
    harness.bus.settle(Err(PublishError::Refused(vec![RefusedRecord { position: 0, reason: "bad".to_owned() }])));
    unpromised.await.expect("an answer").expect("a promise");
    pass(Duration::from_secs(5)).await;
    assert_eq!(seen(&told, ""), []);

    refuse(&["a", "b"]).await;
    refuse(&["c"]).await;
    refuse(&["d"]).await;
    assert_eq!(seen(&told, "reason"), [(RecordsRefused, Firing, "too bad".to_owned())]);
    harness.bus.lock().down = true;
    promise(harness.deliver(0, STRICT, &["e", "f"])).await;
    harness.disk.lock().entries.entry(0).or_default().remove(&1);
    (harness.bus.lock().down, harness.bus.lock().quick) = (false, true);
    pass(Duration::from_secs(5)).await;
    assert_eq!(seen(&told, "partition")[1..], [(EventsLost, Firing, "0".to_owned())]);
    // Each keeps its own cause: another rejection does not replace that of the loss.
    harness.bus.lock().quick = false;
    refuse(&["g"]).await;
    assert_eq!(harness.delivery.status().last_loss, Some((0, "the journal is damaged".to_owned())));
    assert_eq!(harness.delivery.status().last_rejection, Some((1, "too bad".to_owned())));
    stop.send(true).expect("it runs");
    telling.await.expect("it ended normally");
    let counts: Vec<_> =
        seen(&told, "new").into_iter().zip(seen(&told, "total")).map(|(n, t)| (n.0, n.2, t.2)).collect();
    let text = str::to_owned;
    assert_eq!(
        counts,
        [
            (RecordsRefused, text("2"), text("2")),
            (EventsLost, text("1"), text("1")),
            (RecordsRefused, text("3"), text("5")),
        ]
    );
}
