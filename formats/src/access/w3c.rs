//! The extended log file format of the W3C: a directive names the columns, times are UTC (WD-logfile-960323). IIS and
//! CloudFront write it.

use crate::draft::Draft;
use crate::fields::Fields;
use crate::times::{self, Clock};
use crate::zone::Zone;

/// Most columns, and longest directive, that are remembered.
const COLUMNS_MAX: usize = 128;
const DIRECTIVE_BYTES_MAX: usize = 8 * 1024;
/// The columns of CloudFront's standard log, of which old lines have fewer (Amazon CloudFront Developer Guide).
const CLOUDFRONT: [&str; 15] = [
    "date",
    "time",
    "x-edge-location",
    "sc-bytes",
    "c-ip",
    "cs-method",
    "cs(Host)",
    "cs-uri-stem",
    "sc-status",
    "cs(Referer)",
    "cs(User-Agent)",
    "cs-uri-query",
    "cs(Cookie)",
    "x-edge-result-type",
    "x-edge-request-id",
];

/// The columns that a directive names.
pub fn columns(line: &str) -> Option<Vec<String>> {
    let names = line.strip_prefix("#Fields:")?;
    if names.len() > DIRECTIVE_BYTES_MAX {
        return None;
    }
    let names: Vec<_> = names.split_whitespace().take(COLUMNS_MAX).map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

/// The draft of a line with these columns.
pub fn draft(line: &str, columns: &[String], clock: Clock<'_>) -> Option<Draft> {
    if line.starts_with('#') {
        return None;
    }
    let separator = if line.contains('\t') { '\t' } else { ' ' };
    let values: Vec<_> = line.split(separator).take(COLUMNS_MAX + 1).collect();
    if values.len() != columns.len() {
        return None;
    }
    with_columns(line, columns.iter().map(String::as_str).zip(values), clock)
}

/// The draft of a line of CloudFront's standard log, which may come without its directive.
pub fn cloudfront(line: &str, clock: Clock<'_>) -> Option<Draft> {
    let values: Vec<_> = line.split('\t').take(COLUMNS_MAX).collect();
    let [_, _, edge, _, _, method, ..] = values.as_slice() else { return None };
    let is_edge =
        matches!(edge.as_bytes(), [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', digit, ..] if digit.is_ascii_digit());
    let is_method = method.len() >= 3 && method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_edge || !is_method || values.len() < 12 {
        return None;
    }
    with_columns(line, CLOUDFRONT.into_iter().zip(values), clock)
}

fn with_columns<'a>(line: &str, columns: impl Iterator<Item = (&'a str, &'a str)>, clock: Clock<'_>) -> Option<Draft> {
    let (mut day, mut time_of_day) = (None, None);
    let mut fields = Fields::default();
    for (name, value) in columns {
        match name {
            "date" => day = Some(value),
            "time" => time_of_day = Some(value),
            _ if value == "-" || value.is_empty() => {}
            _ => fields.push_number_or_text(name, value),
        }
    }
    let utc = Clock { zone: &Zone::UTC, now: clock.now };
    let time = times::whole(&format!("{} {}", day?, time_of_day?), utc);
    let metadata = fields.into_metadata().ok().flatten();
    Some(Draft { time, metadata, ..Draft::of_message(line) })
}
