//! Where a setting with an invalid value is set.

use std::path::Path;

use config::{Config, File, FileFormat};
use serde_json::Value;

use super::Settings;
use super::invalid::InvalidSettings;
use super::variables::{flatten, variable_of};

/// Adds to an error where the settings that it names are set: by a variable of the environment, or else in the file. A setting
/// that has its default is in neither.
pub(super) fn with_origin(error: InvalidSettings, file: Option<&Path>, variables: &[String]) -> InvalidSettings {
    let InvalidSettings(message) = error;
    let known = flatten(&serde_json::to_value(Settings::default()).unwrap_or_default());
    let in_file = file.map(|file| (file, keys_of(file)));
    let named = known.into_iter().map(|(path, _)| path).filter(|path| names(&message, &path.join(".")));
    let origins = named.filter_map(|path| {
        let variable = format!("SPILLWAY_{}", path.join("__"));
        if variables.iter().any(|name| name.eq_ignore_ascii_case(&variable)) {
            return Some(variable_of(&path));
        }
        let (file, keys) = in_file.as_ref()?;
        keys.contains(&path).then(|| format!("{} in {}", path.join("."), file.display()))
    });
    let origins: Vec<String> = origins.collect();
    if origins.is_empty() {
        return InvalidSettings(message);
    }
    InvalidSettings(format!("{message} (set by {})", origins.join(" and ")))
}

/// The keys in a file, as their paths; none if it cannot be read.
fn keys_of(file: &Path) -> Vec<Vec<String>> {
    let read = Config::builder().add_source(File::from(file).format(FileFormat::Toml)).build();
    let tree: Option<Value> = read.ok().and_then(|read| read.try_deserialize().ok());
    tree.map(|tree| flatten(&tree).into_iter().map(|(path, _)| path).collect()).unwrap_or_default()
}

/// Whether a message names a key. A key without a section, such as `bus`, may also be a word of the text.
fn names(message: &str, key: &str) -> bool {
    let is_of_key = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.');
    let is_whole = message.match_indices(key).any(|(at, _)| {
        let before = message.get(..at).and_then(|text| text.chars().next_back());
        let behind = message.get(at + key.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_of_key) && !behind.is_some_and(is_of_key)
    });
    is_whole && (key.contains('.') || message.starts_with(key) || message.contains(&format!("`{key}`")))
}
