//! What was measured, over several rounds, as tables.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One thing that was measured in one round.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is; the same in each round.
    pub label: String,
    /// Names and values, in the order of the columns.
    pub figures: Vec<(&'static str, f64)>,
}

impl Row {
    /// A row without figures yet.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), figures: Vec::new() }
    }

    /// With one more figure.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, value));
        self
    }

    /// A figure of this round.
    #[must_use]
    pub fn figure(&self, name: &str) -> f64 {
        self.figures.iter().find(|(of, _)| *of == name).expect("it was measured").1
    }
}

/// The rounds of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    labels: Vec<String>,
    columns: Vec<&'static str>,
    values: BTreeMap<(String, &'static str), Vec<f64>>,
}

/// The values of a figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub largest: f64,
}

impl Rounds {
    /// Adds what a round measured.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            if !self.labels.contains(&row.label) {
                self.labels.push(row.label.clone());
            }
            for (name, value) in row.figures {
                if !self.columns.contains(&name) {
                    self.columns.push(name);
                }
                self.values.entry((row.label.clone(), name)).or_default().push(value);
            }
        }
    }

    /// A figure over all rounds.
    #[must_use]
    pub fn spread(&self, label: &str, name: &'static str) -> Option<Spread> {
        let mut values = self.values.get(&(label.to_owned(), name))?.clone();
        values.sort_by(f64::total_cmp);
        let (least, largest) = (*values.first()?, *values.last()?);
        Some(Spread { median: *values.get((values.len() - 1) / 2)?, least, largest })
    }

    /// The table in Markdown: medians, and what they lie between.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| |");
        for column in &self.columns {
            write!(text, " {column} |").expect("memory");
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(self.columns.len()));
        for label in &self.labels {
            write!(text, "\n| {label} |").expect("memory");
            for column in &self.columns {
                let cell = self.spread(label, column).map(|spread| spread.to_string()).unwrap_or_default();
                write!(text, " {cell} |").expect("memory");
            }
        }
        text.push('\n');
        text
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, least, largest } = *self;
        f.write_str(&number(median))?;
        if number(least) != number(largest) {
            write!(f, " ({}–{})", number(least), number(largest))?;
        }
        Ok(())
    }
}

/// Three digits that mean something, and thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && digit.is_ascii_digit() && (whole.len() - n).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_medians_and_what_they_lie_between() {
        let mut rounds = Rounds::default();
        for rate in [1_234_567.0, 1_000_000.0, 2_000_000.0] {
            rounds.add(vec![
                Row::new("ours").with("events/s", rate).with("µs", 1.8),
                Row::new("theirs").with("events/s", 7.25),
            ]);
        }
        let table = rounds.markdown();
        assert_eq!(
            table,
            "| | events/s | µs |\n|---|---:|---:|\n| ours | 1,234,567 (1,000,000–2,000,000) | 1.80 |\n| theirs | 7.25 |  |\n"
        );
        assert_eq!(rounds.spread("ours", "µs").map(|spread| spread.median), Some(1.8));
        assert_eq!([number(999.0), number(1_000.0), number(12.345), number(0.0)], ["999", "1,000", "12.3", "0.00"]);
    }
}
