//! Variety from a seed.

use std::borrow::Cow;

use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use domain::metadata::Metadata;
use domain::timestamp::Timestamp;

/// 2024-01-15T10:30:00Z, in microseconds: the start of generated times.
pub(crate) const EPOCH: i64 = 1_705_314_600_000_000;

/// A xorshift generator.
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would remain zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() >> 11).unwrap_or(0) % bound
    }

    /// True with a probability of one in `of`.
    pub(crate) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.number(), self.number())
    }
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("a time that RFC 3339 can write")
}

/// A plain event.
pub(crate) fn event(id: Uuid, at: Timestamp) -> LogEvent<'static> {
    LogEvent {
        event_id: id,
        id_origin: IdOrigin::Client,
        source: Cow::Borrowed("shop"),
        level: Level::Info,
        message: Cow::Borrowed("order placed"),
        timestamp: at,
        received_at: at,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

/// Sources that a careless comparison would confuse.
pub(crate) const SOURCES: [&str; 8] = ["shop", "Shop", "shop ", "shöp", "sh%p", "sh_p", "it's", "back\\slash"];

/// Parts of messages: pairs that differ only in case, some only under Unicode rules, and characters with a meaning in
/// query languages.
pub(crate) const PIECES: [&str; 40] = [
    "order",
    "ORDER",
    "straße",
    "STRASSE",
    "Straẞe",
    "σας",
    "ΣΑΣ",
    "σασ",
    "Σ",
    "ς",
    "\u{212a}elvin",
    "kelvin",
    "KELVIN",
    "é",
    "É",
    "e\u{301}",
    "İstanbul",
    "istanbul",
    "ısı",
    "ISI",
    "ﬁle",
    "FILE",
    "ǆ",
    "ǅ",
    "😀",
    "👩‍👩‍👧",
    "100%",
    "%",
    "a_b",
    "axb",
    "_",
    "it's",
    "'",
    "''",
    "\"quoted\"",
    "back\\slash",
    "\\%",
    "*?[a]",
    "\u{fffd}",
    "line\nbreak\ttab",
];

/// Trace ids, two of which differ only in their last bit.
pub(crate) const TRACES: [[u8; 16]; 4] = [
    [0; 16],
    [0xff; 16],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17],
];

pub(crate) fn message(seed: &mut Seed) -> String {
    let pieces: Vec<&str> = (0..=seed.below(3)).map(|_| *seed.pick(&PIECES)).collect();
    pieces.join(if seed.one_in(3) { "" } else { " " })
}

/// Events that share sources, levels, trace ids and times.
pub(crate) fn varied_events(seed: &mut Seed, count: usize) -> Vec<LogEvent<'static>> {
    (0..count)
        .map(|n| {
            // Few enough times that many events share one, and neighbours a microsecond apart.
            let timestamp = time(EPOCH + 1_000_000 * i64::try_from(seed.below(20)).unwrap_or(0) + seed.below(3) as i64);
            let metadata = match seed.below(3) {
                0 => None,
                1 => Some("{}".to_owned()),
                _ => Some(format!("{{\"n\":{n}}}")),
            };
            LogEvent {
                event_id: seed.id(),
                id_origin: if seed.one_in(2) { IdOrigin::Client } else { IdOrigin::Generated },
                source: Cow::Borrowed(*seed.pick(&SOURCES)),
                level: *seed.pick(&Level::ALL),
                message: Cow::Owned(message(seed)),
                timestamp,
                received_at: time(EPOCH + 60_000_000 + n as i64),
                stack_trace: seed.one_in(4).then(|| Cow::Owned(format!("at {n}\n  of {n}"))),
                trace_id: seed.one_in(2).then(|| *seed.pick(&TRACES)),
                span_id: seed.one_in(2).then(|| seed.number().to_le_bytes()),
                metadata: metadata.map(|json| Metadata::from_checked(Cow::Owned(json))),
            }
        })
        .collect()
}
