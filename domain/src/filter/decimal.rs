//! Numbers of any size, compared exactly.

use std::cmp::Ordering;

/// Maximum digits of an exponent. A text with more does not count as a number.
const EXPONENT_DIGITS_MAX: usize = 9;

/// A decimal number. JSON numbers beyond 2^53 lose digits as floating-point numbers, and ids are often that large.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    /// The value is 0.DIGITS times ten to this power.
    power: i64,
    /// Without zeros at either end; empty for zero.
    digits: String,
}

impl Decimal {
    /// The number that a text is: a JSON number, also with a plus sign or leading zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let (mantissa, exponent) = rest
            .split_once(['e', 'E'])
            .map_or((rest, 0), |(mantissa, exponent)| (mantissa, parse_exponent(exponent).unwrap_or(i64::MAX)));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let all_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(integer) || !all_digits(fraction) || exponent == i64::MAX {
            return None;
        }
        let digits = format!("{integer}{fraction}");
        let significant = digits.trim_start_matches('0');
        let leading_zeros = i64::try_from(digits.len() - significant.len()).ok()?;
        let power = i64::try_from(integer.len()).ok()? - leading_zeros + exponent;
        let significant = significant.trim_end_matches('0');
        let zero = significant.is_empty();
        Some(Self { negative: negative && !zero, power: if zero { 0 } else { power }, digits: significant.to_owned() })
    }

    /// The digits without zeros at either end; empty for zero.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The value is 0.DIGITS times ten to this power; 0 for zero.
    #[must_use]
    pub fn power(&self) -> i64 {
        self.power
    }

    /// Whether it is less than zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The number without an exponent, if that has at most `digits_max` digits. Every JSON text of the number without an
    /// exponent is this text, perhaps with a decimal point and zeros behind it.
    #[must_use]
    pub fn written_out(&self, digits_max: usize) -> Option<String> {
        let (sign, digits) = (if self.negative { "-" } else { "" }, self.digits.as_str());
        let Ok(power) = usize::try_from(self.power) else {
            let zeros = usize::try_from(self.power.unsigned_abs()).ok().filter(|zeros| *zeros <= digits_max)?;
            let text = format!("{sign}0.{}{digits}", "0".repeat(zeros));
            return (zeros + digits.len() <= digits_max).then_some(text);
        };
        if power.max(digits.len()) > digits_max {
            return None;
        }
        Some(match digits.split_at_checked(power) {
            _ if digits.is_empty() => "0".to_owned(),
            Some((_, "")) => format!("{sign}{digits}"),
            Some(("", fraction)) => format!("{sign}0.{fraction}"),
            Some((integer, fraction)) => format!("{sign}{integer}.{fraction}"),
            None => format!("{sign}{digits}{}", "0".repeat(power - digits.len())),
        })
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let usable = (1..=EXPONENT_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    usable.then(|| text.parse().ok()).flatten()
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        // Without zeros at the end, a shorter text of equal digits is the smaller number.
        let size = || self.power.cmp(&other.power).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| if self.negative { size().reverse() } else { size() })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn one_number_has_many_texts_and_large_ones_keep_their_digits() {
        for texts in [
            &["12345", "12345.0", "1.2345e4", "0.12345E+5", "123450e-1", "0012345", "+12345"][..],
            &["0", "-0", "0.000", "0e9"],
            &["-0.05", "-5e-2"],
        ] {
            assert!(texts.iter().all(|text| number(text) == number(texts[0])), "{texts:?}");
        }
        let ascending = [
            "-1e300",
            "-12",
            "-2",
            "-0.5",
            "0",
            "1e-9",
            "0.05",
            "0.5",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1e300",
            "1.1e300",
        ];
        assert!(ascending.iter().map(|text| number(text)).is_sorted_by(|one, next| one < next));
        for text in ["", "-", "abc", "1.", ".5", "1e", "1e1234567890", "0x10", "1 ", "１", "1.2.3", "--1", "NaN"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_written_out_within_a_number_of_digits() {
        for (text, digits_max, written) in [
            ("12345", 5, Some("12345")),
            ("12345", 4, None),
            ("1e4", 5, Some("10000")),
            ("1e4", 4, None),
            ("-1.50", 2, Some("-1.5")),
            ("-1.50", 1, None),
            ("0.5", 1, Some("0.5")),
            ("-5e-2", 2, Some("-0.05")),
            ("-5e-2", 1, None),
            ("5e-3", 2, None),
            ("-0e7", 0, Some("0")),
        ] {
            assert_eq!(number(text).written_out(digits_max).as_deref(), written, "{text} {digits_max}");
        }
        assert!(number("-5e-2").is_negative() && !number("5").is_negative() && !number("-0").is_negative());
        assert_eq!((number("-0.0120").digits(), number("0").digits()), ("12", ""));
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_numbers(one in any::<i64>(), other in any::<i64>(), shift in 0_u32..6) {
            prop_assert_eq!(number(&one.to_string()).cmp(&number(&other.to_string())), one.cmp(&other));
            let (whole, scaled) = (i64::from(shift) * 7 - 20, 10_i64.pow(shift));
            prop_assert_eq!(number(&format!("{}e-{shift}", whole * scaled)), number(&whole.to_string()));
        }

        #[test]
        fn a_number_written_out_is_that_number(digits in "[0-9]{1,6}", fraction in "[0-9]{1,4}", exponent in -8_i32..8) {
            let text = format!("-{digits}.{fraction}e{exponent}");
            let written = number(&text).written_out(24).expect("short");
            prop_assert_eq!(number(&written), number(&text));
            prop_assert!(!written.contains('e') && !written.starts_with("-."), "{}", written);
            // Its other texts without an exponent only have zeros behind it.
            let plain = format!("{digits}.{fraction}");
            let same = number(&plain).written_out(24).expect("short");
            prop_assert!(plain.trim_start_matches('0').starts_with(same.trim_start_matches('0')), "{} {}", plain, same);
        }
    }
}
