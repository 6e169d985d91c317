//! `spillway fields` and `spillway values`: what there is to search for, with counts.

use std::borrow::Cow;
use std::time::Instant;

use application::search::written_name;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, parsed};
use super::connection::Connection;
use super::event_writer::{Format, json_line};
use super::failure::Failure;
use super::filters::Filters;
use super::names::parse_name;
use super::numbers::number_of;
use super::output::Output;
use super::query::{counted, counted_by};
use super::table::{aligned, csv_row, row};
use super::times::now;
use crate::send::grouped;
use crate::suggested::{COUNTED_FIELDS, suggested};

/// Maximum rows of a list, as in the API for values.
const ROWS_MAX: u32 = 1_000;
/// The text after the options in `spillway fields --help`.
const AFTER_FIELDS_HELP: &str = "\
The newest 1,000 matching events of any time are examined. Text has names as a query writes them, such as \"user id\"; in
quotes, --fields, --by and spillway values take them too.";
/// The text after the options in `spillway values --help`.
const AFTER_VALUES_HELP: &str = "\
Without --since and --until, only events of the last hour are searched; -S first searches all events.";

/// Options of `spillway fields`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_FIELDS_HELP)]
pub struct FieldsOptions {
    /// Which events.
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    listing: Listing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// Options of `spillway values`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_VALUES_HELP)]
pub struct ValuesOptions {
    /// Field to list the values of: level, source, traceId, or the name of a field of the metadata
    #[arg(value_name = "FIELD", hide_possible_values = true, value_parser = suggested(parse_name, &COUNTED_FIELDS))]
    field: String,
    /// Which events.
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    listing: Listing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// How a list is shown.
#[derive(Args, Clone, Debug)]
struct Listing {
    /// Maximum number of rows: 1 to 1000
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 20, value_parser = number_of(1..=ROWS_MAX))]
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
    options.listing.write(&with_fields(&body, limit)?, rows, output)?;
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
    let (counted, range) = (counted_by(&options.field, found), filters.range_in_words());
    output.note(format!("-- {counted}{range}, {millis} ms{other}"));
    if let Some(doubt) = filters.doubt().filter(|_| found == 0) {
        output.note(doubt.to_owned());
    }
    Ok(())
}

/// The answer of the API with at most so many fields.
fn with_fields(body: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut answer: Value = parsed(body)?;
    if let Some(Value::Array(fields)) = answer.get_mut("fields") {
        fields.truncate(limit);
    }
    Ok(answer.to_string().into_bytes())
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
    use clap::Parser;

    use super::super::test_server::{TestServer, reply};
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

    #[derive(Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(clap::Subcommand)]
    enum Command {
        Fields(FieldsOptions),
        Values(ValuesOptions),
    }

    /// Runs a command with this answer. Returns what it prints, its first note, and the head of its request.
    async fn run(answer: &str, arguments: &[&str]) -> (String, String, String) {
        let server = TestServer::start(vec![reply(200, answer)]).await;
        let arguments = [&["x"], arguments, &["--url", &server.url]].concat();
        let (mut output, written) = Output::in_memory();
        match Arguments::try_parse_from(arguments).unwrap().command {
            Command::Fields(options) => run_fields(options, &mut output).await.unwrap(),
            Command::Values(options) => run_values(options, &mut output).await.unwrap(),
        }
        (written.text(), output.notes().remove(0), server.requests().remove(0))
    }

    #[tokio::test]
    async fn the_limit_is_one_of_json_too() {
        let answer = r#"{"events":9,"complete":true,"fields":[{"name":"b","events":9},{"name":"a","events":2}]}"#;
        let (printed, note, _) = run(answer, &["fields", "-n", "1", "-o", "json"]).await;
        assert_eq!(printed, "{\"events\":9,\"complete\":true,\"fields\":[{\"name\":\"b\",\"events\":9}]}\n");
        assert!(note.contains("; 1 more fields, -n shows more"), "{note}");
    }

    #[tokio::test]
    async fn a_name_is_taken_in_quotes_and_its_values_are_occurrences() {
        let answer = r#"{"from":"x","to":"y","field":"user id","values":[{"value":"1","events":2}],"other":0}"#;
        let (printed, note, request) = run(answer, &["values", "\"user id\""]).await;
        assert_eq!(printed, "user id  events\n1             2\n");
        assert!(note.starts_with("-- 2 occurrences of the last hour, "), "{note}");
        assert!(request.contains("field=user%20id&"), "{request}");
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
