//! Refuses keys that no setting has: a misspelt limit must not be ignored silently.

use std::path::Path;

use config::Config;
use serde_json::Value;

use super::Settings;
use super::invalid::InvalidSettings;
use super::variables::{flatten, variable_of};

/// A key with so many typing errors still gets a suggestion.
const TYPING_ERRORS_MAX: usize = 2;

/// Refuses a key that no setting has. `variables` are those of the environment; a key that is not among them is in the
/// file.
pub(super) fn refuse_unknown(
    sources: &Config,
    file: Option<&Path>,
    variables: &[String],
) -> Result<(), InvalidSettings> {
    let given: Value = sources.clone().try_deserialize().map_err(|error| InvalidSettings(error.to_string()))?;
    let known = flatten(&serde_json::to_value(Settings::default()).unwrap_or_default());
    for (path, _) in flatten(&given) {
        let property = path.first().is_some_and(|of| of == "kafka") && path.get(1).is_some_and(|of| of == "properties");
        if property || known.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let (key, variable) = (path.join("."), variable_of(&path));
        let last = path.last().map_or("", String::as_str);
        let injected = ["port", "service_host", "service_port"]
            .iter()
            .any(|word| last == *word || last.starts_with(&format!("{word}_")));
        let hint = if injected {
            "; Kubernetes sets such variables for a Service named \"spillway\": set enableServiceLinks: false in the pod, or name the Service differently".to_owned()
        } else {
            let bare = |key: &str| key.to_ascii_lowercase().replace(['_', '.'], "");
            let similar = known.iter().map(|(known, _)| known.join(".")).filter(|known| {
                bare(known) == bare(&key)
                    || known.rsplit('.').next() == Some(last)
                    || known.starts_with(&format!("{key}."))
                    || known.starts_with(&format!("{key}_"))
                    || key.starts_with(known.as_str())
                    || strsim::damerau_levenshtein(known, &key) <= TYPING_ERRORS_MAX
            });
            let similar: Vec<String> = similar.collect();
            if similar.is_empty() {
                "; `spillway config` lists all keys".to_owned()
            } else {
                format!("; did you mean {}?", similar.join(" or "))
            }
        };
        let place = match file {
            Some(file) if !variables.iter().any(|name| name.eq_ignore_ascii_case(&variable)) => {
                format!("in {}", file.display())
            }
            _ => format!("in the environment: {variable}"),
        };
        return Err(InvalidSettings(format!("unknown key {key} ({place}){hint}")));
    }
    Ok(())
}
