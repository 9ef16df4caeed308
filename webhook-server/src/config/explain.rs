//! Errors of the command line that name the variable as well as the flag.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Command, CommandFactory};

use super::CommandLine;

/// The same error, by the name of its variable where it is about a value.
pub(super) fn by_variable(error: Error, command: &mut Command) -> Error {
    let kind = error.kind();
    if !matches!(kind, ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    let (Some(ContextValue::String(arg)), Some(ContextValue::String(value))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return error;
    };
    let flag = arg.split_whitespace().next().unwrap_or(arg);
    let variable = CommandLine::command()
        .get_arguments()
        .find(|known| known.get_long() == flag.strip_prefix("--"))
        .and_then(|known| known.get_env())
        .map(|variable| format!("{} ({flag})", variable.to_string_lossy()));
    let expected = match (
        error.get(ContextKind::ValidValue),
        std::error::Error::source(&error),
    ) {
        (Some(ContextValue::Strings(values)), _) => {
            format!("expected one of {}", values.join(", "))
        }
        (_, Some(reason)) => reason.to_string(),
        _ => return error,
    };
    let name = variable.unwrap_or_else(|| flag.to_owned());
    let message = format!("invalid value {value:?} for {name}: {expected}");
    command.error(ErrorKind::ValueValidation, message)
}
