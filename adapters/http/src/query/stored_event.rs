//! How a stored event is written in answers.

use domain::query::StoredEvent;
use serde_json::json;

/// Writes a [`crate::openapi::schemas::StoredEventSchema`].
pub fn write_stored_event(stored: &StoredEvent, buffer: &mut Vec<u8>) {
    application::codec::write_value(&stored.event, buffer);
    buffer.pop();
    let place = json!({ "topic": stored.topic, "partition": stored.partition, "offset": stored.offset }).to_string();
    buffer.push(b',');
    buffer.extend_from_slice(place.strip_prefix('{').unwrap_or_default().as_bytes());
}

/// Writes an array of them.
pub fn write_events(events: &[StoredEvent], buffer: &mut Vec<u8>) {
    buffer.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        write_stored_event(event, buffer);
    }
    buffer.push(b']');
}
