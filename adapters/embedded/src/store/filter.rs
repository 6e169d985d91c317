//! Filters in SQLite's language.
//!
//! Constraint: SQLite folds case in ASCII only, so it finds candidates; see [`domain::filter`].

use domain::filter::{Candidates, Clause, Column, ExactCondition, IdField, TextColumn, TimeField};
use sqlx::{QueryBuilder, Sqlite};

/// Adds the clause of a filter to a condition that goes before it.
pub fn push_candidates(select: &mut QueryBuilder<Sqlite>, candidates: &Candidates<'_>) {
    select.push(" AND ");
    push_clause(select, &candidates.clause);
}

fn push_clause(select: &mut QueryBuilder<Sqlite>, clause: &Clause<'_>) {
    match clause {
        Clause::All(clauses) => push_list(select, clauses, " AND ", "true"),
        Clause::Any(clauses) => push_list(select, clauses, " OR ", "false"),
        Clause::Exact { condition, negated: false } => push_condition(select, condition),
        Clause::Exact { condition, negated: true } => {
            // Of NULL a condition is NULL.
            select.push("(");
            push_condition(select, condition);
            select.push(") IS NOT true");
        }
        Clause::Contains(column, part) => {
            select.push(format!("instr(lower({}), ", text_of(*column))).push_bind(part.clone()).push(") > 0");
        }
        Clause::ContainsExactly(column, part) => {
            select.push(format!("instr({}, ", text_of(*column))).push_bind(part.clone()).push(") > 0");
        }
        Clause::Exponent(column) => {
            select.push(format!("{} GLOB '*[0-9][eE][-+0-9]*'", text_of(*column)));
        }
        Clause::BeyondAscii(column) => {
            let text = text_of(*column);
            select.push(format!("octet_length({text}) <> length({text})"));
        }
    }
}

fn push_list(select: &mut QueryBuilder<Sqlite>, clauses: &[Clause<'_>], join: &str, empty: &str) {
    if clauses.is_empty() {
        select.push(empty);
        return;
    }
    for (index, clause) in clauses.iter().enumerate() {
        select.push(if index == 0 { "(" } else { join });
        push_clause(select, clause);
    }
    select.push(")");
}

fn push_condition(select: &mut QueryBuilder<Sqlite>, condition: &ExactCondition<'_>) {
    match condition {
        ExactCondition::SourceIs(source) => {
            select.push("source = ").push_bind((*source).to_owned());
        }
        ExactCondition::Levels(levels) => {
            let numbers: Vec<String> = levels.iter().map(|level| level.number().to_string()).collect();
            select.push(format!("level IN ({})", numbers.join(", ")));
        }
        ExactCondition::Time(field, range) => {
            let column = match field {
                TimeField::Timestamp => "timestamp",
                TimeField::ReceivedAt => "received_at",
            };
            select.push(format!("{column} BETWEEN ")).push_bind(range.start().unix_micros());
            select.push(" AND ").push_bind(range.end().unix_micros());
        }
        ExactCondition::IdIs(field, bytes) => {
            let column = match field {
                IdField::Event => "event_id",
                IdField::Trace => "trace_id",
                IdField::Span => "span_id",
            };
            select.push(format!("{column} = ")).push_bind(bytes.to_vec());
        }
        ExactCondition::Present(column) => {
            let column = match column {
                Column::StackTrace => "stack_trace",
                Column::TraceId => "trace_id",
                Column::SpanId => "span_id",
            };
            select.push(format!("{column} IS NOT NULL"));
        }
    }
}

fn text_of(column: TextColumn) -> &'static str {
    match column {
        TextColumn::Source => "source",
        TextColumn::Message => "message",
        TextColumn::StackTrace => "stack_trace",
        TextColumn::Metadata => "metadata",
        TextColumn::EventId => "hex(event_id)",
        TextColumn::TraceId => "hex(trace_id)",
        TextColumn::SpanId => "hex(span_id)",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::level::Level;
    use sqlx::{Connection, Row, SqliteConnection};

    use super::*;

    /// The numbers of the rows that a clause selects. A clause that selects too much costs time only, which no test of a search
    /// sees.
    async fn selected(clause: Clause<'_>) -> Vec<i64> {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("memory");
        let rows = r#"CREATE TABLE events (id INTEGER, source TEXT, level INTEGER, message TEXT, timestamp INTEGER,
                          received_at INTEGER, stack_trace TEXT, trace_id BLOB, span_id BLOB, event_id BLOB, metadata TEXT);
                      INSERT INTO events VALUES
                          (1, 'shop', 3, 'Time Out', 10, 20, 'at x', x'0AFF', x'0B', x'0C', '{"a":1.5e+3}'),
                          (2, 'Shop', 4, 'é12', 11, 21, NULL, NULL, NULL, x'0D', NULL),
                          (3, 'cart', 2, 'done', 12, 22, NULL, NULL, NULL, x'0E', '{"a":"1e","b":12}')"#;
        sqlx::raw_sql(rows).execute(&mut connection).await.expect("rows");
        let mut select = QueryBuilder::new("SELECT id FROM events WHERE true");
        push_candidates(&mut select, &Candidates { clause, exact: false });
        select.push(" ORDER BY id");
        let rows = select.build().fetch_all(&mut connection).await.expect("an answer");
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn exact(condition: ExactCondition<'_>, negated: bool) -> Clause<'_> {
        Clause::Exact { condition, negated }
    }

    #[tokio::test]
    async fn clauses_of_texts_select_what_has_them_and_nothing_else() {
        let text = str::to_owned;
        for (clause, rows) in [
            (Clause::Contains(TextColumn::Message, text("time out")), &[1_i64][..]),
            (Clause::Contains(TextColumn::Source, text("shop")), &[1, 2]),
            (Clause::Contains(TextColumn::TraceId, text("0aff")), &[1]),
            (Clause::Contains(TextColumn::SpanId, text("0b")), &[1]),
            (Clause::Contains(TextColumn::EventId, text("0d")), &[2]),
            (Clause::ContainsExactly(TextColumn::Message, text("time")), &[]),
            (Clause::ContainsExactly(TextColumn::Message, text("Time")), &[1]),
            (Clause::ContainsExactly(TextColumn::StackTrace, text("at")), &[1]),
            (Clause::Exponent(TextColumn::Metadata), &[1]),
            (Clause::BeyondAscii(TextColumn::Message), &[2]),
            (Clause::All(Vec::new()), &[1, 2, 3]),
            (Clause::Any(Vec::new()), &[]),
            (
                Clause::Any(vec![
                    Clause::BeyondAscii(TextColumn::Message),
                    Clause::All(vec![
                        Clause::Contains(TextColumn::Message, text("time")),
                        Clause::Contains(TextColumn::Source, text("shop")),
                    ]),
                ]),
                &[1, 2],
            ),
        ] {
            assert_eq!(selected(clause.clone()).await, rows, "{clause:?}");
        }
    }

    #[tokio::test]
    async fn the_negation_of_a_condition_selects_all_other_rows_also_those_without_a_value() {
        let levels = BTreeSet::from([Level::Warn, Level::Error]);
        let time = |micros| domain::timestamp::Timestamp::from_unix_micros(micros).expect("a time");
        let range = time(21)..=time(22);
        for (condition, rows) in [
            (ExactCondition::SourceIs("shop"), &[1_i64][..]),
            (ExactCondition::Levels(&levels), &[1, 2]),
            (ExactCondition::Time(TimeField::ReceivedAt, &range), &[2, 3]),
            (ExactCondition::Time(TimeField::Timestamp, &range), &[]),
            (ExactCondition::IdIs(IdField::Trace, &[0x0A, 0xFF]), &[1]),
            (ExactCondition::IdIs(IdField::Span, &[0x0B]), &[1]),
            (ExactCondition::IdIs(IdField::Event, &[0x0E]), &[3]),
            (ExactCondition::Present(Column::StackTrace), &[1]),
            (ExactCondition::Present(Column::TraceId), &[1]),
            (ExactCondition::Present(Column::SpanId), &[1]),
        ] {
            assert_eq!(selected(exact(condition.clone(), false)).await, rows, "{condition:?}");
            let others: Vec<i64> = (1..=3).filter(|row| !rows.contains(row)).collect();
            assert_eq!(selected(exact(condition.clone(), true)).await, others, "not {condition:?}");
        }
    }
}
