//! Rows of values as text for people and as CSV for programs.

use super::escape::{escaped, is_unsafe};

/// Maximum width that a column is padded to, in characters: one long value must not push all others away.
const WIDTH_MAX: usize = 60;

/// Rows with aligned columns: the first one to the left, the others to the right. Every cell is on one line, and safe
/// on a terminal.
#[must_use]
pub fn aligned(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escaped(cell).into_owned()).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        widths.max().unwrap_or_default().min(WIDTH_MAX)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        let line: String = cells.collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of CSV (RFC 4180), with its end of line. On a terminal its characters are made safe.
#[must_use]
pub fn csv_row(cells: &[String], terminal: bool) -> Vec<u8> {
    let mut row = Vec::new();
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut row);
    // Writing into memory does not fail.
    let _ = if terminal && cells.iter().any(|cell| cell.contains(is_unsafe)) {
        writer.write_record(cells.iter().map(|cell| escaped(cell).into_owned()))
    } else {
        writer.write_record(cells)
    };
    let _ = writer.flush();
    drop(writer);
    row
}

/// `text` as a row of texts.
#[must_use]
pub fn row<const COLUMNS: usize>(cells: [&str; COLUMNS]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_aligned_and_safe() {
        let rows = [row(["level", "events"]), row(["ERROR", "3"]), row(["a\x1bä", "1,000,000"]), row(["total"])];
        assert_eq!(aligned(&rows), "level      events\nERROR           3\na\\x1bä  1,000,000\ntotal\n");
        let long = "x".repeat(100);
        assert_eq!(aligned(&[row([&long, "1"]), row(["b", "2"])]).lines().map(str::len).collect::<Vec<_>>(), [103, 63]);
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_says() {
        let cells = row(["plain", "a,b", "say \"x\"", "two\r\nlines", "", "ä"]);
        assert_eq!(csv_row(&cells, false), "plain,\"a,b\",\"say \"\"x\"\"\",\"two\r\nlines\",,ä\r\n".as_bytes());
        assert_eq!(csv_row(&row(["\x1b[2J", "b"]), true), b"\\x1b[2J,b\r\n");
        assert_eq!(csv_row(&row(["\x1b[2J", "b"]), false), b"\x1b[2J,b\r\n");
    }

    proptest! {
        #[test]
        fn every_row_is_read_back(cells in prop::collection::vec(any::<String>(), 1..6)) {
            // The reader drops a byte order mark.
            prop_assume!(!cells.concat().starts_with('\u{feff}'));
            let bytes = csv_row(&cells, false);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes.as_slice());
            let read: Vec<String> = reader.records().next().unwrap().unwrap().iter().map(str::to_owned).collect();
            prop_assert_eq!(read, cells);
        }
    }
}
