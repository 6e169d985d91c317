//! Where the next page of a query begins, as an opaque text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Uuid;
use domain::query::{Direction, Order, PageKey, Ties};
use domain::timestamp::Timestamp;

/// Version of the layout; a cursor of another one is refused.
const VERSION: u8 = 2;
/// The bit of the order that stands for [`Direction::OldestFirst`].
const OLDEST_FIRST: u8 = 1;
/// The bit of the order that stands for [`Ties::Arrival`].
const BY_ARRIVAL: u8 = 2;

/// Writes a cursor: a position in an order.
pub fn write(order: Order, key: &PageKey) -> String {
    let oldest_first = if order.direction == Direction::OldestFirst { OLDEST_FIRST } else { 0 };
    let by_arrival = if order.ties == Ties::Arrival { BY_ARRIVAL } else { 0 };
    let mut bytes = vec![VERSION, oldest_first | by_arrival];
    bytes.extend_from_slice(&key.timestamp.unix_micros().to_be_bytes());
    bytes.extend_from_slice(key.event_id.as_bytes());
    bytes.extend_from_slice(&key.received_at.unix_micros().to_be_bytes());
    bytes.extend_from_slice(&key.partition.to_be_bytes());
    bytes.extend_from_slice(&key.offset.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor; `None` if it is not one of ours.
pub fn read(cursor: &str) -> Option<(Order, PageKey)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let rest = bytes.strip_prefix(&[VERSION])?;
    let (order, rest) = rest.split_first()?;
    if order & !(OLDEST_FIRST | BY_ARRIVAL) != 0 {
        return None;
    }
    let (timestamp, rest) = rest.split_first_chunk::<8>()?;
    let (event_id, rest) = rest.split_first_chunk::<16>()?;
    let (received_at, rest) = rest.split_first_chunk::<8>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let offset: &[u8; 8] = rest.try_into().ok()?;
    let order = Order {
        direction: if order & OLDEST_FIRST == 0 { Direction::NewestFirst } else { Direction::OldestFirst },
        ties: if order & BY_ARRIVAL == 0 { Ties::EventId } else { Ties::Arrival },
    };
    let key = PageKey {
        timestamp: Timestamp::from_unix_micros(i64::from_be_bytes(*timestamp)).ok()?,
        event_id: Uuid::from_bytes(*event_id),
        received_at: Timestamp::from_unix_micros(i64::from_be_bytes(*received_at)).ok()?,
        partition: u32::from_be_bytes(*partition),
        // Stores keep offsets as signed numbers.
        offset: Some(u64::from_be_bytes(*offset)).filter(|offset| i64::try_from(*offset).is_ok())?,
    };
    Some((order, key))
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
            place in (any::<u32>(), 0..=i64::MAX.unsigned_abs()),
            order in (any::<bool>(), any::<bool>()),
            garbage in "[A-Za-z0-9_-]{0,80}",
        ) {
            let key = PageKey {
                timestamp: Timestamp::from_unix_micros(times.0).expect("in range"),
                event_id: Uuid::from_u128(event_id),
                received_at: Timestamp::from_unix_micros(times.1).expect("in range"),
                partition: place.0,
                offset: place.1,
            };
            let order = Order {
                direction: if order.0 { Direction::NewestFirst } else { Direction::OldestFirst },
                ties: if order.1 { Ties::EventId } else { Ties::Arrival },
            };
            let cursor = write(order, &key);
            prop_assert_eq!(read(&cursor), Some((order, key)));
            prop_assert_eq!(read(&cursor[1..]), None);
            if let Some((order, key)) = read(&garbage) {
                prop_assert_eq!(write(order, &key), garbage);
            }
        }
    }
}
