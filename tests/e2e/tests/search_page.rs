//! The examples of `docs/search.md` against a running Spillway.

#![cfg(test)]

use e2e::{Program, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const PAGE: &str = include_str!("../../../docs/search.md");

/// The cells of the two-column table behind a heading; code without its backticks.
fn table(heading: &str) -> Vec<(String, String)> {
    let section = PAGE.split_once(heading).expect("the heading").1;
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = |row: &str| {
        let (query, answer) = row.trim_matches('|').split_once(" | ").expect("two cells");
        (query.trim().trim_matches('`').to_owned(), answer.trim().to_owned())
    };
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// A value of a query string.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn every_example_finds_what_the_page_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let examples = PAGE.split_once("### Examples").expect("the heading").1;
    let lines = examples.split_once("```json\n").expect("events").1.split_once("```").expect("an end").0;
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = program.gateway.send("POST", "/api/logs/batch", &headers, lines.to_owned()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &events.len().into()));
    wait_until("all are stored", || async { program.gateway.all_events("", 100).await.len() == events.len() }).await;

    let table = table("With these events:");
    assert!(table.len() >= 20, "{} examples", table.len());
    for (query, expected) in table {
        let found = program.gateway.get(&format!("/api/logs?order=asc&query={}", encoded(&query))).await;
        assert_eq!(found.status, 200, "{query}: {:?}", found.body);
        let number = |event: &serde_json::Value| {
            events.iter().position(|sent| sent["message"] == event["message"]).expect("one of them") + 1
        };
        let found: Vec<usize> = found.json()["events"].as_array().expect("a list").iter().map(number).collect();
        let expected: Vec<usize> = expected.split(", ").map(|number| number.parse().expect("a number")).collect();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn every_error_is_the_one_of_the_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let table = table("### Errors");
    assert!(table.len() >= 4);
    for (query, detail) in table {
        let refused = program.gateway.get(&format!("/api/logs?query={}", encoded(&query))).await;
        let problem = refused.json();
        assert_eq!((refused.status, &problem["code"]), (400, &"query_invalid".into()), "{query}");
        assert_eq!(problem["detail"], detail, "{query}");
    }
}
