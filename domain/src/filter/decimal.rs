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

    /// The digits without zeros at either end; empty for zero. Every JSON text of the number contains them, with at most
    /// a decimal point between two of them.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
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

    proptest! {
        #[test]
        fn the_order_is_that_of_the_numbers(one in any::<i64>(), other in any::<i64>(), shift in 0_u32..6) {
            prop_assert_eq!(number(&one.to_string()).cmp(&number(&other.to_string())), one.cmp(&other));
            let (whole, scaled) = (i64::from(shift) * 7 - 20, 10_i64.pow(shift));
            prop_assert_eq!(number(&format!("{}e-{shift}", whole * scaled)), number(&whole.to_string()));
        }

        #[test]
        fn every_text_contains_the_digits(integer in 0_u32..100_000, fraction in 0_u32..1_000, exponent in -3_i32..3) {
            let text = format!("{integer}.{fraction:03}e{exponent}");
            let digits = number(&text).digits().to_owned();
            let whole = text.replace('.', "");
            prop_assert!(whole.contains(&digits), "{} {}", text, digits);
        }
    }
}
