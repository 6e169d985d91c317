//! Names of fields as arguments: as they are, or in quotes as `spillway fields` prints them.

use std::str::FromStr;

/// Names of fields, separated by commas. A name with a comma is in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// The text is not a name of a field, or not a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a field: a name is not empty, and one that begins with a quote ends with a quote")]
pub struct InvalidName;

impl FromStr for Names {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (mut names, mut rest) = (Vec::new(), text);
        loop {
            let (name, behind) = match quoted(rest.trim_start()) {
                Some(quoted) => quoted?,
                None => {
                    let (name, behind) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                    (name.trim().to_owned(), behind)
                }
            };
            if name.is_empty() {
                return Err(InvalidName);
            }
            names.push(name);
            rest = match behind.strip_prefix(',') {
                Some(next) => next,
                None if behind.is_empty() => return Ok(Self(names)),
                None => return Err(InvalidName),
            };
        }
    }
}

/// The name of one field.
///
/// # Errors
/// The text is empty, or begins with a quote and does not end with one.
pub fn parse_name(text: &str) -> Result<String, InvalidName> {
    let (name, behind) = quoted(text).unwrap_or_else(|| Ok((text.to_owned(), "")))?;
    if name.is_empty() || !behind.is_empty() { Err(InvalidName) } else { Ok(name) }
}

/// The name in quotes that the text begins with, and what follows it; `None` if it does not begin with a quote.
fn quoted(text: &str) -> Option<Result<(String, &str), InvalidName>> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut name = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => return Some(Ok((name, chars.as_str().trim_start()))),
            '\\' if chars.as_str().starts_with(['"', '\\']) => name.extend(chars.next()),
            other => name.push(other),
        }
    }
    Some(Err(InvalidName))
}

#[cfg(test)]
mod tests {
    use application::search::written_name;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_separated_by_commas_and_those_in_quotes_may_have_one() {
        for (text, names) in [
            ("a", vec!["a"]),
            ("user.name, n", vec!["user.name", "n"]),
            (r#""user id",n"#, vec!["user id", "n"]),
            (r#"n,"a,b" , "say \"x\" \\ \d""#, vec!["n", "a,b", r#"say "x" \ \d"#]),
            (r#"a"b"#, vec![r#"a"b"#]),
        ] {
            assert_eq!(
                text.parse::<Names>().map(|names| names.0),
                Ok(names.iter().map(|name| (*name).to_owned()).collect())
            );
        }
        for text in ["", "a,", ",a", "a,,b", "\"a", "\"\"", "\"a\"b", "\"a\\\""] {
            assert_eq!(text.parse::<Names>(), Err(InvalidName), "{text}");
        }
    }

    #[test]
    fn one_name_may_have_commas() {
        assert_eq!(parse_name("a,b").as_deref(), Ok("a,b"));
        assert_eq!(parse_name(r#""a,b""#).as_deref(), Ok("a,b"));
        for text in ["", "\"a", "\"a\" b"] {
            assert_eq!(parse_name(text), Err(InvalidName), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_is_written(names in prop::collection::vec("[ -~ä]{1,8}", 1..4)) {
            let written: Vec<String> = names.iter().map(|name| written_name(name).into_owned()).collect();
            prop_assert_eq!(written.join(",").parse::<Names>().map(|names| names.0), Ok(names.clone()));
            for (name, written) in names.iter().zip(&written) {
                prop_assert_eq!(parse_name(written), Ok(name.clone()));
            }
        }
    }
}
