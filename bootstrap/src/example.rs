//! The example configuration file: every setting with its meaning and its default.
//!
//! Constraints and invariants:
//! * Meanings are the doc comments in the source of `settings.rs`, and defaults are those of [`Settings`]: nothing is
//!   maintained twice.
//! * Unchanged, the file sets nothing; without the `#` before its keys it sets every default.

use std::fmt::Write as _;

use serde_json::Value;

use crate::settings::Settings;

const SOURCE: &str = include_str!("settings.rs");
const HEAD: &str = "\
# Every setting of Spillway, with its default. Copy this file to spillway.toml, or pass it with --config, and remove the # before
# the settings that you change. Environment variables override the file: SPILLWAY_ and the key in capitals, with __ between
# section and key.
#
# Printed by `spillway config --example`.
";

/// A field of a struct of settings.
struct Field<'a> {
    meaning: Vec<&'a str>,
    name: &'a str,
    kind: &'a str,
}

/// The structs that a source defines, with those of their fields that have a doc comment or a serde name.
fn structs(source: &str) -> Vec<(&str, Vec<Field<'_>>)> {
    let mut structs = Vec::new();
    let (mut open, mut meaning) = (None::<(&str, Vec<Field<'_>>)>, Vec::new());
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            open = Some((name, Vec::new()));
            meaning.clear();
        } else if line == "}" {
            structs.extend(open.take());
        } else if let Some((_, fields)) = &mut open {
            let line = line.trim();
            if let Some(text) = line.strip_prefix("/// ") {
                meaning.push(text);
            } else if let Some((name, kind)) = line.trim_end_matches(',').split_once(": ").filter(|_| is_field(line)) {
                let name = name.strip_prefix("pub ").unwrap_or(name);
                fields.push(Field { meaning: std::mem::take(&mut meaning), name, kind });
            }
        }
    }
    structs
}

fn is_field(line: &str) -> bool {
    line.starts_with(|first: char| first.is_ascii_lowercase())
}

/// The content of the file.
#[must_use]
pub fn example() -> String {
    let structs = structs(SOURCE);
    let fields = |kind: &str| structs.iter().find(|(name, _)| *name == kind).map(|(_, fields)| fields.as_slice());
    let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
    let all = fields("Settings").unwrap_or_default();
    let mut text = HEAD.to_owned();
    for field in all.iter().filter(|field| fields(field.kind).is_none()) {
        text.push('\n');
        write_setting(&mut text, "", field, &defaults);
    }
    for section in all {
        let Some(fields) = fields(section.kind) else { continue };
        text.push('\n');
        write_meaning(&mut text, section);
        let name = section.name;
        let _ = writeln!(text, "[{name}]");
        for field in fields {
            write_setting(&mut text, name, field, defaults.get(name).unwrap_or(&Value::Null));
        }
    }
    text
}

fn write_meaning(text: &mut String, field: &Field<'_>) {
    for line in &field.meaning {
        let _ = writeln!(text, "# {line}");
    }
}

fn write_setting(text: &mut String, section: &str, field: &Field<'_>, defaults: &Value) {
    write_meaning(text, field);
    let name = field.name;
    let _ = match defaults.get(name) {
        // JSON strings are valid TOML strings.
        Some(value) if !value.is_object() => writeln!(text, "#{name} = {value}"),
        _ => writeln!(text, "#[{section}.{name}]"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../spillway.example.toml");

    fn loaded(text: &str) -> Settings {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("some.toml");
        std::fs::write(&file, text).expect("written");
        Settings::load(Some(&file), []).expect("valid")
    }

    #[test]
    fn the_file_is_what_the_program_prints() {
        assert!(
            FILE == example(),
            "spillway.example.toml is out of date: cargo run -- config --example > spillway.example.toml"
        );
    }

    #[test]
    fn unchanged_it_sets_nothing_and_with_its_keys_uncommented_every_default() {
        assert_eq!(loaded(&example()), Settings::default());
        let is_key = |rest: &str| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[');
        let taken = |line: &str| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line).to_owned();
        let text: Vec<String> = example().lines().map(taken).collect();
        assert_eq!(loaded(&text.join("\n")), Settings::default());
        let keys = text.iter().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
        assert_eq!(keys, Settings::default().to_variables().lines().count());
    }

    #[test]
    fn every_setting_has_a_doc_comment() {
        // Level names are explained by their section.
        for (name, fields) in structs(SOURCE).iter().filter(|(name, _)| *name != "DeliverySettings") {
            for field in fields.iter().filter(|_| name.ends_with("Settings")) {
                assert!(!field.meaning.is_empty(), "{name}.{} has no doc comment", field.name);
            }
        }
    }
}
