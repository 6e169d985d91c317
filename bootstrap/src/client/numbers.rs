//! Whole numbers as arguments: an error says which ones are allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Parses any whole number of a type.
///
/// # Errors
/// Any other text.
pub fn parse_number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "must be a whole number")
}

/// A parser of whole numbers of a range.
pub fn number_of<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse::<T>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_which_numbers_are_allowed() {
        assert_eq!(parse_number::<u64>("7"), Ok(7));
        assert_eq!(parse_number::<u32>("many"), Err("must be a whole number"));
        let context = number_of(0_u16..=500);
        assert_eq!(context("500"), Ok(500));
        for text in ["501", "-1", "many", "1.5", ""] {
            assert_eq!(context(text), Err("must be a whole number from 0 to 500".to_owned()), "{text}");
        }
    }
}
