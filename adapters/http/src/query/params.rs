//! Query parameters.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::event::from_hex;
use domain::level::Level;
use domain::query::EventFilter;
use domain::timestamp::Timestamp;
use poem::Request;
use time::OffsetDateTime;

use crate::error::ApiError;

/// The filter that these query parameters describe.
pub fn filter(
    source: Option<String>,
    levels: Option<Vec<String>>,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    text: Option<String>,
    trace_id: Option<String>,
) -> Result<EventFilter, ApiError> {
    let levels = levels.unwrap_or_default();
    // In order and once each: who asks the same in another order asks the same.
    let levels = levels.iter().flat_map(|list| list.split(',')).map(|level| Level::parse(level.trim()));
    let levels = levels.collect::<Result<BTreeSet<_>, _>>();
    let rule =
        "must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL; separate several with commas, or repeat the parameter";
    let trace_id = trace_id.map(|id| from_hex(&id).ok_or("must have 32 hexadecimal digits"));
    Ok(EventFilter {
        source,
        levels: levels.map_err(|_| invalid("level")(rule))?.into_iter().collect(),
        from: time("from", from)?,
        to: time("to", to)?,
        text,
        trace_id: trace_id.transpose().map_err(invalid("traceId"))?,
    })
}

/// The time of a parameter.
///
/// # Errors
/// It lies outside of what an event can have.
pub fn time(parameter: &'static str, time: Option<OffsetDateTime>) -> Result<Option<Timestamp>, ApiError> {
    let timestamp = |time: OffsetDateTime| {
        let micros = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000));
        micros.ok().and_then(|micros| Timestamp::from_unix_micros(micros).ok())
    };
    let timestamp = time.map(|time| timestamp(time).ok_or("must lie between the years 0000 and 9999"));
    timestamp.transpose().map_err(invalid(parameter))
}

/// A number with a unit: s, m, h or d.
pub fn duration(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1)?;
    let (number, unit) = text.split_at_checked(unit)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// A parameter that breaks a rule.
pub fn invalid<E: std::fmt::Display>(parameter: &'static str) -> impl Fn(E) -> ApiError {
    move |rule| ApiError::InvalidParameter { detail: format!("{parameter}: {rule}") }
}

/// A misspelt condition must not silently widen a query.
pub fn refuse_unknown_parameters(request: &Request, known: &[&str]) -> Result<(), ApiError> {
    let given: Vec<(String, String)> = request
        .params()
        .map_err(|_| ApiError::InvalidParameter { detail: "the query string cannot be read".to_owned() })?;
    for (index, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let detail = if known.is_empty() {
                format!("{name} is not a parameter here: there are none")
            } else {
                format!("{name} is not a parameter here; known are: {}", known.join(", "))
            };
            return Err(ApiError::InvalidParameter { detail });
        }
        if name != "level" && given.iter().take(index).any(|(earlier, _)| earlier == name) {
            let detail = format!("{name} is given more than once; only level can be repeated");
            return Err(ApiError::InvalidParameter { detail });
        }
    }
    Ok(())
}
