//! Times as numbers since 1970, in seconds, milliseconds, microseconds or nanoseconds, distinguished by their size.

use domain::timestamp::Timestamp;

use super::Time;

/// The time that a number of 10, 13, 16 or 19 digits at `from` is, perhaps with a fraction. It must be a word of its
/// own.
pub fn at(bytes: &[u8], from: usize) -> Option<Time> {
    let rest = bytes.get(from..)?;
    let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    if !matches!(digits, 10 | 13 | 16 | 19) {
        return None;
    }
    let fraction = match rest.get(digits..)? {
        [b'.', behind @ ..] => behind.iter().take(12).take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let length = if fraction > 0 { digits + 1 + fraction } else { digits };
    let ends = rest
        .get(length)
        .is_none_or(|byte| matches!(byte, b' ' | b'\t' | b']' | b')' | b',' | b'|' | b':' | b';' | b'>'));
    let text = std::str::from_utf8(rest.get(..length)?).ok()?;
    let instant = of_number(text).filter(|_| ends)?;
    Some(Time { instant: Some(instant), end: from + length, has_day: true })
}

/// The time that a decimal number is. A number below 100,000,000 (seconds of 1973) is a duration or a count, not a
/// time. Exponents are read, since libraries print large numbers so.
pub fn of_number(text: &str) -> Option<Timestamp> {
    // Most texts that are none begin otherwise.
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: usize =
        exponent.strip_prefix('+').unwrap_or(exponent).parse().ok().filter(|exponent| *exponent <= 18)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |digits: &str| digits.len() <= 40 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // The point moves by the exponent.
    let shifted = fraction.bytes().chain(std::iter::repeat(b'0')).take(exponent);
    let whole = whole
        .bytes()
        .chain(shifted)
        .try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit.saturating_sub(b'0'))))?;
    let digits = fraction.bytes().skip(exponent).chain(std::iter::repeat(b'0')).take(6);
    let fraction = digits.fold(0, |number, digit| number * 10 + i64::from(digit.saturating_sub(b'0')));
    let micros = match whole {
        100_000_000..100_000_000_000 => whole * 1_000_000 + fraction,
        100_000_000_000..100_000_000_000_000 => whole * 1_000 + fraction / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => whole,
        100_000_000_000_000_000.. => whole / 1_000,
        _ => return None,
    };
    Timestamp::from_unix_micros(micros).ok()
}

/// The time of whole seconds and nanoseconds since 1970.
pub fn of_seconds_and_nanos(seconds: i64, nanos: i64) -> Option<Timestamp> {
    Timestamp::from_unix_micros(seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)?).ok()
}
