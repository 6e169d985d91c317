//! Filters in PostgreSQL's language.
//!
//! Constraint: the server folds case by its own tables, so here it folds ASCII only and finds candidates; see
//! [`domain::filter`].

use std::ops::RangeInclusive;

use domain::filter::{Candidates, Clause, Column, ExactCondition, IdField, TextColumn, TimeField};
use domain::timestamp::Timestamp;
use sqlx::{Postgres, QueryBuilder};

use crate::time::PgTime;

/// Adds the clause of a filter to a condition that goes before it.
pub fn push_candidates(select: &mut QueryBuilder<Postgres>, candidates: &Candidates<'_>) {
    select.push(" AND ");
    push_clause(select, &candidates.clause);
}

/// Adds the condition that an event was received in one of these ranges, so that the server reads no tables of other days.
pub fn push_received(select: &mut QueryBuilder<Postgres>, ranges: &[RangeInclusive<Timestamp>]) {
    if let [range] = ranges
        && *range == (Timestamp::MIN..=Timestamp::MAX)
    {
        return;
    }
    select.push(" AND (false");
    for range in ranges {
        select.push(" OR received_at BETWEEN ").push_bind(PgTime(*range.start()));
        select.push(" AND ").push_bind(PgTime(*range.end()));
    }
    select.push(")");
}

fn push_clause(select: &mut QueryBuilder<Postgres>, clause: &Clause<'_>) {
    match clause {
        Clause::All(clauses) => push_list(select, clauses, " AND ", "true"),
        Clause::Any(clauses) => push_list(select, clauses, " OR ", "false"),
        Clause::Exact { condition, negated: false } => push_condition(select, condition),
        Clause::Exact { condition, negated: true } => {
            // Of NULL a condition is NULL.
            select.push("(");
            push_condition(select, condition);
            select.push(") IS NOT TRUE");
        }
        Clause::Contains(column, part) => {
            let text = text_of(*column);
            select.push(format!("strpos(lower({text} COLLATE \"C\"), ")).push_bind(part.clone()).push(") > 0");
        }
        Clause::ContainsExactly(column, part) => {
            let text = text_of(*column);
            select.push(format!("strpos({text} COLLATE \"C\", ")).push_bind(part.clone()).push(") > 0");
        }
        Clause::Exponent(column) => {
            select.push(format!("{} ~ '[0-9][eE][-+0-9]'", text_of(*column)));
        }
        Clause::BeyondAscii(column) => {
            let text = text_of(*column);
            select.push(format!("octet_length({text}) <> char_length({text})"));
        }
    }
}

fn push_list(select: &mut QueryBuilder<Postgres>, clauses: &[Clause<'_>], join: &str, empty: &str) {
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

fn push_condition(select: &mut QueryBuilder<Postgres>, condition: &ExactCondition<'_>) {
    match condition {
        ExactCondition::SourceIs(source) => {
            select.push("source = ").push_bind((*source).to_owned());
        }
        ExactCondition::Levels(levels) => {
            let levels: Vec<i16> = levels.iter().map(|level| i16::from(level.number())).collect();
            select.push("level = ANY(").push_bind(levels).push(")");
        }
        ExactCondition::Time(field, range) => {
            let column = match field {
                TimeField::Timestamp => "\"timestamp\"",
                TimeField::ReceivedAt => "received_at",
            };
            select.push(format!("{column} BETWEEN ")).push_bind(PgTime(*range.start()));
            select.push(" AND ").push_bind(PgTime(*range.end()));
        }
        ExactCondition::IdIs(IdField::Event, bytes) => {
            // An id of another length belongs to no event.
            select.push("event_id = ").push_bind(domain::Uuid::from_slice(bytes).ok());
        }
        ExactCondition::IdIs(field @ (IdField::Trace | IdField::Span), bytes) => {
            let column = if *field == IdField::Trace { "trace_id" } else { "span_id" };
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
        TextColumn::Metadata => "metadata::text",
        TextColumn::EventId => "replace(event_id::text, '-', '')",
        TextColumn::TraceId => "encode(trace_id, 'hex')",
        TextColumn::SpanId => "encode(span_id, 'hex')",
    }
}
