//! Configuration values, as they come by flag; by variable they are read the same way.

mod known;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::error::ErrorKind;
use webhook_server::config::{CommandLine, Config};

use known::{MAX_SECONDS, NAMES, is_good};

/// In place of a password, which no message may show.
const SECRET: &str = "hunter2";

/// A command line is read within the documented bounds, or refused by an error that names the
/// variable and the value.
///
/// The input is an argument a line.
pub fn config(input: &[u8]) {
    let args: Vec<OsString> = input.split(|&byte| byte == b'\n').map(os_string).collect();
    let program = OsString::from("webhook-server");
    let line = CommandLine::read([program].iter().chain(&args));
    match &line {
        Ok(line) => {
            check_bounds(&line.config);
            let debug = format!("{line:?}");
            assert!(!shows_secret(&args, &debug), "{debug}");
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.trim().is_empty());
            assert!(!shows_secret(&args, &message), "{message}");
        }
    }
    if let [arg] = args.as_slice()
        && let Some((name, value)) = setting(&arg.to_string_lossy())
        && !is_unnamed_so_far(name, arg)
    {
        check_setting(name, value, line.as_ref().err());
    }
}

#[cfg(unix)]
fn os_string(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Whose errors do not name the variable: a switch that may have a value, and what is not UTF-8.
fn is_unnamed_so_far(name: &str, arg: &OsStr) -> bool {
    name == "REVIVE_FAILED" || arg.to_str().is_none()
}

/// The one variable that `arg` sets by its flag, and the value.
fn setting(arg: &str) -> Option<(&'static str, &str)> {
    let (flag, value) = arg.strip_prefix("--")?.split_once('=')?;
    let name = NAMES.iter().find(|name| flag_of(name) == flag)?;
    Some((name, value))
}

fn flag_of(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// A value alone is taken exactly if it is good, and the error says what it is about.
fn check_setting(name: &str, value: &str, error: Option<&clap::Error>) {
    let Some(error) = error else {
        assert_ne!(is_good(name, value), Some(false), "{name}={value:?}");
        return;
    };
    let message = error.to_string();
    assert!(message.contains(name), "{name} is not named: {message}");
    assert!(
        message.contains(&format!("--{}", flag_of(name))),
        "{message}"
    );
    if error.kind() == ErrorKind::ValueValidation {
        assert_ne!(is_good(name, value), Some(true), "{message}");
        assert!(
            message.contains(&format!("{value:?}")),
            "{value:?} is not named: {message}"
        );
        assert!(message.contains("expected"), "{message}");
    }
}

/// Whether `text` shows a password that came with the database's URL and nowhere else.
fn shows_secret(args: &[OsString], text: &str) -> bool {
    let is_url = |arg: &OsString| {
        arg.to_str()
            .is_some_and(|arg| arg.starts_with("--database-url="))
    };
    let (urls, others): (Vec<_>, Vec<_>) = args.iter().partition(|arg| is_url(arg));
    let holds_secret = |arg: &&OsString| arg.to_string_lossy().contains(SECRET);
    urls.iter().any(holds_secret) && !others.iter().any(holds_secret) && text.contains(SECRET)
}

fn check_bounds(config: &Config) {
    let most = Duration::from_secs(MAX_SECONDS);
    for (least, seconds) in [
        (0, config.processing_delay_seconds),
        (1_000, config.processing_stale_timeout_seconds),
        (0, config.database_wait_seconds),
        (1, config.accept_timeout_seconds),
        (1, config.body_timeout_seconds),
        (1, config.header_timeout_seconds),
        (0, config.drain_seconds),
    ] {
        assert!((Duration::from_millis(least)..=most).contains(&seconds));
    }
    for count in [
        config.memory_capacity,
        config.worker_concurrency,
        config.max_queued,
        config.max_queued_bytes,
        config.max_batch,
        config.max_flushes,
        config.max_body_bytes,
        config.max_connections,
    ] {
        assert!(count > 0);
    }
    for age in [config.retention_days, config.key_retention_days] {
        assert!(age.is_none_or(|age| age <= most));
    }
    if let (Some(bodies), Some(keys)) = (config.retention_days, config.key_retention_days) {
        assert!(bodies <= keys);
    }
    assert_eq!(
        config.retention().is_some(),
        config.retention_days.is_some()
    );

    let worker = config.worker_options();
    assert_eq!(worker.lease, config.processing_stale_timeout_seconds);
    assert_eq!(worker.max_attempts, config.max_attempts);
    let inbox = config.inbox_options();
    assert_eq!(inbox.delay, config.processing_delay_seconds);
    assert_eq!(config.http_options().max_body_bytes, config.max_body_bytes);
    // A filter that was taken can be made.
    drop(config.log_level.to_filter());
}
