//! The text form of labels, `{app="api", level="info"}`, with values quoted as in Go.

use crate::ingest::agents::loki::stream::Labels;

/// Reads labels. Of a text that has another form, all is kept under one name.
pub fn read(text: &str) -> Labels {
    let mut labels = Labels::new();
    if read_into(text, &mut labels).is_none() {
        labels = Labels::new();
        labels.add_unread(text);
    }
    labels
}

fn read_into(text: &str, labels: &mut Labels) -> Option<()> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let (value, behind) = quoted(value.trim_start())?;
        labels.add(name.trim(), &value);
        let behind = behind.trim_start();
        rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
        if rest.len() == behind.len() && !rest.is_empty() {
            return None;
        }
    }
    Some(())
}

/// The value of a quoted text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`')?;
        return Some((value.to_owned(), rest));
    }
    let mut chars = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'x' => code(&mut chars, 2)?,
                'u' => code(&mut chars, 4)?,
                'U' => code(&mut chars, 8)?,
                itself => itself,
            }),
            char => value.push(char),
        }
    }
}

/// The character of a number in so many hexadecimal digits.
fn code(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let mut number = 0_u32;
    for _ in 0..digits {
        number = number.checked_mul(16)? + chars.next()?.to_digit(16)?;
    }
    char::from_u32(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_unquoted() {
        for (text, value, rest) in
            [(r#""a\"b\n\u00e9\\" , x"#, "a\"b\né\\", " , x"), ("`a\"\\n`}", "a\"\\n", "}"), ("\"\"", "", "")]
        {
            assert_eq!(quoted(text), Some((value.to_owned(), rest)), "{text}");
        }
        for text in ["", "a", "\"a", "`a", "\"\\u00\"", "\"\\Uffffffff\""] {
            assert_eq!(quoted(text), None, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_labels() {
        for (text, is_read) in [
            (r#"{app="a", level="info"}"#, true),
            ("{}", true),
            (r#"{app="a",}"#, true),
            (r#"{app="a" level="b"}"#, false),
            ("app", false),
            ("{app}", false),
            ("{app=a}", false),
        ] {
            assert_eq!(read_into(text, &mut Labels::new()).is_some(), is_read, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_in_the_end(text in "[{}=,\"`\\\\a ]{0,40}") {
            read(&text);
        }
    }
}
