//! The page `docs/configuration.md`: every setting with its variable, its meaning and its default.
//!
//! A test compares the file with the settings. If `SPILLWAY_WRITE_DOCS` is set, the test writes the file.

use std::fmt::Write as _;

use serde_json::Value;

use crate::settings::variables::variable_of;
use crate::settings_source::{Section, Setting, sections};

const HEAD: &str = "\
# Configuration

This page lists every setting. It is generated from the doc comments and the defaults in `bootstrap/src/settings`: change
them there, and run `SPILLWAY_WRITE_DOCS=1 cargo test -p bootstrap configuration_page`.

## Sources

Spillway reads three sources. A later source overrides an earlier one, setting by setting:

1. the defaults on this page;
2. a TOML file: the one that `--config FILE` names, otherwise `spillway.toml` in the current directory, if it exists;
3. the environment variables.

In the file, a setting is a key of its section. Its variable is `SPILLWAY_`, the section, `__` and the key, in capitals:
`SPILLWAY_PRODUCER__LISTEN=0.0.0.0:8081` is the same as `listen = \"0.0.0.0:8081\"` in `[producer]`. One setting differs:
the variable of `kind` in `[store]` is `SPILLWAY_STORE`.

| value | examples |
|---|---|
| number of bytes | `64MB` (64,000,000), `1GiB` (2³⁰), `1048576` |
| duration | `250ms`, `25s`, `7days` |
| list | `10.0.0.0/8,::1/128`; in the file also an array of strings |
| address | `127.0.0.1:8080`, `[::1]:8080` |

The process does not start with an unknown key or an invalid value: it prints one message that names the key, and exits
with 64. `spillway config` checks the settings and prints those in effect as environment variables, with secrets masked.
`spillway config --example` prints [spillway.example.toml](../spillway.example.toml), a file with every setting.
";

/// The content of the page.
fn configuration_page() -> String {
    let mut text = HEAD.to_owned();
    for section in sections() {
        let title =
            if section.name.is_empty() { "Outside of sections".to_owned() } else { format!("`[{}]`", section.name) };
        let _ = writeln!(text, "\n## {title}\n");
        if !section.meaning.is_empty() {
            let _ = writeln!(text, "{}\n", section.meaning.join(" "));
        }
        text.push_str("| key | variable | meaning | default |\n|---|---|---|---|\n");
        for setting in &section.settings {
            let (name, variable) = (setting.name, variable(&section, setting));
            let (meaning, default) = (setting.meaning.join(" "), default(setting));
            let _ = writeln!(text, "| `{name}` | `{variable}` | {} | {} |", cell(&meaning), cell(&default));
        }
    }
    text
}

fn variable(section: &Section, setting: &Setting) -> String {
    // A table has a variable for each of its keys.
    let key = if setting.default.is_some() { "" } else { "NAME" };
    let path: Vec<String> =
        [section.name, setting.name, key].into_iter().filter(|key| !key.is_empty()).map(str::to_owned).collect();
    variable_of(&path)
}

fn default(setting: &Setting) -> String {
    match &setting.default {
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
        None => "empty".to_owned(),
    }
}

/// The text of a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_page_lists_the_settings_of_the_program() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = configuration_page();
    if std::env::var_os("SPILLWAY_WRITE_DOCS").is_some() {
        std::fs::write(file, &page).expect("written");
    }
    let found = std::fs::read_to_string(file).expect("the page");
    assert!(
        found == page,
        "docs/configuration.md is out of date: SPILLWAY_WRITE_DOCS=1 cargo test -p bootstrap configuration_page"
    );
}
