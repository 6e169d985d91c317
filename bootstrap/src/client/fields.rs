//! `spillway fields` and `spillway values`: what there is to search for, with counts.

use std::borrow::Cow;
use std::time::Instant;

use application::search::written_name;
use clap::Args;
use clap::builder::StringValueParser;
use serde::Deserialize;

use super::api::{Api, parsed};
use super::connection::Connection;
use super::event_writer::{Format, json_line};
use super::failure::Failure;
use super::filters::Filters;
use super::output::Output;
use super::query::counted;
use super::table::{aligned, csv_row, row};
use super::times::now;
use crate::send::grouped;
use crate::suggested::{COUNTED_FIELDS, suggested};

/// Options of `spillway fields`.
#[derive(Args, Clone, Debug)]
pub struct FieldsOptions {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    listing: Listing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// Options of `spillway values`.
#[derive(Args, Clone, Debug)]
pub struct ValuesOptions {
    /// Field to list the values of: level, source, traceId, or the name of a field of the metadata
    #[arg(value_name = "FIELD", hide_possible_values = true, value_parser = suggested(StringValueParser::new(), &COUNTED_FIELDS))]
    field: String,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    listing: Listing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// How a list is shown.
#[derive(Args, Clone, Debug)]
struct Listing {
    /// Maximum number of rows
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Format of the list
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
    /// Read times in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
}

/// The fields of the events that were examined.
#[derive(Deserialize)]
struct Fields {
    events: u64,
    complete: bool,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    events: u64,
}

/// The values of a field.
#[derive(Deserialize)]
struct Values {
    values: Vec<FieldValue>,
    #[serde(default)]
    other: u64,
}

#[derive(Deserialize)]
struct FieldValue {
    value: String,
    events: u64,
}

/// Runs `spillway fields`.
///
/// # Errors
/// See [`Failure`].
pub async fn run_fields(options: FieldsOptions, output: &mut Output) -> Result<(), Failure> {
    let (began, api) = (Instant::now(), Api::new(&options.connection)?);
    let parameters = options.filters.parameters(&now(options.listing.utc))?;
    let body = api.get("/api/logs/fields", &parameters).await?;
    let fields: Fields = parsed(&body)?;
    let limit = usize::try_from(options.listing.limit).unwrap_or(usize::MAX);
    let mut rows = vec![row(["field", "events"])];
    rows.extend(fields.fields.iter().take(limit).map(|field| field.row(options.listing.output)));
    options.listing.write(&body, rows, output)?;
    let examined = if fields.complete { "all " } else { "the newest " };
    let left_out = fields.fields.len().saturating_sub(limit);
    let more = if left_out > 0 { format!("; {left_out} more fields, -n shows more") } else { String::new() };
    let millis = began.elapsed().as_millis();
    output.note(format!("-- of {examined}{}, {millis} ms{more}", counted(fields.events)));
    Ok(())
}

/// Runs `spillway values`.
///
/// # Errors
/// See [`Failure`].
pub async fn run_values(options: ValuesOptions, output: &mut Output) -> Result<(), Failure> {
    let (began, api) = (Instant::now(), Api::new(&options.connection)?);
    let filters = options.filters.or_last_hour();
    let mut parameters = filters.parameters(&now(options.listing.utc))?;
    parameters.add("field", &options.field);
    parameters.add("limit", &options.listing.limit.to_string());
    let body = api.get("/api/logs/values", &parameters).await?;
    let values: Values = parsed(&body)?;
    let mut rows = vec![row([&options.field, "events"])];
    rows.extend(values.values.iter().map(|value| row([&value.value, &value.events.to_string()])));
    options.listing.write(&body, rows, output)?;
    // An event with several values of the field counts once for each.
    let found = values.values.iter().map(|value| value.events).sum::<u64>() + values.other;
    let other = match values.other {
        0 => String::new(),
        other => format!("; {} are others, -n shows more", grouped(other)),
    };
    let millis = began.elapsed().as_millis();
    let (found, range) = (counted(found), filters.range_in_words());
    output.note(format!("-- {found}{range}, {millis} ms{other}"));
    Ok(())
}

impl Field {
    /// Its name, in text as a query writes it, and its count.
    fn row(&self, format: Format) -> Vec<String> {
        let name = match format {
            Format::Text => written_name(&self.name),
            Format::Json | Format::Csv => Cow::Borrowed(self.name.as_str()),
        };
        row([&name, &self.events.to_string()])
    }
}

impl Listing {
    /// Writes a header and rows of a name and a count.
    fn write(&self, body: &[u8], rows: Vec<Vec<String>>, output: &mut Output) -> Result<(), Failure> {
        match self.output {
            Format::Json => output.write(json_line(&String::from_utf8_lossy(body), output.is_terminal()).as_bytes())?,
            Format::Csv => {
                for row in &rows {
                    output.write(&csv_row(row, output.is_terminal()))?;
                }
            }
            Format::Text => output.write(aligned(&with_grouped_counts(rows)).as_bytes())?,
        }
        output.flush()
    }
}

/// The rows with a comma before every three digits of their last cell.
fn with_grouped_counts(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for count in rows.iter_mut().skip(1).filter_map(|row| row.last_mut()) {
        if let Ok(number) = count.parse() {
            *count = grouped(number);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_but_names_are_not() {
        let rows = vec![row(["1000", "1000"]), row(["2000", "2000"])];
        assert_eq!(with_grouped_counts(rows), [row(["1000", "1000"]), row(["2000", "2,000"])]);
    }

    #[test]
    fn names_are_written_as_in_a_query_and_left_to_programs_as_they_are() {
        let field = Field { name: "user id".to_owned(), events: 7 };
        assert_eq!(field.row(Format::Text), row(["\"user id\"", "7"]));
        assert_eq!(field.row(Format::Csv), row(["user id", "7"]));
    }

    #[test]
    fn answers_are_read() {
        let fields: Fields =
            parsed(br#"{"events":1000,"complete":true,"fields":[{"name":"userId","events":12}]}"#).unwrap();
        assert!(fields.complete && fields.fields[0].events == 12);
        let values: Values =
            parsed(br#"{"from":"x","to":"y","field":"userId","values":[{"value":"1","events":3}],"other":5}"#).unwrap();
        assert_eq!((values.other, values.values[0].value.as_str()), (5, "1"));
    }
}
