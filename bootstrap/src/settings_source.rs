//! The settings as their source describes them: sections, names, meanings and defaults.
//!
//! Constraints and invariants:
//! * Meanings are the doc comments in the source of `settings`, and defaults are those of [`Settings`]: nothing is
//!   maintained twice.
//! * A source is read line by line: a struct begins with `pub struct NAME {` and ends with `}`, both at the beginning of
//!   a line, and each field has a line of its own.

use serde_json::Value;

use crate::settings::Settings;

/// The files with structs of settings.
const SOURCES: [&str; 18] = [
    include_str!("settings/mod.rs"),
    include_str!("settings/gateway.rs"),
    include_str!("settings/service.rs"),
    include_str!("settings/http.rs"),
    include_str!("settings/auth.rs"),
    include_str!("settings/cors.rs"),
    include_str!("settings/rate_limit.rs"),
    include_str!("settings/ingest.rs"),
    include_str!("settings/otlp.rs"),
    include_str!("settings/syslog.rs"),
    include_str!("settings/delivery.rs"),
    include_str!("settings/journal.rs"),
    include_str!("settings/embedded.rs"),
    include_str!("settings/store.rs"),
    include_str!("settings/kafka.rs"),
    include_str!("settings/postgres.rs"),
    include_str!("settings/redis.rs"),
    include_str!("settings/alert.rs"),
];

/// A section of the settings.
pub struct Section {
    /// Its key; empty for the settings outside of the sections.
    pub name: &'static str,
    /// The lines of its doc comment.
    pub meaning: Vec<&'static str>,
    /// Its settings, in the order of the source.
    pub settings: Vec<Setting>,
}

/// One setting.
pub struct Setting {
    /// Its key within the section.
    pub name: &'static str,
    /// The lines of its doc comment.
    pub meaning: Vec<&'static str>,
    /// Its default; `None` for a table that takes any keys.
    pub default: Option<Value>,
}

/// All settings: first those outside of the sections, then each section.
#[must_use]
pub fn sections() -> Vec<Section> {
    let known: Vec<Struct> = SOURCES.into_iter().flat_map(structs).collect();
    let fields_of = |kind: &str| known.iter().find(|of| of.name == kind).map(|of| of.fields.as_slice());
    let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
    let all = fields_of("Settings").unwrap_or_default();
    let alone = all.iter().filter(|field| fields_of(field.kind).is_none());
    let mut sections = vec![Section {
        name: "",
        meaning: Vec::new(),
        settings: alone.map(|field| field.setting(&defaults)).collect(),
    }];
    for section in all {
        let Some(fields) = fields_of(section.kind) else { continue };
        let defaults = defaults.get(section.name).unwrap_or(&Value::Null);
        sections.push(Section {
            name: section.name,
            meaning: section.meaning.clone(),
            settings: fields.iter().map(|field| field.setting(defaults)).collect(),
        });
    }
    sections
}

/// A struct of settings.
struct Struct {
    name: &'static str,
    fields: Vec<Field>,
}

/// A field of a struct of settings.
struct Field {
    meaning: Vec<&'static str>,
    name: &'static str,
    kind: &'static str,
}

impl Field {
    /// The setting, with its value among `defaults`.
    fn setting(&self, defaults: &Value) -> Setting {
        let default = defaults.get(self.name).filter(|value| !value.is_object()).cloned();
        Setting { name: self.name, meaning: self.meaning.clone(), default }
    }
}

/// The structs that a source defines.
fn structs(source: &'static str) -> Vec<Struct> {
    let mut structs = Vec::new();
    let (mut open, mut meaning) = (None::<Struct>, Vec::new());
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            open = Some(Struct { name, fields: Vec::new() });
            meaning.clear();
        } else if line == "}" {
            structs.extend(open.take());
        } else if let Some(open) = &mut open {
            let line = line.trim();
            if let Some(text) = line.strip_prefix("/// ") {
                meaning.push(text);
            } else if let Some((name, kind)) = line.trim_end_matches(',').split_once(": ").filter(|_| is_field(line)) {
                let name = name.strip_prefix("pub ").unwrap_or(name);
                open.fields.push(Field { meaning: std::mem::take(&mut meaning), name, kind });
            }
        }
    }
    structs
}

fn is_field(line: &str) -> bool {
    line.starts_with(|first: char| first.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_doc_comment() {
        // Level names are explained by their section.
        for section in sections().iter().filter(|section| section.name != "delivery") {
            for setting in &section.settings {
                assert!(!setting.meaning.is_empty(), "{}.{} has no doc comment", section.name, setting.name);
            }
        }
    }
}
