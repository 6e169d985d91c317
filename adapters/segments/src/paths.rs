//! Frequent names of metadata as columns of their own: for other programs, and so that searches read less.
//!
//! Constraints and invariants:
//! * `metadata` has everything, and the rule looks at it. In an exact column, each text is that of the only value that the rule finds
//!   by this name ([`domain::filter::any_value`]), so that nobody has to look at the metadata of a row with a text.
//! * A column is exact if its name has no dot, because no object has one name twice. The values of `a.b` are those of the member
//!   `a.b` if there is one. Without one, they are where objects lead to, if no name of the event has a dot.
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
use crate::texts::Named;

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

/// Whether a column is exact, of each column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExactColumns(Vec<bool>);

impl ExactColumns {
    pub fn of(exact: impl IntoIterator<Item = bool>) -> Self {
        Self(exact.into_iter().collect())
    }

    /// Whether the column with this number is.
    pub fn contains(&self, column: usize) -> bool {
        self.0.get(column).copied().unwrap_or_default()
    }

    fn clear(&mut self, column: usize) {
        if let Some(exact) = self.0.get_mut(column) {
            *exact = false;
        }
    }

    /// The text in the footer: a character for each column.
    pub fn text(&self) -> String {
        self.0.iter().map(|exact| if *exact { '1' } else { '0' }).collect()
    }

    /// That of a text.
    pub fn parse(text: &str) -> Self {
        Self::of(text.bytes().map(|byte| byte == b'1'))
    }
}

/// What a row has in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cell {
    #[default]
    Nothing,
    /// The value of a member of this name.
    Member,
    /// A value to which several names lead.
    Nested,
}

/// Collects the columns of some names.
pub(crate) struct PathColumns<'p> {
    /// They ascend.
    paths: &'p [String],
    exact: &'p mut ExactColumns,
    builders: Vec<StringBuilder>,
    /// What the row has so far.
    row: Vec<Cell>,
}

impl<'p> PathColumns<'p> {
    /// Clears `exact` of columns that get a text which is not.
    pub fn new(paths: &'p [String], exact: &'p mut ExactColumns) -> Self {
        let builders = paths.iter().map(|_| StringBuilder::new()).collect();
        Self { paths, exact, builders, row: vec![Cell::Nothing; paths.len()] }
    }

    /// Adds a value of a row, if its name has a column. Of two values with one name in a row, the first is there.
    pub fn add(&mut self, named: &Named<'_, '_>) {
        let Ok(place) = self.paths.binary_search_by(|known| known.as_str().cmp(named.name)) else { return };
        let Some((cell, builder)) = self.row.get_mut(place).zip(self.builders.get_mut(place)) else { return };
        if *cell != Cell::Nothing {
            self.exact.clear(place);
        } else if named.value.len() <= VALUE_BYTES_MAX {
            *cell = if named.is_one { Cell::Member } else { Cell::Nested };
            builder.append_value(&named.value);
        }
    }

    /// Ends a row of which a name has a dot, or none.
    pub fn end_row(&mut self, has_dot: bool) {
        for (place, (builder, cell)) in self.builders.iter_mut().zip(&mut self.row).enumerate() {
            match std::mem::take(cell) {
                Cell::Nothing => builder.append_null(),
                Cell::Nested if has_dot => self.exact.clear(place),
                Cell::Nested | Cell::Member => {}
            }
        }
    }

    pub fn finish(self) -> impl Iterator<Item = ArrayRef> {
        self.builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow_array::cast::AsArray;
    use contracts::search::events_and_filters;
    use domain::filter::any_value;

    use super::*;
    use crate::texts::BlockTexts;

    /// The columns of one row for all names in it: of each the text, and whether it is exact.
    fn columns_of(json: &str) -> Vec<(String, Option<String>, bool)> {
        let (mut texts, mut names) = (BlockTexts::new(), BTreeSet::new());
        texts.add_metadata(json, |named| names.extend([named.name.to_owned()]));
        let paths: Vec<String> = names.into_iter().collect();
        let mut exact = ExactColumns::of(paths.iter().map(|_| true));
        let mut columns = PathColumns::new(&paths, &mut exact);
        let has_dot = texts.add_metadata(json, |named| columns.add(&named));
        columns.end_row(has_dot);
        let columns: Vec<ArrayRef> = columns.finish().collect();
        let text = |column: &ArrayRef| column.as_string::<i32>().iter().next().flatten().map(str::to_owned);
        assert_eq!(ExactColumns::parse(&exact.text()), exact);
        let columns = paths.into_iter().zip(&columns).enumerate();
        columns.map(|(place, (path, column))| (path, text(column), exact.contains(place))).collect()
    }

    #[test]
    fn a_text_of_an_exact_column_is_the_only_value_of_its_name() {
        let (mut with_text, mut inexact) = (0, 0);
        for event in events_and_filters(1, 4_000, 0).0 {
            let Some(metadata) = event.metadata else { continue };
            for (path, text, is_exact) in columns_of(metadata.as_json()) {
                inexact += usize::from(!is_exact);
                let Some(text) = text.filter(|_| is_exact) else { continue };
                let mut values = Vec::new();
                any_value(JsonValue::new(metadata.as_json()), &path, &mut |value| {
                    values.push(value.plain().into_owned());
                    false
                });
                assert_eq!(values, [text], "{path:?} in {}", metadata.as_json());
                with_text += 1;
            }
        }
        assert!(with_text > 1_000 && inexact > 100, "{with_text} {inexact}");
    }

    #[test]
    fn names_of_usual_metadata_have_exact_columns() {
        for (json, exact) in [
            (r#"{"http.status":500,"resource":{"service.name":"s"}}"#, [true, false].as_slice()),
            (r#"{"http":{"status":500},"userId":1}"#, &[true, true]),
            (r#"{"http":{"status":500},"http.status":1}"#, &[false]),
            (r#"{"http.status":1,"http":{"status":500}}"#, &[false]),
            (r#"{"http.status":null,"http":{"status":500}}"#, &[false]),
            (r#"{"http":{"status":500},"user.id":1}"#, &[false, true]),
        ] {
            let columns = columns_of(json);
            assert_eq!(columns.iter().map(|(.., is_exact)| *is_exact).collect::<Vec<_>>(), exact, "{json}");
        }
    }
}
