//! The delivery queue over the journal on disk and an unreliable bus, compared with a simple model.
//!
//! A producer accepts events while its bus acknowledges some, is down, or accepts some without ever acknowledging them,
//! and while syncs and writes of its disk fail, until the producer is killed or loses power, in the middle of anything.
//! The next one adopts the journal. At the end, with a working bus:
//! * Every event promised `journaled` or `acknowledged` is on the bus, and so is every other promised event of a producer
//!   that was not killed.
//! * The accepted events of one producer and partition are in the order in which they were accepted, each once unless its
//!   producer was killed, and no event is there that was never sent or was refused.
//! * The accounts balance at every step.
//!
//! The journal has its own threads, so a seed does not determine every detail of a history; the checks hold for all of
//! them.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter_embedded::disk::Disk;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use application::delivery::{Delivery, Promised};
use async_trait::async_trait;
use domain::admission::Usage;
use domain::delivery::{Durability, Guarantee};
use domain::partition::Partition;
use domain::ports::{BusState, PublishError, Receipt, RecordPublisher};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use model::{Chance, SimulatedDisk};
use testkit::NoTelemetry;
use tokio::sync::{oneshot, watch};

/// Long enough for a slow machine; only a failing test reaches it.
const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
const OPTIONS: JournalOptions =
    JournalOptions { bytes_max: 1024 * 1024, segment_bytes_max: 4 * 1024, refused_bytes_max: 64 * 1024 };
const GENERATIONS: usize = 4;
const STEPS: usize = 60;

/// A bus that outlives producers.
#[derive(Default)]
struct Broker {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// The current producer: sends of earlier ones no longer arrive.
    generation: usize,
    away: bool,
    full: bool,
    /// Ids by partition, in order.
    log: BTreeMap<Partition, Vec<u64>>,
    /// Batches received but neither accepted nor refused.
    pending: BTreeMap<Partition, VecDeque<Pending>>,
}

struct Pending {
    ids: Vec<u64>,
    settle: oneshot::Sender<Result<(), PublishError>>,
}

impl Broker {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts the oldest batches of a partition, and acknowledges them.
    fn acknowledge(&self, partition: Partition, batches: usize) {
        let mut inside = self.lock();
        for _ in 0..batches {
            let Some(batch) = inside.pending.entry(partition).or_default().pop_front() else { return };
            inside.log.entry(partition).or_default().extend(&batch.ids);
            let _ = batch.settle.send(Ok(()));
        }
    }

    /// The producer has died: of the batches it had sent, a prefix arrived.
    fn lose_producer(&self, chance: &mut Chance) {
        let mut inside = self.lock();
        inside.generation += 1;
        for (partition, pending) in std::mem::take(&mut inside.pending) {
            let arrived = chance.below(pending.len() + 1);
            for batch in pending.into_iter().take(arrived) {
                inside.log.entry(partition).or_default().extend(&batch.ids);
            }
        }
    }
}

fn ids(batch: &RecordBatch) -> Vec<u64> {
    let id = |value: &[u8]| u64::from_le_bytes(*value.first_chunk().expect("a value begins with its id"));
    batch.records.iter().map(|record| id(record.value)).collect()
}

/// One producer's connection to the bus.
struct Client {
    broker: Arc<Broker>,
    generation: usize,
}

#[async_trait]
impl RecordPublisher for Client {
    fn partition_count(&self) -> NonZeroU32 {
        PARTITIONS
    }

    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        let mut inside = self.broker.lock();
        if inside.generation != self.generation {
            return Err(PublishError::Closed);
        }
        if inside.away {
            return Err(PublishError::Unavailable("it is down".into()));
        }
        if inside.full {
            return Err(PublishError::Full);
        }
        let (settle, settled) = oneshot::channel();
        inside.pending.entry(batch.partition).or_default().push_back(Pending { ids: ids(&batch), settle });
        let buffered = batch.guarantee == Guarantee::AtMostOnce;
        Ok(Receipt {
            promised: Box::pin(async move {
                if buffered { Ok(Durability::Buffered) } else { std::future::pending().await }
            }),
            settled: Box::pin(async move { settled.await.unwrap_or(Err(PublishError::Closed)) }),
        })
    }

    fn buffer(&self) -> Usage {
        Usage { used_bytes: 0, bytes_max: 1 << 20 }
    }

    fn usage(&self, _: Partition) -> Usage {
        self.buffer()
    }

    fn state(&self) -> BusState {
        if self.broker.lock().away { BusState::Down("it is down".to_owned()) } else { BusState::Up }
    }

    async fn drain(&self, _: Duration) -> usize {
        0
    }
}

/// The outcomes of events.
#[derive(Default)]
struct Sent {
    /// The producer that accepted each event, and its partition.
    taken_by: BTreeMap<u64, (usize, Partition)>,
    /// Promised as on disk.
    safe: BTreeSet<u64>,
    /// Promised as in memory, by producer.
    buffered: BTreeMap<u64, usize>,
    /// Not accepted.
    refused: BTreeSet<u64>,
}

struct Producer {
    delivery: Arc<Delivery>,
    promises: Vec<(Vec<u64>, Promised)>,
    _stop: watch::Sender<bool>,
}

impl Producer {
    fn start(disk: &SimulatedDisk, broker: &Arc<Broker>, generation: usize) -> Self {
        let journal = Arc::new(
            DiskJournal::over(disk.slots(), OPTIONS, Arc::new(Disk::unlimited())).unwrap().expect("a slot is free"),
        );
        let publisher = Arc::new(Client { broker: Arc::clone(broker), generation });
        let delivery = Delivery::with_journal(publisher, journal, Duration::from_secs(1), Arc::new(NoTelemetry));
        let delivery = Arc::new(delivery);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(Arc::clone(&delivery).replay(stopped));
        Self { delivery, promises: Vec::new(), _stop: stop }
    }

    fn take(&mut self, chance: &mut Chance, ids: Vec<u64>, partition: Partition) {
        let mut records = Records::default();
        for id in &ids {
            let len = chance.below(200);
            let padding = chance.bytes(len);
            let write = |buffer: &mut Vec<u8>| {
                buffer.extend(id.to_le_bytes());
                buffer.extend(padding);
            };
            records.push(b"source", Timestamp::MIN, false, write).unwrap();
        }
        let guarantee = if chance.below(2) == 0 { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        let guarantees = vec![guarantee; ids.len()];
        let batch = RecordBatch { partition, guarantee, records, trace_parent: None };
        if let Ok(promised) = self.delivery.deliver(batch, guarantees) {
            self.promises.push((ids, promised));
        }
    }

    /// Records the promises so far.
    fn note(&mut self, generation: usize, sent: &mut Sent) {
        self.promises.retain_mut(|(ids, promised)| match promised.try_recv() {
            Ok(Ok(promise)) => {
                for id in ids.iter() {
                    match promise.durability {
                        Durability::Buffered => drop(sent.buffered.insert(*id, generation)),
                        Durability::Journaled | Durability::Acknowledged => drop(sent.safe.insert(*id)),
                    }
                }
                false
            }
            Ok(Err(_)) => {
                sent.refused.extend(ids.iter());
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => false,
        });
    }

    fn check_accounts(&self) {
        let imbalances = self.delivery.status().imbalances;
        assert!(imbalances.iter().all(|(_, imbalance)| *imbalance == 0), "{imbalances:?}");
    }
}

/// Lets tasks run, and this much time pass.
async fn pass(time: Duration) {
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(time).await;
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
}

async fn history(seed: u64) -> (usize, usize) {
    let mut chance = Chance::new(seed);
    let (disk, broker) = (SimulatedDisk::new(), Arc::<Broker>::default());
    let (mut sent, mut next_id) = (Sent::default(), 0);
    let mut killed = 0;
    for generation in 0..GENERATIONS {
        let mut producer = Producer::start(&disk, &broker, generation);
        for _ in 0..STEPS {
            let partition = u32::try_from(chance.below(2)).unwrap();
            match chance.below(13) {
                0..=4 => {
                    let batch: Vec<u64> = (next_id..next_id + 1 + chance.below(4) as u64).collect();
                    next_id += batch.len() as u64;
                    sent.taken_by.extend(batch.iter().map(|id| (*id, (generation, partition))));
                    producer.take(&mut chance, batch, partition);
                }
                5..=7 => broker.acknowledge(partition, chance.below(4)),
                8 => broker.lock().away ^= true,
                9 => broker.lock().full ^= true,
                10 => disk.fail_syncs(chance.below(3) as u64),
                11 => disk.fail_changes(chance.below(4) as u64),
                _ => pass(Duration::from_secs(chance.below(30) as u64)).await,
            }
            pass(Duration::from_millis(chance.below(300) as u64)).await;
            producer.note(generation, &mut sent);
            producer.check_accounts();
        }
        if generation + 1 < GENERATIONS {
            killed = generation + 1;
            // A promise counts even if it was given at the last moment. A refusal does not: a dying process has no disk that
            // it could clean up, and its client gets no answer.
            producer.note(generation, &mut sent);
            let refused = sent.refused.clone();
            if chance.below(2) == 0 {
                disk.crash()
            } else {
                disk.power_cut(seed)
            }
            producer.note(generation, &mut sent);
            sent.refused = refused;
            broker.lose_producer(&mut chance);
            drop(producer);
            pass(Duration::ZERO).await;
            continue;
        }
        {
            let mut inside = broker.lock();
            (inside.away, inside.full) = (false, false);
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            (0..PARTITIONS.get()).for_each(|partition| broker.acknowledge(partition, 10_000));
            pass(Duration::from_millis(200)).await;
            producer.note(generation, &mut sent);
            let deliveries = producer.delivery.status().deliveries;
            let left: u64 = deliveries.iter().map(|of| of.journaled + of.buffered).sum();
            if left == 0 && producer.promises.is_empty() && disk.names().is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "seed {seed}: {left} events are left, {:?} on disk", disk.names());
        }
        producer.check_accounts();
    }
    check(seed, &sent, &broker, killed);
    (sent.safe.len(), sent.taken_by.len())
}

fn check(seed: u64, sent: &Sent, broker: &Broker, killed: usize) {
    let inside = broker.lock();
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    let mut last: BTreeMap<(usize, Partition), u64> = BTreeMap::new();
    for (partition, ids) in &inside.log {
        for id in ids {
            let of = sent.taken_by.get(id).unwrap_or_else(|| panic!("seed {seed}: {id} was never sent"));
            assert_eq!(of.1, *partition, "seed {seed}: {id} is in another partition");
            assert!(!sent.refused.contains(id), "seed {seed}: {id} was refused but arrived");
            let times = seen.entry(*id).or_default();
            *times += 1;
            if *times == 1 {
                let before = last.insert(*of, *id);
                assert!(before.is_none_or(|before| before < *id), "seed {seed}: {id} after {before:?}");
            } else {
                assert!(of.0 < killed, "seed {seed}: {id} is repeated although its producer was never killed");
            }
        }
    }
    let lost: Vec<_> = sent.safe.iter().filter(|id| !seen.contains_key(id)).collect();
    assert!(lost.is_empty(), "seed {seed}: promised but lost: {lost:?}");
    let lost = sent.buffered.iter().filter(|(id, generation)| **generation >= killed && !seen.contains_key(id));
    assert_eq!(lost.count(), 0, "seed {seed}: buffered by a producer that was not killed, but lost");
}

#[tokio::test(start_paused = true)]
async fn promised_events_arrive_in_order_whatever_happens_to_bus_disk_and_producer() {
    let seeds: u64 = std::env::var("TEST_DELIVERY_SEEDS").map_or(40, |seeds| seeds.parse().expect("a number"));
    let (mut safe, mut taken) = (0, 0);
    for seed in 0..seeds {
        let (of_safe, of_taken) = history(seed).await;
        safe += of_safe;
        taken += of_taken;
    }
    println!(
        "seeds={seeds} kills={} taken={taken} journaled_or_acknowledged={safe} lost=0",
        seeds * (GENERATIONS as u64 - 1)
    );
    assert!(safe > 0 && safe < taken);
}
