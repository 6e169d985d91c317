//! Loads the settings: built-in defaults, then a file, then the environment; later ones override earlier ones.

use std::path::Path;

use config::{Config, Environment, File, FileFormat};

use super::invalid::InvalidSettings;
use super::origin::with_origin;
use super::unknown_keys::refuse_unknown;
use super::variables::variables;
use super::{DEFAULT_FILE, Settings};

impl Settings {
    /// Loads the configuration: `file`, or [`DEFAULT_FILE`] if it exists, and the given environment.
    ///
    /// # Errors
    /// A file cannot be read, a key is unknown, or a value is invalid for its key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidSettings> {
        let default_file = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default_file.exists().then_some(default_file));
        let defaults = Config::try_from(&Self::default()).map_err(|error| InvalidSettings(error.to_string()))?;
        let mut sources = Config::builder().add_source(defaults);
        if let Some(file) = file {
            sources = sources.add_source(File::from(file).format(FileFormat::Toml));
        }
        let variables = variables(environment);
        let named_by: Vec<String> = variables.keys().cloned().collect();
        let sources = sources
            .add_source(
                Environment::with_prefix("SPILLWAY").prefix_separator("_").separator("__").source(Some(variables)),
            )
            .build()
            .map_err(|error| InvalidSettings(error.to_string()))?;
        refuse_unknown(&sources, file, &named_by)?;
        let settings: Result<Self, _> = sources.try_deserialize().map_err(|error| InvalidSettings(error.to_string()));
        let checked = settings.and_then(|settings| settings.check().map(|()| settings));
        checked.map_err(|error| with_origin(error, file, &named_by))
    }
}
