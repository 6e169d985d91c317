//! Generated events of a chosen size, as a service would log them, the same in every run.

use std::fmt::Write;

/// Bytes of an event unless a scenario says otherwise: the size in the source document.
pub const EVENT_BYTES: usize = 225;
/// Events of a batch unless a scenario says otherwise.
pub const BATCH_EVENTS: usize = 100;

const WORDS: [&str; 24] = [
    "user",
    "login",
    "successful",
    "for",
    "session",
    "order",
    "placed",
    "cache",
    "miss",
    "on",
    "key",
    "retry",
    "after",
    "ms",
    "upstream",
    "answered",
    "payment",
    "accepted",
    "in",
    "region",
    "request",
    "completed",
    "with",
    "status",
];

/// A generator of events.
pub struct Events {
    state: u64,
    bytes: usize,
    level: &'static str,
    timestamp: String,
}

impl Events {
    /// Events of `bytes` bytes with this level and time.
    #[must_use]
    pub fn new(seed: u64, bytes: usize, level: &'static str, timestamp: &str) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, bytes, level, timestamp: timestamp.to_owned() }
    }

    /// Xorshift: any numbers suffice if they are reproducible.
    fn number(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// The next event of a source, as JSON.
    pub fn event(&mut self, source: &str) -> String {
        let (request, user, millis) = (self.number(), self.number() % 100_000, self.number() % 1_000);
        let mut event =
            format!(r#"{{"source":"{source}","level":"{}","timestamp":"{}","message":""#, self.level, self.timestamp);
        let mut tail =
            format!(r#"","metadata":{{"requestId":"{request:016x}","userId":"{user}","durationMs":{millis}}}}}"#);
        if event.len() + tail.len() >= self.bytes {
            tail = "\"}".to_owned();
        }
        let message_bytes = self.bytes.saturating_sub(event.len() + tail.len()).max(1);
        let end = event.len() + message_bytes;
        while event.len() < end {
            let word = WORDS[usize::try_from(self.number() % WORDS.len() as u64).expect("small")];
            event.push_str(word);
            event.push(' ');
        }
        event.truncate(end);
        event.push_str(&tail);
        event
    }

    /// A batch of one source, as a JSON array.
    pub fn batch(&mut self, source: &str, events: usize) -> String {
        self.mixed_batch(&[source], events)
    }

    /// A batch whose events have these sources in turn, as a JSON array.
    pub fn mixed_batch(&mut self, sources: &[impl AsRef<str>], events: usize) -> String {
        let mut batch = String::from("[");
        for (n, source) in sources.iter().cycle().take(events).enumerate() {
            let event = self.event(source.as_ref());
            write!(batch, "{}{event}", if n == 0 { "" } else { "," }).expect("memory");
        }
        batch.push(']');
        batch
    }

    /// A batch of one source, one event per line.
    pub fn lines(&mut self, source: &str, events: usize) -> String {
        (0..events).map(|_| self.event(source) + "\n").collect()
    }
}

/// Names of sources that are evenly distributed over the partitions of a topic.
#[must_use]
pub fn sources(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("checkout-{n:03}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_of_the_size_that_was_asked_for() {
        for bytes in [100, 225, 1_000, 10_000] {
            let mut events = Events::new(7, bytes, "INFO", "2026-01-01T00:00:00Z");
            for _ in 0..100 {
                let event = events.event("checkout-001");
                assert_eq!(event.len(), bytes, "{event}");
                assert!(serde_json::from_str::<serde_json::Value>(&event).is_ok(), "{event}");
            }
            let batch: Vec<serde_json::Value> = serde_json::from_str(&events.batch("s", 10)).expect("an array");
            assert_eq!(batch.len(), 10);
            assert_eq!(events.lines("s", 10).lines().count(), 10);
        }
    }
}
