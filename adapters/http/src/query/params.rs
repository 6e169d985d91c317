//! Query parameters.

use domain::timestamp::Timestamp;
use percent_encoding::percent_decode_str;
use poem::Request;
use time::OffsetDateTime;

use crate::error::ApiError;

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

/// A parameter that breaks a rule.
pub fn invalid<E: std::fmt::Display>(parameter: &'static str) -> impl Fn(E) -> ApiError {
    move |rule| ApiError::InvalidParameter { detail: format!("{parameter}: {rule}") }
}

/// The parameters of a request, by name.
///
/// # Errors
/// The query string cannot be read; a parameter is not among `known`, since a misspelt condition must not silently widen a
/// query; or one is given more than once that is not among `repeatable`.
pub fn parameters(request: &Request, known: &[&str], repeatable: &[&str]) -> Result<Vec<(String, String)>, ApiError> {
    let unreadable = |detail: &str| ApiError::InvalidParameter { detail: detail.to_owned() };
    // poem would replace other bytes, and the query would look for something else.
    if percent_decode_str(request.uri().query().unwrap_or_default()).decode_utf8().is_err() {
        return Err(unreadable("the query string is not UTF-8: write ä as %C3%A4"));
    }
    let given: Vec<(String, String)> = request.params().map_err(|_| unreadable("the query string cannot be read"))?;
    for (index, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let detail = if known.is_empty() {
                format!("{name} is not a parameter here: there are none")
            } else {
                format!("{name} is not a parameter here; known are: {}", known.join(", "))
            };
            return Err(ApiError::InvalidParameter { detail });
        }
        if !repeatable.contains(&name.as_str()) && given.iter().take(index).any(|(earlier, _)| earlier == name) {
            let others = match repeatable {
                [] => String::new(),
                _ => format!("; only {} can be repeated", repeatable.join(" and ")),
            };
            return Err(ApiError::InvalidParameter { detail: format!("{name} is given more than once{others}") });
        }
    }
    Ok(given)
}

/// Refuses parameters that are not known, and repeated ones.
///
/// # Errors
/// See [`parameters`].
pub fn refuse_unknown_parameters(request: &Request, known: &[&str]) -> Result<(), ApiError> {
    parameters(request, known, &[]).map(drop)
}
