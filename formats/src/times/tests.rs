//! Tables of times.

use super::*;

/// 2026-11-29T07:00:00Z.
const NOW: i64 = 1_795_935_600_000_000;

fn clock() -> Clock<'static> {
    Clock { zone: &Zone::UTC, now: Timestamp::from_unix_micros(NOW).unwrap() }
}

fn utc(text: &str) -> Option<String> {
    whole(text, clock()).map(|time| time.to_string())
}

#[test]
fn times_of_every_form_are_read() {
    for (text, expected) in [
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
        ("2024-01-15t10:30:00z", "2024-01-15T10:30:00Z"),
        ("2024-01-15 10:30:00,250", "2024-01-15T10:30:00.25Z"),
        ("2024-01-15 10:30", "2024-01-15T10:30:00Z"),
        ("2024-01-15, 10:30:00 UTC", "2024-01-15T10:30:00Z"),
        ("2024-01-15\t10:30:00", "2024-01-15T10:30:00Z"),
        ("2024/01/15 10:30:00.123456789", "2024-01-15T10:30:00.123456Z"),
        ("2024.01.15 10:30:00", "2024-01-15T10:30:00Z"),
        ("15.01.2024 10:30:00", "2024-01-15T10:30:00Z"),
        ("15/01/2024 10:30:00", "2024-01-15T10:30:00Z"),
        ("01/15/2024 10:30:00", "2024-01-15T10:30:00Z"),
        ("1/15/24, 10:30:00 PM", "2024-01-15T22:30:00Z"),
        ("15-Jan-2024 10:30:00.5", "2024-01-15T10:30:00.5Z"),
        ("15/Jan/2024:10:30:00 +0100", "2024-01-15T09:30:00Z"),
        ("15 Jan 2024 10:30:00.123", "2024-01-15T10:30:00.123Z"),
        ("4-Mar-2024::10:30:00.1", "2024-03-04T10:30:00.1Z"),
        ("Mon, 15 Jan 2024 10:30:00 GMT", "2024-01-15T10:30:00Z"),
        ("Monday, 15-Jan-24 10:30:00 GMT", "2024-01-15T10:30:00Z"),
        ("Mon Jan 15 10:30:00 2024", "2024-01-15T10:30:00Z"),
        ("Mon Jan 15 10:30:00.123456 2024", "2024-01-15T10:30:00.123456Z"),
        ("Mon Jan 15 10:30:00 CET 2024", "2024-01-15T09:30:00Z"),
        ("Mon Jan 15 10:30:00 PM UTC 2024", "2024-01-15T22:30:00Z"),
        ("Mon 15 Jan 2024 10:30:00 PM UTC", "2024-01-15T22:30:00Z"),
        ("Mon Jan 15 2024 10:30:00 GMT+0100 (Central European Standard Time)", "2024-01-15T09:30:00Z"),
        ("Jan 15, 2024 12:05:00 AM", "2024-01-15T00:05:00Z"),
        ("2024-01-15 13:30:00 PM", "2024-01-15T13:30:00Z"),
        ("1/15/2024 0:05:00 AM", "2024-01-15T00:05:00Z"),
        ("January 15, 2024 10:30:00", "2024-01-15T10:30:00Z"),
        ("20240115T103000Z", "2024-01-15T10:30:00Z"),
        ("20240115 10:30:00.5", "2024-01-15T10:30:00.5Z"),
        ("20240115103000", "2024-01-15T10:30:00Z"),
        ("240115 10:30:00", "2024-01-15T10:30:00Z"),
        ("240115  9:30:00", "2024-01-15T09:30:00Z"),
        ("2024-01-15 10:30:00 -0530", "2024-01-15T16:00:00Z"),
        ("2024-01-15 10:30:00+01", "2024-01-15T09:30:00Z"),
        ("2024-07-15 10:30:00 Europe/Berlin", "2024-07-15T08:30:00Z"),
        ("2024-01-15 10:30:00 America/New_York", "2024-01-15T15:30:00Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("1705314600", "2024-01-15T10:30:00Z"),
        ("1705314600.25", "2024-01-15T10:30:00.25Z"),
        ("1705314600123", "2024-01-15T10:30:00.123Z"),
        ("1705314600123456", "2024-01-15T10:30:00.123456Z"),
        ("1705314600123456789", "2024-01-15T10:30:00.123456Z"),
        // Without a year: the latest that is no more than a day ahead.
        ("Nov 30 06:59:59", "2026-11-30T06:59:59Z"),
        ("Nov 30 07:00:01", "2025-11-30T07:00:01Z"),
        ("Jan  5 10:30:00", "2026-01-05T10:30:00Z"),
        ("Feb 29 10:30:00", "2024-02-29T10:30:00Z"),
        ("15 Jan 10:30:00", "2026-01-15T10:30:00Z"),
        ("01-15 10:30:00.123", "2026-01-15T10:30:00.123Z"),
    ] {
        assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_known_is_no_time() {
    for text in [
        "",
        "10:30:00",
        "2024-01-15",
        "2024-02-30 10:30:00",
        "2024-13-01 10:30:00",
        "2024-01-15T25:30:00Z",
        "2024-01-15T10:30:00+25:00",
        "03/04/2024 10:30:00",
        "15:30:00 PM",
        "2024-01-15 13:30:00 AM",
        "2024-01-15 0:30:00 PM",
        "1234567",
        "12345678901",
        "192.168.0.1 10:30:00",
        "1.2.3 10:30:00",
        "May I",
        "Sunday 10:30",
        "2024-01-15T10:30:00Z and more",
    ] {
        assert_eq!(utc(text), None, "{text}");
    }
}

#[test]
fn words_behind_a_time_are_zones_only_if_they_are() {
    for (text, expected) in [
        ("2024-01-15 10:30:00 API x", 19),
        ("2024-01-15 10:30:00 CET x", 23),
        ("2024-01-15 10:30:00 W | x", 19),
        ("2024-01-15 10:30:00 - x", 19),
        ("2024-01-15 10:30:00 +0100 x", 25),
        ("2024-01-15 10:30:00 Z x", 21),
        ("2024-01-15 10:30:00 Server/WARN x", 19),
        ("2024-01-15 10:30:00 EST-5 x", 19),
    ] {
        assert_eq!(at(text, 0, clock()).map(|time| time.end), Some(expected), "{text}");
    }
}

#[test]
fn days_are_those_of_the_calendar() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T00:00:00Z", 951_782_400),
        ("1999-12-31T00:00:00Z", 946_598_400),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
    ] {
        assert_eq!(whole(text, clock()).unwrap().unix_micros(), seconds * 1_000_000, "{text}");
    }
}

proptest::proptest! {
    /// The domain reads RFC 3339 with another library.
    #[test]
    fn rfc_3339_means_the_same_to_the_domain(micros in Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros()) {
        let time = Timestamp::from_unix_micros(micros).unwrap();
        proptest::prop_assert_eq!(whole(&time.to_string(), clock()), Some(time));
        let within_line = at(&time.to_string(), 0, clock()).and_then(|time| time.instant);
        proptest::prop_assert_eq!(within_line, Some(time));
        let year = days::year_of(micros.div_euclid(DAY_MICROS));
        let begin = format!("{year:04}-");
        proptest::prop_assert!(time.to_string().starts_with(&begin));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[0-9A-Za-zäZ:/. ,+\\-\\[\\]]{0,40}", from in 0_usize..50) {
        let time = at(&text, from, clock());
        proptest::prop_assert!(time.is_none_or(|time| time.end > from && time.end <= text.len()));
    }
}
