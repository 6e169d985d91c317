//! The conditions on events that the commands share.

use std::str::FromStr;

use clap::builder::{NonEmptyStringValueParser, StringValueParser};
use clap::{Args, ValueHint};
use jiff::Zoned;

use super::failure::Failure;
use super::parameters::Parameters;
use super::times::{InvalidTime, TimeArgument};
use crate::suggested::{LEVEL_CONDITIONS, SINCE_TIMES, TIMES, suggested};

/// The beginning of the range of a command without `--since` and `--until`.
const SINCE_DEFAULT: Since = Since::Time(TimeArgument::Ago(1, 'h'));
/// The first matching event, as an argument and as a parameter of the API.
const FIRST: &str = "first";

/// Where a range of time begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// With the first matching event.
    First,
    /// At this time.
    Time(TimeArgument),
}

impl FromStr for Since {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        if text == FIRST { Ok(Self::First) } else { text.parse().map(Self::Time) }
    }
}

impl Since {
    /// The parameter of the API; `now` has the time zone of local times.
    ///
    /// # Errors
    /// The time is outside of the calendar.
    fn to_parameter(&self, now: &Zoned) -> Result<String, Failure> {
        match self {
            Self::First => Ok(FIRST.to_owned()),
            Self::Time(time) => time.to_parameter(now),
        }
    }
}

/// Conditions on events; all must hold.
#[derive(Args, Clone, Debug, Default)]
pub struct Filters {
    /// Condition in the query language, such as timeout level:ERROR, or '"card declined"' for a phrase; spillway query --help has the language
    #[arg(value_name = "QUERY", value_hint = ValueHint::Other)]
    pub query: Vec<String>,
    /// Source of the events; `*` stands for any characters, in any case. May be repeated; a comma is a part of the name
    #[arg(short, long, value_name = "NAME", value_hint = ValueHint::Other, value_parser = NonEmptyStringValueParser::new())]
    pub source: Vec<String>,
    /// Levels: ERROR,FATAL, or WARN+ for WARN and above
    #[arg(short, long, value_name = "LEVELS", hide_possible_values = true, value_parser = suggested(StringValueParser::new(), &LEVEL_CONDITIONS))]
    pub level: Vec<String>,
    /// Trace id of the events
    #[arg(short, long, value_name = "ID", value_hint = ValueHint::Other)]
    pub trace: Option<String>,
    /// Earliest time: 15m, 1h, today, yesterday, 2024-01-15, '2024-01-15 10:30', 2024-01-15T10:30:00Z, or first: that of the first matching event
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true, hide_possible_values = true, value_parser = suggested(Since::from_str, &SINCE_TIMES))]
    pub since: Option<Since>,
    /// Latest time, exclusive
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true, hide_possible_values = true, value_parser = suggested(TimeArgument::from_str, &TIMES))]
    pub until: Option<TimeArgument>,
}

impl Filters {
    /// The same conditions, on the last hour if they have no time.
    #[must_use]
    pub fn or_last_hour(&self) -> Self {
        let mut filters = self.clone();
        if filters.since.is_none() && filters.until.is_none() {
            filters.since = Some(SINCE_DEFAULT);
        }
        filters
    }

    /// The text of the query language: its words, with spaces between them. Empty if there is none.
    #[must_use]
    pub fn text(&self) -> String {
        // A text that an editor saved may begin with a byte order mark.
        self.query.join(" ").trim_start_matches('\u{feff}').to_owned()
    }

    /// Why nothing may have been found: a condition that is probably meant in another way.
    #[must_use]
    pub fn doubt(&self) -> Option<&'static str> {
        let has_quote = self.query.iter().any(|word| word.contains('\''));
        has_quote.then_some("-- single quotes are a part of the text; a phrase has double quotes: '\"card declined\"'")
    }

    /// The conditions as parameters of the API; `now` has the time zone of local times.
    ///
    /// # Errors
    /// A time is outside of the calendar.
    pub fn parameters(&self, now: &Zoned) -> Result<Parameters, Failure> {
        let mut parameters = Parameters::default();
        let query = self.text();
        parameters.add_some("query", Some(query.as_str()).filter(|query| !query.trim().is_empty()));
        self.source.iter().for_each(|source| parameters.add("source", source));
        self.level.iter().for_each(|level| parameters.add("level", level));
        parameters.add_some("traceId", self.trace.as_deref());
        if let Some(since) = &self.since {
            parameters.add("from", &since.to_parameter(now)?);
        }
        if let Some(until) = &self.until {
            parameters.add("to", &until.to_parameter(now)?);
        }
        Ok(parameters)
    }

    /// The range in words, such as ` of the last hour`; empty unless it ends now and has a length.
    #[must_use]
    pub fn range_in_words(&self) -> String {
        let Some(Since::Time(since)) = self.since.as_ref().filter(|_| self.until.is_none()) else {
            return String::new();
        };
        since.range_in_words().map(|words| format!(" of {words}")).unwrap_or_default()
    }
}

/// A condition among `arguments` that begins with a minus sign, such as `-source:cart`: it would be read as the option
/// `-s ource:cart`, and find nothing.
pub fn excluding_condition<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // An attached time, such as -S10:30, has a colon too.
    let is_condition = |argument: &&str| {
        let Some(condition) = argument.strip_prefix('-').filter(|rest| !rest.starts_with(['-', 'S', 'U'])) else {
            return false;
        };
        let continues_name = |char: char| char.is_alphanumeric() || "_@$./-".contains(char);
        let name_bytes = condition.find(|char| !continues_name(char)).unwrap_or(condition.len());
        name_bytes > 1 && condition.get(name_bytes..).is_some_and(|behind| behind.starts_with([':', '<', '>']))
    };
    arguments.into_iter().take_while(|argument| *argument != "--").find(is_condition)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::times::now;
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        filters: Filters,
    }

    fn filters(arguments: &[&str]) -> Filters {
        Arguments::try_parse_from([&["x"], arguments].concat()).unwrap().filters
    }

    #[test]
    fn conditions_become_parameters() {
        let all = ["-s", "a b", "-s", "c", "-l", "ERROR,FATAL", "-t", "4bf9", "-S", "-15m", "-U", "now-5m", "x:1 or y"];
        assert_eq!(
            filters(&all).parameters(&now(true)).unwrap().on("/l"),
            "/l?query=x%3A1%20or%20y&source=a%20b&source=c&level=ERROR%2CFATAL&traceId=4bf9&from=-15m&to=-5m"
        );
        assert_eq!(filters(&[""]).parameters(&now(true)), Ok(Parameters::default()));
        assert!(Arguments::try_parse_from(["x", "-S", "soon"]).is_err());
    }

    #[test]
    fn a_source_is_not_empty_and_may_have_commas() {
        assert!(Arguments::try_parse_from(["x", "-s", ""]).is_err());
        let read = filters(&["-s", "own,own2"]);
        assert_eq!(read.parameters(&now(true)).unwrap().on("/l"), "/l?source=own%2Cown2");
    }

    #[test]
    fn single_quotes_in_a_query_are_doubtful() {
        assert!(filters(&["source:'own'"]).doubt().is_some_and(|doubt| doubt.contains("double quotes")));
        assert_eq!(filters(&["-s", "own", "\"card declined\""]).doubt(), None);
    }

    #[test]
    fn a_byte_order_mark_before_a_query_is_left_out() {
        let read = filters(&["\u{feff}timeout", "level:ERROR"]);
        assert_eq!(read.text(), "timeout level:ERROR");
        assert_eq!(read.parameters(&now(true)).unwrap().on("/l"), "/l?query=timeout%20level%3AERROR");
    }

    #[test]
    fn a_range_may_begin_with_the_first_event_and_not_end_with_it() {
        let read = filters(&["-S", "first", "-U", "2d"]).or_last_hour();
        assert_eq!(read.parameters(&now(true)).unwrap().on("/l"), "/l?from=first&to=-2d");
        assert_eq!(filters(&["--since", "first"]).range_in_words(), "");
        assert!(Arguments::try_parse_from(["x", "-U", "first"]).is_err());
    }

    #[test]
    fn a_condition_with_a_minus_sign_is_not_taken_for_an_option() {
        for (arguments, found) in [
            (vec!["query", "-source:cart"], Some("-source:cart")),
            (vec!["query", "x", "-http.status>=500"], Some("-http.status>=500")),
            (vec!["query", "--", "-source:cart"], None),
            (vec!["query", "-s", "a:b", "-S10:30", "-n", "5", "-t", "x", "--url=http://x:1", "-"], None),
        ] {
            assert_eq!(excluding_condition(arguments.iter().copied()), found, "{arguments:?}");
        }
    }

    #[test]
    fn words_of_a_condition_need_no_quotes() {
        let read = filters(&["payment", "timeout", "-l", "ERROR"]);
        assert_eq!(read.parameters(&now(true)).unwrap().on("/l"), "/l?query=payment%20timeout&level=ERROR");
    }

    #[test]
    fn without_times_it_is_the_last_hour() {
        let of_last_hour = filters(&[]).or_last_hour();
        assert_eq!(of_last_hour.parameters(&now(true)).unwrap().on("/l"), "/l?from=-1h");
        assert_eq!(of_last_hour.range_in_words(), " of the last hour");
        let until = filters(&["-U", "2d"]).or_last_hour();
        assert_eq!(until.parameters(&now(true)).unwrap().on("/l"), "/l?to=-2d");
        assert_eq!(until.range_in_words(), "");
        assert_eq!(filters(&["-S", "2d"]).range_in_words(), " of the last 2 days");
    }
}
