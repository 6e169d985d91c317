//! Where the next page of a query begins, as an opaque text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Uuid;
use domain::query::PageKey;
use domain::timestamp::Timestamp;

/// Version of the layout; a cursor of another one is refused.
const VERSION: u8 = 1;

/// Writes a cursor.
pub fn write(key: &PageKey) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&key.timestamp.unix_micros().to_be_bytes());
    bytes.extend_from_slice(key.event_id.as_bytes());
    bytes.extend_from_slice(&key.received_at.unix_micros().to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor; `None` if it is not one of ours.
pub fn read(cursor: &str) -> Option<PageKey> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let rest = bytes.strip_prefix(&[VERSION])?;
    let (timestamp, rest) = rest.split_first_chunk::<8>()?;
    let (event_id, rest) = rest.split_first_chunk::<16>()?;
    let received_at: &[u8; 8] = rest.try_into().ok()?;
    Some(PageKey {
        timestamp: Timestamp::from_unix_micros(i64::from_be_bytes(*timestamp)).ok()?,
        event_id: Uuid::from_bytes(*event_id),
        received_at: Timestamp::from_unix_micros(i64::from_be_bytes(*received_at)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was_and_other_text_is_refused(
            times in (Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros(), Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros()),
            event_id in any::<u128>(),
            garbage in "[A-Za-z0-9_-]{0,60}",
        ) {
            let key = PageKey {
                timestamp: Timestamp::from_unix_micros(times.0).expect("in range"),
                event_id: Uuid::from_u128(event_id),
                received_at: Timestamp::from_unix_micros(times.1).expect("in range"),
            };
            let cursor = write(&key);
            prop_assert_eq!(read(&cursor), Some(key));
            prop_assert_eq!(read(&cursor[1..]), None);
            if let Some(key) = read(&garbage) {
                prop_assert_eq!(write(&key), garbage);
            }
        }
    }
}
