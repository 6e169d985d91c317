//! The query language: any text is understood, or refused at a place within it.

use application::search::{CONDITIONS_MAX, DEPTH_MAX, QUERY_BYTES_MAX, parse_query};
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::timestamp::Timestamp;

/// 2024-01-15T10:30:00Z.
const NOW_MICROS: i64 = 1_705_314_600_000_000;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let now = Timestamp::from_unix_micros(NOW_MICROS).expect("in range");
    match parse_query(text, now) {
        Ok(filter) => {
            assert!(text.len() <= QUERY_BYTES_MAX);
            let size = size(&filter);
            assert!(size.conditions <= CONDITIONS_MAX, "{size:?}");
            // Lists of lists make at most three levels of a filter for one of a query.
            assert!(size.depth <= 3 * DEPTH_MAX + 3, "{size:?}");
            judge(&filter, now);
        }
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.position), "{error}");
            assert!(!error.expected.is_empty());
        }
    }
}

#[derive(Debug)]
struct Size {
    conditions: usize,
    depth: usize,
}

fn size(filter: &EventFilter) -> Size {
    let of_all = |filters: &[EventFilter]| {
        let sizes: Vec<Size> = filters.iter().map(size).collect();
        Size {
            conditions: sizes.iter().map(|size| size.conditions).sum(),
            depth: sizes.iter().map(|size| size.depth).max().unwrap_or(0) + 1,
        }
    };
    match filter {
        EventFilter::All(filters) | EventFilter::Any(filters) => of_all(filters),
        EventFilter::Not(filter) => of_all(std::slice::from_ref(filter)),
        EventFilter::Condition(_) => Size { conditions: 1, depth: 1 },
    }
}

/// A filter and its negation decide differently, and an exact clause without conditions decides as the filter does.
fn judge(filter: &EventFilter, now: Timestamp) {
    let metadata = r#"{"a":[1,"b",{"c":null}],"a.b":"*","http":{"status":5e2}}"#;
    let event = LogEvent {
        event_id: domain::Uuid::from_u128(7),
        id_origin: IdOrigin::Client,
        source: "a-b".into(),
        level: Level::Warn,
        message: "b: http://a".into(),
        timestamp: now,
        received_at: now,
        stack_trace: None,
        trace_id: Some([0xab; 16]),
        span_id: None,
        metadata: Metadata::parse(metadata).ok(),
    };
    let matches = filter.matches(&event);
    assert_ne!((!filter.clone()).matches(&event), matches);
    assert!(!matches || filter.time_range().contains(&now));
    let _ = filter.candidates();
}
