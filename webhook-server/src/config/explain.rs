//! Errors of the command line that name the variable as well as the flag.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command, CommandFactory};

use super::CommandLine;

/// The same error, by the name of its variable where it is about a value.
pub(super) fn by_variable(error: Error, args: &[OsString], command: &mut Command) -> Error {
    let kind = error.kind();
    if kind == ErrorKind::InvalidUtf8
        && let Some(name) = not_utf8(args)
    {
        // It may be a secret.
        return command.error(kind, format!("the value of {name} is not UTF-8"));
    }
    if !matches!(kind, ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error;
    }
    let (Some(ContextValue::String(arg)), Some(ContextValue::String(value))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return error;
    };
    // As in `--flag <VALUE>` and `--flag[=<VALUE>]`.
    let flag = arg.split([' ', '[', '=']).next().unwrap_or(arg);
    let variable = CommandLine::command()
        .get_arguments()
        .find(|known| known.get_long() == flag.strip_prefix("--"))
        .and_then(named);
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

/// The variable and the flag of `known`.
fn named(known: &Arg) -> Option<String> {
    let (variable, flag) = (known.get_env()?, known.get_long()?);
    Some(format!("{} (--{flag})", variable.to_string_lossy()))
}

/// The variable whose value is not UTF-8, and its flag.
fn not_utf8(args: &[OsString]) -> Option<String> {
    let command = CommandLine::command();
    let is_text = |known: &&Arg| known.get_value_parser().type_id() != TypeId::of::<PathBuf>();
    let mut known = command.get_arguments().filter(is_text);
    let by_flag = |known: &Arg| {
        let flag = format!("--{}", known.get_long()?);
        let is_bad = args.windows(2).any(|pair| {
            let joined = pair[1].as_encoded_bytes().strip_prefix(flag.as_bytes());
            let is_joined = joined.is_some_and(|rest| rest.starts_with(b"="));
            pair[1].to_str().is_none() && (is_joined || pair[0] == *flag)
        });
        is_bad.then(|| named(known))?
    };
    let by_variable = |known: &Arg| {
        let value = std::env::var_os(known.get_env()?)?;
        value.to_str().is_none().then(|| named(known))?
    };
    known.find_map(|known| by_flag(known).or_else(|| by_variable(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &[OsString]) -> String {
        let program = OsString::from("webhook-server");
        let read = CommandLine::read_without([program].iter().chain(args), |_| true);
        read.unwrap_err().to_string()
    }

    #[test]
    fn a_switch_is_named_by_its_variable() {
        let message = refused(&["--insecure=maybe".into()]);
        assert!(message.contains("INSECURE (--insecure)"), "{message}");
        assert!(message.contains(r#""maybe""#), "{message}");
    }

    #[test]
    #[cfg(unix)]
    fn what_is_not_utf8_is_named_and_not_shown() {
        use std::os::unix::ffi::OsStringExt;

        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        for args in [
            vec![os(b"--webhook-secrets=hunter2\xff")],
            vec![os(b"--webhook-secrets"), os(b"hunter2\xff")],
        ] {
            let message = refused(&args);
            let name = "WEBHOOK_SECRETS (--webhook-secrets)";
            assert!(message.contains(name), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
