//! The source during Kafka failures, on the mock cluster of librdkafka or, for failures that it cannot simulate, on
//! Apache Kafka (`TEST_KAFKA_BROKERS`, see `scripts/services`).

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and an out-of-range index is also a failure"
)]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/place.rs"]
mod place;
#[path = "support/servers.rs"]
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use adapter_kafka::{KafkaPublisher, KafkaSource};
use domain::partition::Partition;
use domain::ports::{AssignmentChange, BusState, RecordPublisher, RecordSource, SourceError};
use domain::record::{Chunk, Record};
use place::{
    DEADLINE, Place, admin, all_settled, at_kafka, batch, down, in_time, once, publish_tens, ten, tens, until,
};
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::*;
use servers::brokers;

impl Place {
    /// Publishes batches of ten records.
    async fn deliver(&self, publisher: &KafkaPublisher, numbers: std::ops::Range<usize>) {
        all_settled(publish_tens(publisher, self.options.partitions.get(), numbers)).await;
    }
}

/// Assigns all partitions from the earliest record on.
async fn begin(source: &KafkaSource, partitions: usize) {
    let mut assigned = 0;
    while assigned < partitions {
        match in_time("assignment", source.assignment()).await.expect("partitions") {
            AssignmentChange::Assigned(partitions, start) => {
                assigned += partitions.len();
                start(vec![None; partitions.len()]);
            }
            AssignmentChange::Revoked(partitions, done) => {
                assigned -= partitions.len();
                done();
            }
        }
    }
}

fn values_of(chunk: &Chunk) -> Vec<String> {
    let text = |(_, record): (u64, Record<'_>)| String::from_utf8_lossy(record.value).into_owned();
    chunk.iter().map(text).collect()
}

/// The values of the next records of a partition.
async fn read(source: &KafkaSource, partition: Partition, count: usize) -> Vec<String> {
    let (mut values, began) = (Vec::new(), Instant::now());
    while values.len() < count {
        match in_time("chunk", source.chunk(partition)).await {
            Ok(chunk) => values.extend(values_of(&chunk)),
            Err(SourceError::Unavailable(cause)) => assert!(began.elapsed() < DEADLINE, "{cause}"),
            Err(error) => panic!("{error}"),
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_failure_of_the_group_is_reported_until_it_ends() {
    let place = Place::new(1, &[]);
    let publisher = place.publisher().await;
    place.deliver(&publisher, 0..1).await;
    let denied = RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    place.fail(Api::FindCoordinator, std::iter::repeat_n(denied, 10_000));
    let source = KafkaSource::open(&place.options).expect("the source opens");
    let named = || matches!(source.state(), BusState::Down(reason) if reason.contains("Group authorization failed"));
    until("the source reports the missing authorization", named).await;
    place.fail_no_more(Api::FindCoordinator);
    begin(&source, 1).await;
    assert_eq!(read(&source, 0, 10).await, tens(1, 0, 0..1));
    until("the source is up", || source.state() == BusState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_continues_by_itself_whatever_happens_to_the_broker() {
    let place = Place::new(1, &[]);
    let source = KafkaSource::open(&place.options).expect("the source opens");
    let publisher = place.publisher().await;
    begin(&source, 1).await;
    place.fail(
        Api::Fetch,
        [
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR_NO_ERROR,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            RD_KAFKA_RESP_ERR__TRANSPORT,
            RD_KAFKA_RESP_ERR_NO_ERROR,
            RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            RD_KAFKA_RESP_ERR_UNKNOWN,
        ],
    );
    place.deliver(&publisher, 0..20).await;
    assert_eq!(read(&source, 0, 200).await, tens(1, 0, 0..20));
    place.go_down();
    until("the source is down", || source.state() != BusState::Up).await;
    down(&publisher).await;
    place.come_up();
    until("the publisher is up again", || publisher.state() == BusState::Up).await;
    place.deliver(&publisher, 20..40).await;
    assert_eq!(read(&source, 0, 200).await, tens(1, 0, 20..40));
    until("the source is up again", || source.state() == BusState::Up).await;

    // It can be closed while the broker is down.
    place.go_down();
    in_time("closing", source.close()).await;
    assert!(matches!(in_time("chunk", source.chunk(0)).await, Err(SourceError::Closed)));
}

/// Asserts that a position is out of range until a seek to another one.
async fn assert_out_of_range(source: &KafkaSource, position: u64, first: u64) {
    source.seek(0, Some(position));
    for _ in 0..3 {
        match in_time("chunk", source.chunk(0)).await {
            Err(SourceError::OutOfRange { position: at, first: oldest }) => assert_eq!((at, oldest), (position, first)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_out_of_range_position_is_reported_until_a_seek_to_another_one() {
    let place = Place::new(1, &[]);
    let source = KafkaSource::open(&place.options).expect("the source opens");
    let publisher = place.publisher().await;
    place.deliver(&publisher, 0..2).await;
    begin(&source, 1).await;
    assert_eq!(read(&source, 0, 20).await, tens(1, 0, 0..2));
    assert_out_of_range(&source, 1_000, 0).await;
    source.seek(0, Some(5));
    assert_eq!(read(&source, 0, 15).await, tens(1, 0, 0..2)[5..]);
    place.deliver(&publisher, 2..3).await;
    assert_eq!(read(&source, 0, 10).await, ten(2));
    in_time("closing", source.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_reported_until_a_seek_to_another_position() {
    let Some(brokers) = brokers() else { return };
    let options = at_kafka(&brokers);
    let publisher = KafkaPublisher::open(options.clone()).await.expect("the publisher opens");
    until("the publisher is up", || publisher.state() == BusState::Up).await;
    all_settled(publish_tens(&publisher, 1, 0..2)).await;
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&options.topic, 0, Offset::Offset(7)).expect("an offset");
    admin(&options).delete_records(&before, &AdminOptions::new()).await.expect("deleted");
    let source = KafkaSource::open(&options).expect("the source opens");
    begin(&source, 1).await;
    assert_eq!(read(&source, 0, 13).await, tens(1, 0, 0..2)[7..], "the earliest existing record");
    assert_out_of_range(&source, 3, 7).await;
    source.seek(0, Some(10));
    assert_eq!(read(&source, 0, 10).await, ten(1));
    source.seek(0, None);
    assert_eq!(read(&source, 0, 13).await, tens(1, 0, 0..2)[7..], "the earliest existing record");
    in_time("closing", source.close()).await;
}

/// Detects when the main thread of librdkafka wakes a reader, and may hold it there. That thread answers seeks, and wakes
/// readers when it moves a partition and when a position is out of range; records come from the broker threads.
#[derive(Default)]
struct MainThread {
    state: Mutex<MainThreadState>,
    changed: Condvar,
}

#[derive(Default)]
struct MainThreadState {
    /// Any thread has woken the reader since it last read.
    woken: bool,
    /// The main thread has.
    seen: bool,
    /// Whether to hold the main thread there.
    hold: bool,
}

impl Wake for MainThread {
    fn wake(self: Arc<Self>) {
        let thread = std::fs::read_to_string("/proc/thread-self/comm").expect("a thread has a name");
        let mut state = self.state.lock().expect("lock");
        state.woken = true;
        state.seen |= thread.trim_end() == "rdk:main";
        self.changed.notify_all();
        if state.seen {
            drop(self.changed.wait_timeout_while(state, DEADLINE, |state| state.hold).expect("lock"));
        }
    }
}

impl MainThread {
    fn held() -> Arc<Self> {
        let this = Self::default();
        this.state.lock().expect("lock").hold = true;
        Arc::new(this)
    }

    fn release(&self) {
        self.state.lock().expect("lock").hold = false;
        self.changed.notify_all();
    }

    /// Lets a reader read whenever it is woken, until the main thread has woken it. The reader then stops: the main
    /// thread may hold the lock of the partition's queue.
    async fn wake_reader(self: &Arc<Self>, source: &KafkaSource) {
        let mut chunk = Box::pin(source.chunk(0));
        let waker = Waker::from(Arc::clone(self));
        let began = Instant::now();
        loop {
            self.state.lock().expect("lock").woken = false;
            let chunk = chunk.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(chunk.is_pending(), "there is nothing to read: {chunk:?}");
            // Not a wait on the runtime: its clock would wake the reader, which only the client must do here.
            let state = self.state.lock().expect("lock");
            let (state, _) = self.changed.wait_timeout_while(state, DEADLINE, |state| !state.woken).expect("lock");
            if state.seen {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "the reader is not woken");
        }
    }
}

/// Prepares a source that has read twenty records and was told to continue at a position out of range.
async fn beyond_the_end() -> (Place, KafkaSource) {
    let place = Place::new(1, &[]);
    let publisher = place.publisher().await;
    place.deliver(&publisher, 0..2).await;
    let source = KafkaSource::open(&place.options).expect("the source opens");
    begin(&source, 1).await;
    assert_eq!(read(&source, 0, 20).await, tens(1, 0, 0..2));
    source.seek(0, Some(1_000));
    (place, source)
}

// A single-threaded runtime: a call that blocks it blocks all others.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_call_waits_for_a_client_that_does_not_answer_a_seek() {
    /// Longer than the source waits for an answer.
    const SILENCE: Duration = Duration::from_millis(2_500);
    /// Far less than that, but enough for a busy machine.
    const AT_ONCE: Duration = Duration::from_millis(500);
    let (_place, source) = beyond_the_end().await;
    let client = MainThread::held();
    client.wake_reader(&source).await;
    source.seek(0, Some(5));
    let mut chunk = source.chunk(0);
    let (mut ticks, began) = (tokio::time::interval(Duration::from_millis(20)), Instant::now());
    let mut longest = Duration::ZERO;
    while began.elapsed() < SILENCE {
        let called = Instant::now();
        let looked = once(&mut chunk).await;
        assert!(looked.is_none(), "the reader waits for the client: {looked:?}");
        source.stored(0, 5);
        source.seek(0, Some(5));
        assert_eq!(source.lags().len(), 1);
        longest = longest.max(called.elapsed());
        ticks.tick().await;
    }
    client.release();
    eprintln!("the longest call took {longest:?}");
    assert!(longest < AT_ONCE, "a call took {longest:?}");
    let chunk = in_time("the chunk after the seek", chunk).await.expect("records");
    assert_eq!(values_of(&chunk), tens(1, 0, 0..2)[5..]);
    in_time("closing", source.close()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_seek_works_though_the_position_before_is_out_of_range() {
    let (_place, source) = beyond_the_end().await;
    Arc::new(MainThread::default()).wake_reader(&source).await;
    source.seek(0, Some(5));
    assert_eq!(read(&source, 0, 15).await, tens(1, 0, 0..2)[5..]);
    in_time("closing", source.close()).await;
}

/// Knuth's 64-bit generator.
fn next_random(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// The next chunk, read after one dropped call if that call waits. Checks that it has no gaps.
async fn chunk_after_giving_up(source: &KafkaSource) -> Chunk {
    let given_up = once(&mut source.chunk(0)).await;
    let chunk = match given_up {
        Some(chunk) => chunk,
        None => in_time("a chunk", source.chunk(0)).await,
    };
    let chunk = chunk.expect("records");
    let (first, records) = (chunk.offsets[0], chunk.offsets.len() as u64);
    assert!(chunk.offsets.iter().copied().eq(first..first + records), "gaps in {:?}", chunk.offsets);
    chunk
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_seek_reading_continues_there_though_a_chunk_is_in_progress_or_dropped() {
    const RECORDS: usize = 20_000;
    /// Leaves two chunks of the maximum size after it.
    const POSITION_MAX: u64 = 5_000;
    const SEEKS: u64 = 20;
    let place = Place::new(1, &[]);
    let publisher = place.publisher().await;
    for first in (0..RECORDS).step_by(1_000) {
        let values = (first..first + 1_000).map(|value| value.to_string());
        all_settled(vec![publisher.publish(batch(0, values).into()).expect("the publisher takes the batch")]).await;
    }
    let source = Arc::new(KafkaSource::open(&place.options).expect("the source opens"));
    begin(&source, 1).await;
    let (mut random, mut next) = (SEEKS, 0);
    for seek in 1..=SEEKS {
        let reader = Arc::clone(&source);
        let in_work = tokio::spawn(async move { chunk_after_giving_up(&reader).await });
        for _ in 0..next_random(&mut random) % 100 {
            tokio::task::yield_now().await;
        }
        let position = next_random(&mut random) % POSITION_MAX;
        source.seek(0, Some(position));
        let chunk = in_time("the chunk in progress", in_work).await.expect("no panic");
        if chunk.offsets.first() == Some(&position) {
            next = chunk.next;
        } else {
            // It was begun before the seek and may still arrive.
            assert_eq!(chunk.offsets.first(), Some(&next), "during seek {seek} to {position}");
            next = position;
        }
        let chunk = chunk_after_giving_up(&source).await;
        assert_eq!(chunk.offsets.first(), Some(&next), "after seek {seek} to {position}");
        next = chunk.next;
    }
    in_time("closing", source.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_just_after_the_assignment_is_not_forgotten() {
    /// Longer than librdkafka takes to repeat a lookup of the earliest record.
    const A_WHILE: Duration = Duration::from_secs(1);
    let place = Place::new(1, &[]);
    let publisher = place.publisher().await;
    place.deliver(&publisher, 0..2).await;
    // The seek comes before any response.
    place.answer_after(Duration::from_millis(50));
    let source = KafkaSource::open(&place.options).expect("the source opens");
    begin(&source, 1).await;
    source.seek(0, Some(15));
    let began = Instant::now();
    assert_eq!(read(&source, 0, 5).await, ten(1)[5..]);
    for number in 2.. {
        place.deliver(&publisher, number..number + 1).await;
        assert_eq!(read(&source, 0, 10).await, ten(number), "{:?} after the seek", began.elapsed());
        if began.elapsed() > A_WHILE {
            break;
        }
    }
    in_time("closing", source.close()).await;
}

/// State shared by two members of a group: stored positions, and the values read.
#[derive(Default)]
struct Stored(Mutex<BTreeMap<Partition, (u64, Vec<String>)>>);

impl Stored {
    fn position(&self, partition: Partition) -> Option<u64> {
        self.0.lock().expect("lock").get(&partition).map(|(position, _)| *position)
    }

    fn read(&self) -> usize {
        self.0.lock().expect("lock").values().map(|(_, values)| values.len()).sum()
    }
}

/// Reads a partition until it is revoked.
async fn store(source: Arc<KafkaSource>, stored: Arc<Stored>, partition: Partition) {
    loop {
        match source.chunk(partition).await {
            Ok(chunk) => {
                let mut all = stored.0.lock().expect("lock");
                let (position, values) = all.entry(partition).or_default();
                assert!(chunk.offsets.first() >= Some(&*position), "read again");
                *position = chunk.next;
                values.extend(values_of(&chunk));
                source.stored(partition, chunk.next);
            }
            Err(SourceError::Closed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Acts as a member of the group until the source is closed; `has` holds the partitions it reads.
async fn live(source: Arc<KafkaSource>, stored: Arc<Stored>, has: Arc<Mutex<BTreeSet<Partition>>>) {
    let mut readers = BTreeMap::new();
    while let Ok(change) = source.assignment().await {
        match change {
            AssignmentChange::Assigned(partitions, start) => {
                start(partitions.iter().map(|partition| stored.position(*partition)).collect());
                for partition in partitions {
                    let reader = tokio::spawn(store(Arc::clone(&source), Arc::clone(&stored), partition));
                    readers.insert(partition, reader);
                    has.lock().expect("lock").insert(partition);
                }
            }
            AssignmentChange::Revoked(partitions, done) => {
                // Everything that a reader has read is stored at once.
                done();
                for partition in partitions {
                    has.lock().expect("lock").remove(&partition);
                    let reader = readers.remove(&partition).expect("it was assigned");
                    in_time("the end of a reader", reader).await.expect("no panic");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_to_another_member_and_back_with_each_record_once() {
    // The mock cluster waits for the session timeout at each group change.
    let place = Place::new(4, &[("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500")]);
    let publisher = place.publisher().await;
    let stored = Arc::new(Stored::default());
    let join = || {
        let source = Arc::new(KafkaSource::open(&place.options).expect("the source opens"));
        let has = Arc::new(Mutex::new(BTreeSet::new()));
        let life = tokio::spawn(live(Arc::clone(&source), Arc::clone(&stored), Arc::clone(&has)));
        (source, has, life)
    };
    let count = |has: &Mutex<BTreeSet<Partition>>| has.lock().expect("lock").len();
    let (one, ones, life_of_one) = join();
    until("the first has all", || count(&ones) == 4).await;
    place.deliver(&publisher, 0..8).await;
    until("all is read", || stored.read() == 80).await;
    let (other, others, life_of_other) = join();
    // Records arrive while partitions move from one member to the other.
    for number in 2..12 {
        place.deliver(&publisher, number * 4..number * 4 + 4).await;
    }
    until("they share", || count(&ones) == 2 && count(&others) == 2).await;
    place.deliver(&publisher, 48..56).await;
    until("all is read", || stored.read() == 560).await;
    in_time("leaving", other.close()).await;
    until("the second has none", || count(&others) == 0).await;
    place.deliver(&publisher, 56..64).await;
    until("the first has all again", || count(&ones) == 4).await;
    until("all is read", || stored.read() == 640).await;
    in_time("leaving", one.close()).await;
    for life in [life_of_one, life_of_other] {
        life.abort();
        let _ = in_time("the end of a member", life).await;
    }
    for (partition, (_, values)) in &*stored.0.lock().expect("lock") {
        assert_eq!(*values, tens(4, *partition as usize, 0..64), "partition {partition}");
    }
}
