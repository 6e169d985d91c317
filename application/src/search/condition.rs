//! Conditions on one field: what a name, an operator and a value mean together.

use std::borrow::Cow;
use std::collections::BTreeSet;

use domain::filter::{
    Comparison, Condition, Decimal, EventFilter, IdField, Literal, NAME_PARTS_MAX, Pattern, TimeField, ValueTest,
};
use domain::level::Level;
use domain::timestamp::Timestamp;

use super::foreign;
use super::times::{TimeInput, ZONED_TIME_FORM, expected_time, lacks_zone};

/// Maximum bytes of a name in metadata.
const NAME_BYTES_MAX: usize = 256;
/// Begins the name of a value in metadata, for a member that is called like a field of the event.
const METADATA_PREFIX: &str = "metadata.";
/// Microseconds from the beginning of a day to its last moment.
const LAST_OF_DAY_MICROS: i64 = 24 * 3_600 * 1_000_000 - 1;
/// The fields of an event: a member of the metadata with such a name has the prefix in a query.
pub(super) const EVENT_FIELDS: [&str; 9] =
    ["level", "source", "message", "stackTrace", "timestamp", "receivedAt", "eventId", "traceId", "spanId"];
/// The levels, for errors.
pub(super) const LEVELS: &str = "TRACE, DEBUG, INFO, WARN, ERROR or FATAL";

/// What stands between a field and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// Equality; for texts in which a search makes sense, containment.
    Equals,
    /// A comparison.
    Compares(Comparison),
}

impl Operator {
    /// The operator that a text is; empty is equality.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Equals),
            "<" => Some(Self::Compares(Comparison::Less)),
            "<=" => Some(Self::Compares(Comparison::AtMost)),
            ">" => Some(Self::Compares(Comparison::Greater)),
            ">=" => Some(Self::Compares(Comparison::AtLeast)),
            _ => None,
        }
    }
}

/// A value as it is written in a query.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// The texts between its wildcards.
    pub(super) between_wildcards: Vec<String>,
    /// Whether it is in quotes.
    pub(super) quoted: bool,
}

impl Word {
    /// The text, unless it has a wildcard.
    fn text(&self) -> Option<&str> {
        match self.between_wildcards.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }
}

/// The name of a member of the metadata as a query has it.
pub(crate) fn name_in_query(name: &str) -> Cow<'_, str> {
    if EVENT_FIELDS.contains(&name) || name.starts_with(METADATA_PREFIX) {
        return Cow::Owned(format!("{METADATA_PREFIX}{name}"));
    }
    Cow::Borrowed(name)
}

/// The meaning of a condition; otherwise what would be right in the place of the value.
pub(super) fn condition(name: &str, operator: Operator, word: &Word, now: Timestamp) -> Result<EventFilter, String> {
    let only_equals = |condition: fn(Pattern) -> Condition| match operator {
        Operator::Equals => Ok(condition(word.pattern()).into()),
        Operator::Compares(_) => Err(format!("`{name}:` and a text, since {name} has no order")),
    };
    match name {
        "level" => levels(operator, word).map(EventFilter::from),
        "source" => only_equals(Condition::Source),
        "message" => only_equals(|pattern| Condition::Message(pattern.contained())),
        "stackTrace" => only_equals(|pattern| Condition::StackTrace(pattern.contained())),
        "timestamp" => time(TimeField::Timestamp, operator, word, now),
        "receivedAt" => time(TimeField::ReceivedAt, operator, word, now),
        "eventId" => id(name, IdField::Event, "a UUID", operator, word),
        "traceId" => id(name, IdField::Trace, "32 hexadecimal digits", operator, word),
        "spanId" => id(name, IdField::Span, "16 hexadecimal digits", operator, word),
        "_exists_" => Err("the name of a field and `:*` instead of `_exists_:`, such as userId:*".to_owned()),
        _ => metadata(name, operator, word, now),
    }
}

/// The levels that a text of a query or a parameter names: one, or with a plus sign this and all more severe ones.
pub(super) fn levels_of(text: &str) -> Option<Vec<Level>> {
    match text.strip_suffix('+') {
        Some(least) => Level::parse(least).ok().map(|least| levels_that(|level| level >= least)),
        None => Level::parse(text).ok().map(|level| vec![level]),
    }
}

fn levels_that(fit: impl Fn(Level) -> bool) -> Vec<Level> {
    Level::ALL.into_iter().filter(|level| fit(*level)).collect()
}

fn levels(operator: Operator, word: &Word) -> Result<Condition, String> {
    if word.pattern().matches_all() {
        return Ok(Condition::Levels(Level::ALL.into()));
    }
    let found = word.text().and_then(|text| match operator {
        Operator::Equals => levels_of(text),
        Operator::Compares(comparison) => {
            let bound = Level::parse(text).ok()?;
            Some(levels_that(|level| comparison.holds(level.cmp(&bound))))
        }
    });
    found.map(|levels| Condition::Levels(levels.into_iter().collect())).ok_or_else(|| expected_level(word))
}

/// What should be in the place of a level.
fn expected_level(word: &Word) -> String {
    let levels = |text: &str| text.split([',', '|']).map(Level::parse).collect::<Result<BTreeSet<Level>, _>>().ok();
    match word.text().and_then(levels) {
        Some(levels) => {
            let names: Vec<&str> = levels.into_iter().map(Level::name).collect();
            format!("one level, or several as level:({})", names.join(" OR "))
        }
        None => LEVELS.to_owned(),
    }
}

fn time(field: TimeField, operator: Operator, word: &Word, now: Timestamp) -> Result<EventFilter, String> {
    if operator == Operator::Equals && word.pattern().matches_all() {
        return Ok(EventFilter::default());
    }
    let text = word.text().unwrap_or_default();
    let time =
        TimeInput::parse(text).and_then(|input| input.resolve(now)).ok_or_else(|| expected_time(text).to_owned())?;
    let neighbour = |micros| Timestamp::from_unix_micros(time.unix_micros() + micros).ok();
    let range = match operator {
        Operator::Equals if Timestamp::parse_date(text).is_ok() => {
            Some(time..=neighbour(LAST_OF_DAY_MICROS).unwrap_or(Timestamp::MAX))
        }
        Operator::Equals => Some(time..=time),
        Operator::Compares(Comparison::Less) => neighbour(-1).map(|last| Timestamp::MIN..=last),
        Operator::Compares(Comparison::AtMost) => Some(Timestamp::MIN..=time),
        Operator::Compares(Comparison::Greater) => neighbour(1).map(|first| first..=Timestamp::MAX),
        Operator::Compares(Comparison::AtLeast) => Some(time..=Timestamp::MAX),
    };
    Ok(range.map_or_else(|| EventFilter::Any(Vec::new()), |range| Condition::Time(field, range).into()))
}

fn id(name: &str, field: IdField, form: &str, operator: Operator, word: &Word) -> Result<EventFilter, String> {
    let wrong = || format!("{form}, or a part of it with *");
    if operator != Operator::Equals {
        return Err(format!("`{name}:` and an id, since {name} has no order"));
    }
    match word.text() {
        Some(text) => field.parse(text).map(|bytes| Condition::IdIs(field, bytes).into()).ok_or_else(wrong),
        None => Ok(Condition::Id(field, word.pattern()).into()),
    }
}

/// The name in metadata that a name of a query means, if it is not too long.
pub(super) fn metadata_name(name: &str) -> Option<&str> {
    let name = name.strip_prefix(METADATA_PREFIX).unwrap_or(name);
    (name.len() <= NAME_BYTES_MAX && name.split('.').count() <= NAME_PARTS_MAX).then_some(name)
}

fn metadata(name: &str, operator: Operator, word: &Word, now: Timestamp) -> Result<EventFilter, String> {
    let Some(name) = metadata_name(name) else {
        return Err(format!("a name of at most {NAME_BYTES_MAX} bytes and {NAME_PARTS_MAX} parts before it"));
    };
    let pattern = word.pattern();
    let test = match operator {
        Operator::Equals if !word.quoted && pattern.matches_all() => ValueTest::Exists,
        Operator::Equals => ValueTest::Equals(Literal { pattern, text_only: word.quoted }),
        Operator::Compares(comparison) => {
            let text = word.text().unwrap_or_default();
            let time = || TimeInput::parse(text).and_then(|input| input.resolve(now));
            match Decimal::parse(text) {
                Some(number) => ValueTest::Number(comparison, number),
                None => ValueTest::Time(comparison, time().ok_or_else(|| expected_number(text))?),
            }
        }
    };
    Ok(Condition::Metadata { name: name.to_owned(), test }.into())
}

/// What should be compared to a value in metadata.
fn expected_number(text: &str) -> String {
    if lacks_zone(text) {
        return ZONED_TIME_FORM.to_owned();
    }
    foreign::or_quotes("a number, or a time such as 2024-01-15T10:30:00Z, 2024-01-15 or -1h")
}
