//! Values of options that may contain a password: an error does not repeat them, as that of clap would.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// Parses values with [`FromStr`].
pub struct SecretArgument<T>(PhantomData<fn() -> T>);

/// The parser of an option whose value is never shown.
#[must_use]
pub fn secret_argument<T>() -> SecretArgument<T> {
    SecretArgument(PhantomData)
}

impl<T> Clone for SecretArgument<T> {
    fn clone(&self) -> Self {
        secret_argument()
    }
}

impl<T> TypedValueParser for SecretArgument<T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: Display,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, option: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let invalid = |reason: &dyn Display| {
            let option = option.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{option}': {reason}");
            clap::Error::raw(ErrorKind::ValueValidation, message).format(&mut command.clone())
        };
        let text = value.to_str().ok_or_else(|| invalid(&"it is not UTF-8"))?;
        text.parse().map_err(|error: T::Err| invalid(&error))
    }
}
