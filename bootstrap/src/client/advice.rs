//! What a refusal means for someone who typed a command.
//!
//! * The server names its parameters; a message has the options instead.
//! * A fault of a query is shown under the text that the arguments make together.
//! * What other programs call an option leads to the option that does the same here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::escape::escaped;

/// Parameters of the API, and the options for them.
const OPTIONS: [(&str, &str); 10] = [
    ("from", "--since"),
    ("to", "--until"),
    ("source", "--source"),
    ("level", "--level"),
    ("traceId", "--trace"),
    ("limit", "--limit"),
    ("interval", "--interval"),
    ("by", "--by"),
    ("field", "FIELD"),
    ("topic", "--topic"),
];
/// Characters of a query that are shown on each side of its fault.
const SHOWN_CHARS: usize = 50;
/// The commands that select events or dead letters.
const READING: &[&str] = &["query", "tail", "stats", "fields", "values", "dlq"];
/// Commands, options of other programs, and what to write instead.
const FOREIGN: [(&[&str], &[&str], &str); 4] = [
    (READING, &["--last", "--from", "--start", "--begin"], "the earliest time is -S, --since, such as -S 1h"),
    (READING, &["--to", "--end"], "the latest time is -U, --until, such as -U 15m"),
    (&["tail"], &["-f", "--follow"], "spillway tail follows without it"),
    (&["query"], &["-f", "--follow"], "spillway tail follows events"),
];

/// A message of the server with the option in the place of its parameter.
#[must_use]
pub fn with_option(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("from must not be after to") {
        return format!("--since must not be after --until{rest}");
    }
    let named = OPTIONS.iter().find_map(|(parameter, option)| {
        let rest = message.strip_prefix(parameter).filter(|rest| rest.starts_with([' ', ':']))?;
        Some(format!("{option}{rest}"))
    });
    named.unwrap_or_else(|| message.to_owned())
}

/// The message about a fault of this query, and the query with a mark under it.
#[must_use]
pub fn with_place(message: &str, position: usize, query: &str) -> String {
    let place = marked(query, position);
    // The person may have typed the quotes that the message asks for.
    let of_shell = if message.contains("in quotes") && !query.contains('"') {
        "\nThe shell removes quotes. To keep those of a phrase, put the query in single quotes: '\"error: timeout\"'"
    } else {
        ""
    };
    format!("{message}\n{place}{of_shell}")
}

/// The query around a character, counted from 1, and a mark under it.
fn marked(query: &str, position: usize) -> String {
    let at = position.saturating_sub(1);
    let from = at.saturating_sub(SHOWN_CHARS);
    let before: String = query.chars().skip(from).take(at - from).collect();
    let behind: String = query.chars().skip(at).take(SHOWN_CHARS).collect();
    let dots = |is_cut| if is_cut { "…" } else { "" };
    let before = format!("    {}{}", dots(from > 0), escaped(&before));
    let end = dots(query.chars().nth(at.saturating_add(SHOWN_CHARS)).is_some());
    let mark = " ".repeat(before.chars().count());
    format!("{before}{}{end}\n{mark}^", escaped(&behind))
}

/// What to write instead of an option that other programs have, if that is why the `arguments` of the process are refused.
#[must_use]
pub fn foreign_option(arguments: &[String], error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let command = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'))?;
    let is_meant = |commands: &[&str], options: &[&str]| {
        commands.contains(&command.as_str()) && options.contains(&option.as_str())
    };
    let (_, _, instead) = FOREIGN.iter().find(|(commands, options, _)| is_meant(commands, options))?;
    (error.kind() == ErrorKind::UnknownArgument).then(|| format!("{option} is not an option here: {instead}"))
}

#[cfg(test)]
mod tests {
    use super::super::escape::is_unsafe;
    use super::*;

    #[test]
    fn messages_name_options() {
        for (message, expected) in [
            ("from must not be after to (400 Bad Request)", "--since must not be after --until (400 Bad Request)"),
            ("interval must make at most 1000 buckets", "--interval must make at most 1000 buckets"),
            ("by: must be level", "--by: must be level"),
            ("traceId must have 32 hexadecimal digits", "--trace must have 32 hexadecimal digits"),
            ("fromage is not a parameter here", "fromage is not a parameter here"),
            ("query at character 1: expected x", "query at character 1: expected x"),
        ] {
            assert_eq!(with_option(message), expected);
        }
    }

    #[test]
    fn a_fault_is_shown_under_the_query() {
        let message = "query at character 7: expected a value; to look for the text, write it in quotes";
        let lines = [
            message,
            "    error: timeout",
            "          ^",
            "The shell removes quotes. To keep those of a phrase, put the query in single quotes: '\"error: timeout\"'",
        ];
        assert_eq!(with_place(message, 7, "error: timeout"), lines.join("\n"));
        for (position, query, place) in [
            (3, "\u{e4}\u{1b}(", "    \u{e4}\\x1b(\n         ^"),
            (16, "(\"card declined", "    (\"card declined\n                   ^"),
        ] {
            assert_eq!(with_place("x", position, query), format!("x\n{place}"));
        }
    }

    #[test]
    fn of_a_long_query_the_part_with_the_fault_is_shown() {
        let query = format!("{}!{}", "a ".repeat(300), "b ".repeat(300));
        let place = marked(&query, 601);
        let (shown, mark) = place.split_once('\n').unwrap();
        assert!(shown.starts_with("    …a a ") && shown.ends_with(" b…"), "{shown}");
        assert_eq!(shown.chars().nth(mark.chars().count() - 1), Some('!'), "{place}");
        for position in [0, 1, usize::MAX] {
            assert!(marked(&query, position).chars().count() < 300);
            assert!(!marked("\u{202e}\x1b[2J", position).replace('\n', "").contains(is_unsafe));
        }
    }

    #[test]
    fn options_of_other_programs_lead_to_those_here() {
        let command = clap::Command::new("spillway")
            .subcommand(clap::Command::new("tail").arg(clap::Arg::new("query").num_args(0..)))
            .subcommand(clap::Command::new("key"));
        let instead = |arguments: &str| {
            let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
            let error = command.clone().try_get_matches_from(&arguments).unwrap_err();
            foreign_option(&arguments, &error)
        };
        let said = instead("spillway tail --last 1h").unwrap();
        assert_eq!(said, "--last is not an option here: the earliest time is -S, --since, such as -S 1h");
        assert!(instead("spillway tail x --from=1h").unwrap().contains("--since"));
        assert!(instead("spillway tail -f").unwrap().contains("follows without it"));
        assert_eq!(instead("spillway tail --lost"), None);
        assert_eq!(instead("spillway key --from x"), None);
        assert_eq!(instead("spillway tale"), None);
    }
}
