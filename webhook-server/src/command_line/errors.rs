//! Rewrites clap's errors: they name the variable as well as the flag, and show no secret. clap would
//! quote any value, and cannot say which one is not UTF-8.

use std::any::TypeId;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command};

use super::subcommand;
use crate::config::looks_secret;

/// Rewrites `error`, which `command` reports of `args`. If it is about a value, it names the variable
/// and the flag. It quotes nothing that may be a secret.
pub(super) fn explain(error: Error, args: &[OsString], command: &mut Command) -> Error {
    let error = rewrite(error, args, command);
    match error {
        Rewritten::Kept(error) => error,
        Rewritten::New(kind, message) => match subcommand(args, command) {
            // Its usage fits in a line, and those who run it need not read that of the server.
            Some(name) => {
                command.build();
                let named = command.find_subcommand_mut(&name);
                match named {
                    Some(named) => named.error(kind, message),
                    None => command.error(kind, message),
                }
            }
            None => command.error(kind, message),
        },
    }
}

/// An error, or what is said instead of it.
enum Rewritten {
    Kept(Error),
    New(ErrorKind, String),
}

fn rewrite(error: Error, args: &[OsString], command: &Command) -> Rewritten {
    match error.kind() {
        ErrorKind::InvalidUtf8 => match not_utf8(args, command) {
            // It may be a secret.
            Some(name) => Rewritten::New(
                ErrorKind::InvalidUtf8,
                format!("the value of {name} is not UTF-8"),
            ),
            None => Rewritten::Kept(error),
        },
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => unknown(&error),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => value(error, command),
        _ => Rewritten::Kept(error),
    }
}

/// An unknown argument. It is quoted if it is a flag. Anything else may be part of a secret that the
/// shell has split at a blank, or a database URL without its flag.
fn unknown(error: &Error) -> Rewritten {
    let context = |kinds: [ContextKind; 2]| kinds.into_iter().find_map(|kind| error.get(kind));
    let given = match context([ContextKind::InvalidArg, ContextKind::InvalidSubcommand]) {
        Some(ContextValue::String(given)) => given.as_str(),
        _ => "",
    };
    let flag = given.split(['=', ' ']).next().unwrap_or_default();
    let is_flag = flag.strip_prefix("--").is_some_and(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    });
    let mut message = if is_flag {
        format!("unexpected argument {flag}")
    } else if error.kind() == ErrorKind::InvalidSubcommand {
        "there is no such command; its name is not shown because it may be a part of a secret: put values \
         with blanks into quotation marks"
            .to_owned()
    } else {
        "unexpected argument, which is not shown because it may be a secret: put values with blanks \
         into quotation marks"
            .to_owned()
    };
    let similar = match context([ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]) {
        Some(ContextValue::String(similar)) => vec![similar.as_str()],
        Some(ContextValue::Strings(similar)) => similar.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    if !similar.is_empty() {
        message.push_str("; did you mean ");
        message.push_str(&similar.join(" or "));
        message.push('?');
    }
    Rewritten::New(error.kind(), message)
}

/// A value that does not parse.
fn value(error: Error, command: &Command) -> Rewritten {
    let (Some(ContextValue::String(arg)), Some(ContextValue::String(value))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return Rewritten::Kept(error);
    };
    // As in `--flag <VALUE>` and `--flag[=<VALUE>]`, or `[VALUE]...` without a flag.
    let flag = if arg.starts_with('-') {
        arg.split([' ', '[', '=']).next().unwrap_or(arg)
    } else {
        arg.trim_matches(['[', ']', '<', '>', '.'])
    };
    let is_named = |known: &&Arg| known.get_long() == flag.strip_prefix("--");
    let known = command.get_arguments().find(is_named);
    let is_hidden = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .any(|arg| is_named(&arg) && arg.is_hide_env_values_set());
    let expected = match (
        error.get(ContextKind::ValidValue),
        std::error::Error::source(&error),
    ) {
        (Some(ContextValue::Strings(values)), _) if !values.is_empty() => {
            format!("expected one of {}", values.join(", "))
        }
        (_, Some(reason)) => expected(reason),
        _ => return Rewritten::Kept(error),
    };
    let name = known.map_or_else(|| flag.to_owned(), |_| variable_and_flag(flag));
    let is_secret =
        is_hidden || known.is_some_and(Arg::is_hide_env_values_set) || looks_secret(value);
    let message = if is_secret {
        format!("invalid value for {name}, which is not shown: {expected}")
    } else {
        format!("invalid value {value:?} for {name}: {expected}")
    };
    Rewritten::New(ErrorKind::ValueValidation, message)
}

/// What `reason` says, which does not say what is expected if it is of the standard library.
fn expected(reason: &(dyn std::error::Error + 'static)) -> String {
    match reason.downcast_ref().map(ParseIntError::kind) {
        None => reason.to_string(),
        Some(IntErrorKind::Zero) => "expected a number of 1 or more".to_owned(),
        Some(IntErrorKind::PosOverflow) => "expected a smaller number".to_owned(),
        Some(_) => "expected a whole number".to_owned(),
    }
}

/// The variable of the option `flag`, and the flag: `BIND_ADDR (--bind-addr)`.
fn variable_and_flag(flag: &str) -> String {
    let variable = flag.trim_start_matches('-').replace('-', "_");
    format!("{} ({flag})", variable.to_ascii_uppercase())
}

/// The name of the first option in `args` whose value is not UTF-8. Variables are among `args` as
/// flags.
fn not_utf8(args: &[OsString], command: &Command) -> Option<String> {
    let is_text = |known: &&Arg| known.get_value_parser().type_id() != TypeId::of::<PathBuf>();
    let mut known = command.get_arguments().filter(is_text);
    let by_flag = |known: &Arg| {
        let flag = format!("--{}", known.get_long()?);
        let is_bad = args.windows(2).any(|pair| {
            let joined = pair[1].as_encoded_bytes().strip_prefix(flag.as_bytes());
            let is_joined = joined.is_some_and(|rest| rest.starts_with(b"="));
            pair[1].to_str().is_none() && (is_joined || pair[0] == *flag)
        });
        is_bad.then(|| variable_and_flag(&flag))
    };
    known.find_map(by_flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::CommandLine;
    use crate::command_line::environment::Environment;

    fn refused(args: &[OsString]) -> String {
        let program = OsString::from("webhook-server");
        let read =
            CommandLine::read_in([program].iter().chain(args), |_| Ok(Environment::default()));
        read.unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_switch_is_named_by_its_variable() {
        let message = refused(&["--insecure=maybe".into()]);
        assert!(message.contains("INSECURE (--insecure)"), "{message}");
        assert!(message.contains(r#""maybe""#), "{message}");
    }

    #[test]
    fn errors_of_a_command_show_its_own_usage() {
        for (line, wrong, usage) in [
            (
                "pause Stripe",
                "invalid value \"Stripe\" for KIND: expected 1 to 64 ",
                "webhook-server pause [OPTIONS] [KIND]...",
            ),
            (
                "list --limit x",
                "invalid value \"x\" for --limit: expected a whole number",
                "webhook-server list [OPTIONS]",
            ),
            (
                "replay stripe --sinse 1h",
                "unexpected argument --sinse; did you mean --since?",
                "webhook-server replay [OPTIONS] --since <TIME> --state <STATE> <SOURCE>",
            ),
            (
                "events",
                "there is no such command",
                "webhook-server [OPTIONS] [COMMAND]",
            ),
            (
                "requeue --all-failed --failed-after yesterday",
                "--failed-after: expected a time such as 2026-01-02T03:04:05Z",
                "webhook-server requeue [OPTIONS] <ID|--all-failed>",
            ),
            (
                "--drain-seconds x",
                "DRAIN_SECONDS (--drain-seconds)",
                "webhook-server [OPTIONS] [COMMAND]",
            ),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let message = refused(&args);
            let shown = message.lines().find_map(|it| it.strip_prefix("Usage: "));
            assert_eq!(shown, Some(usage), "{message}");
            assert!(message.contains(wrong), "{message}");
        }
    }

    #[test]
    fn unknown_arguments_are_not_shown_where_they_may_be_secrets() {
        for args in [
            &["postgres://app:hunter2@db/app"][..],
            &["--webhook-secrets", "a", "hunter2"],
            &["--webhook-secret=hunter2"],
            &["--database-urll=postgres://app:hunter2@db/app"],
            &["-xhunter2"],
            &["status", "hunter2"],
            &["--insecure", "hunter2"],
            &["--bind-addr=postgres://app:hunter2@db/app"],
            &["--role", "whsec_hunter2"],
        ] {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            let message = refused(&args);
            assert!(!message.contains("unter2"), "{message}");
        }
        let message = refused(&["--bind-adr=x".into()]);
        assert!(
            message.contains("--bind-adr; did you mean --bind-addr?"),
            "{message}"
        );
        let message = refused(&["healthchek".into()]);
        assert!(message.contains("did you mean healthcheck?"), "{message}");
    }

    #[test]
    #[cfg(unix)]
    fn values_that_are_not_utf8_are_named_and_not_shown() {
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
