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
