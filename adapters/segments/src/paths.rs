//! Frequent names of metadata as columns of their own: for other programs, and so that searches read less.
//!
//! Constraints and invariants:
//! * `metadata` has everything, and the rule looks at it. A text in a column is that of the only value of its name, unless the
//!   name has a dot: no object has one name twice.
//! * At most [`PATH_COLUMNS_MAX`], chosen from some rows of the first row group of a segment; memory for names is bounded.
//! * A value is in its column if objects alone lead to it. Values in arrays, null and long texts are in `metadata` only.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::StringBuilder;
use domain::metadata::{JsonKind, JsonValue};

use crate::columns::{Column, FrequentPath};
use crate::key;
use crate::rows::Rows;

/// Maximum columns of a segment for names of metadata.
pub const PATH_COLUMNS_MAX: usize = 16;
/// Longer values are in `metadata` only.
const VALUE_BYTES_MAX: usize = 1_024;
/// Longer names have no column.
const PATH_BYTES_MAX: usize = 255;
/// Maximum names that are counted.
const PATHS_COUNTED_MAX: usize = 10_000;
/// Rows that are looked at to choose names, evenly distributed.
const SAMPLE_ROWS_MAX: usize = 1_024;
/// A name is frequent if one of so many of these rows has it.
const FREQUENT_ONE_IN: usize = 4;
/// Values of a name that have at least so many bytes on average, and hardly ever repeat, are ids. A column for them would have
/// them a second time, at the price of everything else in the row, and no other program groups by them.
const ID_BYTES_MIN: usize = 12;
/// Values of which at most one of so many is a repeat are taken for distinct.
const REPEATS_ONE_IN: usize = 8;

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

/// What is known of a name.
#[derive(Default)]
struct Counted {
    values: usize,
    bytes: usize,
    /// Hashes of the distinct ones.
    distinct: HashSet<u64>,
}

impl Counted {
    /// Whether more than one of [`REPEATS_ONE_IN`] is a repeat.
    fn repeat(&self) -> bool {
        (self.values - self.distinct.len()) * REPEATS_ONE_IN > self.values
    }

    fn are_ids(&self) -> bool {
        self.bytes >= self.values * ID_BYTES_MIN && !self.repeat()
    }
}

/// The frequent names whose values are not ids, ascending.
pub(crate) fn frequent(rows: &Rows) -> Vec<FrequentPath> {
    let mut names: HashMap<String, Counted> = HashMap::new();
    let (mut path, step) = (String::new(), rows.len().div_ceil(SAMPLE_ROWS_MAX).max(1));
    let sample = || (0..rows.len()).step_by(step);
    for row in sample() {
        let Some(metadata) = metadata(rows, row) else { continue };
        each_value(metadata, &mut path, &mut |path, value| {
            if names.len() < PATHS_COUNTED_MAX || names.contains_key(path) {
                let counted = names.entry(path.to_owned()).or_default();
                counted.values += 1;
                counted.bytes += value.len();
                counted.distinct.insert(key::text("", &value));
            }
        });
    }
    let mut paths: Vec<(usize, FrequentPath)> = names
        .into_iter()
        .filter(|(_, counted)| counted.values * FREQUENT_ONE_IN >= sample().len() && !counted.are_ids())
        .map(|(path, counted)| (counted.values, FrequentPath { repeats: counted.repeat(), path }))
        .collect();
    paths.sort_by(|(count, one), (other_count, other)| other_count.cmp(count).then_with(|| one.path.cmp(&other.path)));
    let mut paths: Vec<FrequentPath> = paths.into_iter().take(PATH_COLUMNS_MAX).map(|(_, path)| path).collect();
    paths.sort_by(|one, other| one.path.cmp(&other.path));
    paths
}

/// Collects the columns of some names.
pub(crate) struct PathColumns<'p> {
    /// They ascend.
    paths: &'p [String],
    builders: Vec<StringBuilder>,
    /// Whether the row has a value so far.
    has_value: Vec<bool>,
}

impl<'p> PathColumns<'p> {
    pub fn new(paths: &'p [String]) -> Self {
        let builders = paths.iter().map(|_| StringBuilder::new()).collect();
        Self { paths, builders, has_value: vec![false; paths.len()] }
    }

    /// Adds a value of a row, if its name has a column. Of two values with one name in a row, the first is there.
    pub fn add(&mut self, path: &str, value: &str) {
        let Ok(place) = self.paths.binary_search_by(|known| known.as_str().cmp(path)) else { return };
        if let Some((has_value, builder)) = self.has_value.get_mut(place).zip(self.builders.get_mut(place))
            && !*has_value
            && value.len() <= VALUE_BYTES_MAX
        {
            *has_value = true;
            builder.append_value(value);
        }
    }

    pub fn end_row(&mut self) {
        for (builder, has_value) in self.builders.iter_mut().zip(&mut self.has_value) {
            if !std::mem::take(has_value) {
                builder.append_null();
            }
        }
    }

    pub fn finish(self) -> impl Iterator<Item = ArrayRef> {
        self.builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef)
    }
}
