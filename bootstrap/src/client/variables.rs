//! The variables of the environment that are for these commands and for `send`, and not settings of a server.

use crate::credentials::KEY_VARIABLE;
use crate::send::URL_VARIABLE;

/// What the names of these variables begin with.
pub const VARIABLE_PREFIX: &str = "SPILLWAY_CLIENT__";

/// Refuses a variable that begins with [`VARIABLE_PREFIX`] and that no command reads: a misspelt one must not be ignored
/// silently.
///
/// # Errors
/// The message names the variable.
pub fn refuse_unknown_variables<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    for name in names {
        let Some(key) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        if name != URL_VARIABLE && name != KEY_VARIABLE {
            let key = key.to_ascii_lowercase();
            return Err(format!(
                "unknown key client.{key} (in the environment: {name}); the variables of the commands that connect are \
                 {URL_VARIABLE} and {KEY_VARIABLE}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_no_command_reads_is_refused_by_name() {
        let known = ["SPILLWAY_DATA_DIR", URL_VARIABLE, KEY_VARIABLE, "SPILLWAY_CLIENT_", "PATH"];
        assert_eq!(refuse_unknown_variables(known), Ok(()));
        for unknown in ["SPILLWAY_CLIENT__FOO", "SPILLWAY_CLIENT__url", "SPILLWAY_CLIENT__URL__X", VARIABLE_PREFIX] {
            let message = refuse_unknown_variables([URL_VARIABLE, unknown]).unwrap_err();
            assert!(message.starts_with("unknown key client."), "{message}");
            assert!(message.contains(&format!("(in the environment: {unknown})")), "{message}");
        }
    }
}
