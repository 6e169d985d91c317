//! The example configuration file: every setting with its meaning and its default.
//!
//! Unchanged, the file sets nothing; without the `#` before its keys it sets every default.

use std::fmt::Write as _;

use crate::settings_source::{Setting, sections};

const HEAD: &str = "\
# Every setting of Spillway, with its default. Copy this file to spillway.toml, or pass it with --config, and remove the # before
# the settings that you change. Environment variables override the file: SPILLWAY_ and the key in capitals, with __ between
# section and key.
#
# Printed by `spillway config --example`.
";

/// The content of the file.
#[must_use]
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    for section in sections() {
        if section.name.is_empty() {
            for setting in &section.settings {
                text.push('\n');
                write_setting(&mut text, section.name, setting);
            }
            continue;
        }
        text.push('\n');
        write_meaning(&mut text, &section.meaning);
        let _ = writeln!(text, "[{}]", section.name);
        for setting in &section.settings {
            write_setting(&mut text, section.name, setting);
        }
    }
    text
}

fn write_meaning(text: &mut String, meaning: &[&str]) {
    for line in meaning {
        let _ = writeln!(text, "# {line}");
    }
}

fn write_setting(text: &mut String, section: &str, setting: &Setting) {
    write_meaning(text, &setting.meaning);
    let name = setting.name;
    let _ = match &setting.default {
        // JSON strings are valid TOML strings.
        Some(value) => writeln!(text, "#{name} = {value}"),
        None => writeln!(text, "#[{section}.{name}]"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

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
}
