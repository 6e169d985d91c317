//! What a client asks for: parameters, times and the query language, as a filter.

mod condition;
mod foreign;
mod hints;
mod language;
mod times;
mod words;

use std::collections::BTreeSet;

use domain::access::Tenant;
use domain::event::from_hex;
use domain::filter::{Condition, EventFilter, Pattern};
use domain::stats::GroupBy;
use domain::timestamp::Timestamp;

pub(crate) use self::condition::name_in_query;
pub use self::hints::HINTS_MAX;
pub use self::language::{CONDITIONS_MAX, DEPTH_MAX, InvalidQuery, QUERY_BYTES_MAX, parse_query};
pub use self::times::{TimeInput, parse_duration};
pub use self::words::written_name;

/// Maximum length of a search text (`q`), in bytes.
pub const SEARCH_TEXT_BYTES_MAX: usize = 1_024;
/// Maximum sources of one search.
pub const SOURCES_MAX: usize = 100;

/// What `from` says if it means the first event.
const FIRST: &str = "first";

/// The parameters of a search; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// A text of the query language.
    pub query: Option<String>,
    /// Part of the message, in any case.
    pub q: Option<String>,
    /// One of these sources: exactly, or with `*` for any characters in any case; `\*` is a star.
    pub sources: Vec<String>,
    /// One of these levels; each text is a list, and `WARN+` means WARN and above.
    pub levels: Vec<String>,
    /// Earliest timestamp, inclusive; or `first`, that of the first event.
    pub from: Option<String>,
    /// Latest timestamp, exclusive.
    pub to: Option<String>,
    /// The trace id.
    pub trace_id: Option<String>,
}

/// Why the parameters of a search are not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// A parameter breaks its rule.
    #[error("{parameter} {rule}")]
    Invalid {
        /// The parameter.
        parameter: &'static str,
        /// The rule that it must satisfy.
        rule: String,
    },
    /// The text of the query language is not understood.
    #[error("query {0}")]
    Language(#[from] InvalidQuery),
}

/// A search that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Which events, apart from their timestamps.
    pub conditions: EventFilter,
    /// Earliest timestamp, inclusive.
    pub from: Option<TimeInput>,
    /// Latest timestamp, exclusive.
    pub to: Option<TimeInput>,
    /// Whether it begins with the first matching event, also where a search without `from` would begin later.
    pub since_first: bool,
    now: Timestamp,
}

impl Parameters {
    /// The search that they mean.
    ///
    /// # Errors
    /// The first parameter that breaks a rule.
    pub fn search(&self, now: Timestamp) -> Result<Search, SearchError> {
        let mut all = Vec::new();
        if let Some(query) = &self.query {
            all.push(parse_query(query, now)?);
        }
        if let Some(text) = &self.q {
            if text.is_empty() || text.len() > SEARCH_TEXT_BYTES_MAX {
                return Err(invalid("q", format!("must have 1 to {SEARCH_TEXT_BYTES_MAX} bytes")));
            }
            all.push(EventFilter::message(text));
        }
        all.extend(self.sources()?);
        all.extend(self.levels()?);
        if let Some(id) = &self.trace_id {
            let id =
                from_hex::<16>(id).ok_or_else(|| invalid("traceId", "must have 32 hexadecimal digits".to_owned()))?;
            all.push(EventFilter::trace(id));
        }
        let time = |parameter, text: &Option<String>| text.as_ref().map(|text| time(parameter, text, now)).transpose();
        let since_first = self.from.as_deref() == Some(FIRST);
        let from = if since_first { None } else { time("from", &self.from)? };
        let to = time("to", &self.to)?;
        let search = Search { conditions: EventFilter::All(all), from, to, since_first, now };
        if let (Some(from), Some(to)) = (search.from(), search.to())
            && from > to
        {
            return Err(invalid("from", "must not be after to".to_owned()));
        }
        Ok(search)
    }

    fn sources(&self) -> Result<Option<EventFilter>, SearchError> {
        if self.sources.len() > SOURCES_MAX {
            return Err(invalid("source", format!("must not be given more than {SOURCES_MAX} times")));
        }
        // In order and once each: who asks the same in another order asks the same.
        let sources: BTreeSet<&String> = self.sources.iter().collect();
        let mut filters: Vec<EventFilter> = sources.into_iter().map(|source| source_condition(source)).collect();
        Ok(match filters.len() {
            0 => None,
            1 => filters.pop(),
            _ => Some(EventFilter::Any(filters)),
        })
    }

    fn levels(&self) -> Result<Option<EventFilter>, SearchError> {
        let mut levels = BTreeSet::new();
        for text in self.levels.iter().flat_map(|list| list.split(',')) {
            let text = text.trim_start();
            // A plus sign that was not escaped in a URL arrives as a space.
            let text = text.strip_suffix(' ').map_or_else(|| text.to_owned(), |level| format!("{level}+"));
            levels.extend(condition::levels_of(&text).ok_or_else(|| {
                let names = condition::LEVELS;
                invalid("level", format!("must be {names}; WARN+ also means all above, and commas separate several"))
            })?);
        }
        Ok((!self.levels.is_empty()).then(|| EventFilter::levels(levels)))
    }
}

/// What a source of the parameter means. Only `\*` has a meaning: other backslashes belong to the names of sources.
fn source_condition(text: &str) -> EventFilter {
    let mut between_wildcards = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let char = match char {
            '*' => {
                between_wildcards.push(String::new());
                continue;
            }
            '\\' => chars.next_if_eq(&'*').unwrap_or(char),
            char => char,
        };
        if let Some(last) = between_wildcards.last_mut() {
            last.push(char);
        }
    }
    match between_wildcards.as_slice() {
        [source] => EventFilter::source(source),
        several => Condition::Source(Pattern::new(several)).into(),
    }
}

fn time(parameter: &'static str, text: &str, now: Timestamp) -> Result<TimeInput, SearchError> {
    // A plus sign that was not escaped in a URL arrives as a space.
    let time = TimeInput::parse(text).or_else(|| TimeInput::parse(&text.replace(' ', "+")));
    let time = time.filter(|input| input.resolve(now).is_some());
    time.ok_or_else(|| invalid(parameter, format!("must be {}", times::expected_time(text))))
}

impl Search {
    /// A search for all events that match a filter.
    #[must_use]
    pub fn of(conditions: EventFilter) -> Self {
        Self { conditions, from: None, to: None, since_first: false, now: Timestamp::MIN }
    }

    /// The same search among the events that a tenant may read; all, unless there is one.
    #[must_use]
    pub fn of_tenant(mut self, tenant: Option<&Tenant>) -> Self {
        if let Some(tenant) = tenant {
            self.conditions = self.conditions.and(EventFilter::within(&tenant.sources));
        }
        self
    }

    /// Earliest timestamp, inclusive.
    #[must_use]
    pub fn from(&self) -> Option<Timestamp> {
        self.from.and_then(|time| time.resolve(self.now))
    }

    /// Latest timestamp, exclusive.
    #[must_use]
    pub fn to(&self) -> Option<Timestamp> {
        self.to.and_then(|time| time.resolve(self.now))
    }

    /// The conditions and the range of timestamps.
    #[must_use]
    pub fn filter(&self) -> EventFilter {
        self.conditions.clone().and(EventFilter::between(self.from(), self.to()))
    }

    /// What may be meant instead, if the search finds nothing: at most [`HINTS_MAX`] sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        hints::of(&self.conditions)
    }

    /// A text that is the same for searches that ask the same, at whatever time. Those of different tenants do not.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{:?}", (&self.conditions, self.from, self.to, self.since_first))
    }
}

fn invalid(parameter: &'static str, rule: String) -> SearchError {
    SearchError::Invalid { parameter, rule }
}

/// What a name of a field says to count by: `level`, `source`, `traceId`, or a name in metadata. `None` for the other fields of an
/// event, which differ in almost every event.
#[must_use]
pub fn group_by(name: &str) -> Option<GroupBy> {
    match name {
        "level" => Some(GroupBy::Level),
        "source" => Some(GroupBy::Source),
        "traceId" => Some(GroupBy::TraceId),
        "message" | "stackTrace" | "timestamp" | "receivedAt" | "eventId" | "spanId" => None,
        _ => condition::metadata_name(name).map(|name| GroupBy::Metadata(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
