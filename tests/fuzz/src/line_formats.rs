//! The lines of `spillway send` and of protocols that carry lines: any bytes become events that the domain accepts.

use domain::Uuid;
use domain::event::{EventDraft, IdOrigin};
use domain::event_input::{LevelInput, TimestampInput};
use domain::level::Level;
use domain::timestamp::Timestamp;
use formats::{Draft, Options, Origin, Reader};

/// 2024-01-15T10:30:00Z.
const NOW_MICROS: i64 = 1_705_314_600_000_000;

/// The numbers of the lines of an event.
struct Lines(Vec<usize>);

impl Origin for Lines {
    fn extend(&mut self, next: Self) {
        self.0.extend(next.0);
    }
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let now = Timestamp::from_unix_micros(NOW_MICROS).expect("in range");
    let mut reader = Reader::new(Options::default());
    let (mut lines, mut last_first) = (Vec::new(), None);
    let mut complete = |event: formats::Event<Lines>| {
        assert_valid(&event.draft, now);
        let first = event.origin.0.first().copied();
        assert!(first > last_first, "events are in the order of their first lines");
        last_first = first;
        lines.extend(event.origin.0);
    };
    for (index, line) in data.split(|byte| *byte == b'\n').enumerate() {
        reader.line(line, Lines(vec![index]), now, &mut complete);
    }
    reader.flush(&mut complete);
    assert!(!reader.holds_events());
    lines.sort_unstable();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "a line is in two events");
    for line in data.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        assert_valid(&formats::draft(line, &Options::default(), now), now);
    }
}

fn assert_valid(draft: &Draft, now: Timestamp) {
    let event = EventDraft {
        source: Some(draft.source.as_deref().unwrap_or("input").into()),
        level: Some(LevelInput::Parsed(draft.level.unwrap_or(Level::Info))),
        message: Some(draft.message.as_str().into()),
        timestamp: draft.time.map(|time| TimestampInput::Text(time.to_string().into())),
        event_id: draft.event_id.map(|id| id.to_string().into()),
        stack_trace: draft.stack_trace.as_deref().map(Into::into),
        trace_id: draft.trace_id.as_deref().map(Into::into),
        span_id: draft.span_id.as_deref().map(Into::into),
        metadata: draft.metadata.as_ref().map(|metadata| metadata.as_json().into()),
        unknown: Vec::new(),
    };
    let refused = event.validate(now, || (Uuid::from_u128(1), IdOrigin::Generated)).err();
    assert_eq!(refused, None, "{draft:?}");
}
