//! Frequent names of metadata as columns of their own, for other programs.
//!
//! Constraints and invariants:
//! * Searches do not read these columns: `metadata` has everything, and the rule looks at it.
//! * At most [`PATH_COLUMNS_MAX`], chosen from the first row group of a segment; memory for names is bounded.
//! * A value is in its column if objects alone lead to it. Values in arrays, null and long texts are in `metadata` only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::StringBuilder;
use domain::metadata::{JsonKind, JsonValue};

use crate::columns::Column;
use crate::rows::Rows;

/// Maximum columns of a segment for names of metadata.
pub const PATH_COLUMNS_MAX: usize = 16;
/// Longer values are in `metadata` only.
const VALUE_BYTES_MAX: usize = 1_024;
/// Longer names have no column.
const PATH_BYTES_MAX: usize = 255;
/// Maximum names that are counted.
const PATHS_COUNTED_MAX: usize = 10_000;
/// A name is frequent if one of so many rows has it.
const FREQUENT_ONE_IN: usize = 4;

/// Calls `see` with each value that has a place in a column, and its name.
fn each_value<'j>(object: JsonValue<'j>, path: &mut String, see: &mut dyn FnMut(&str, Cow<'j, str>)) {
    for (member, value) in object.members() {
        let outer = path.len();
        path.push(if outer == 0 { ' ' } else { '.' });
        path.push_str(&member);
        match value.kind() {
            JsonKind::Object => each_value(value, path, see),
            JsonKind::Array | JsonKind::Null => {}
            JsonKind::Text | JsonKind::Number | JsonKind::Bool => {
                let plain = value.plain();
                // Without the space that begins every path.
                if let Some(name) = path.get(1..).filter(|name| (1..=PATH_BYTES_MAX).contains(&name.len()))
                    && plain.len() <= VALUE_BYTES_MAX
                {
                    see(name, plain);
                }
            }
        }
        path.truncate(outer);
    }
}

fn metadata(rows: &Rows, row: usize) -> Option<JsonValue<'_>> {
    rows.text(Column::Metadata, row).flatten().map(JsonValue::new)
}

/// The frequent names, ascending.
pub(crate) fn frequent(rows: &Rows) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for row in 0..rows.len() {
        let Some(metadata) = metadata(rows, row) else { continue };
        each_value(metadata, &mut String::new(), &mut |path, _| {
            if let Some(count) = counts.get_mut(path) {
                *count += 1;
            } else if counts.len() < PATHS_COUNTED_MAX {
                counts.insert(path.to_owned(), 1);
            }
        });
    }
    let mut paths: Vec<(usize, String)> = counts
        .into_iter()
        .map(|(path, count)| (count, path))
        .filter(|(count, _)| count * FREQUENT_ONE_IN >= rows.len())
        .collect();
    paths.sort_by(|(count, path), (other_count, other)| other_count.cmp(count).then_with(|| path.cmp(other)));
    let mut paths: Vec<String> = paths.into_iter().take(PATH_COLUMNS_MAX).map(|(_, path)| path).collect();
    paths.sort();
    paths
}

/// The columns of these names. Of two values with one name in a row, the first is there.
pub(crate) fn columns(rows: &Rows, paths: &[String]) -> Vec<ArrayRef> {
    let places: HashMap<&str, usize> = paths.iter().enumerate().map(|(place, path)| (path.as_str(), place)).collect();
    let mut builders: Vec<StringBuilder> = paths.iter().map(|_| StringBuilder::new()).collect();
    let mut values: Vec<Option<Cow<'_, str>>> = vec![None; paths.len()];
    for row in 0..rows.len() {
        if let Some(metadata) = metadata(rows, row) {
            each_value(metadata, &mut String::new(), &mut |path, value| {
                if let Some(place) = places.get(path).and_then(|place| values.get_mut(*place)) {
                    place.get_or_insert(value);
                }
            });
        }
        for (builder, value) in builders.iter_mut().zip(&mut values) {
            builder.append_option(value.take());
        }
    }
    builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect()
}
