//! Fuzzes configuration values that are given by flag. Variables are parsed in the same way.

mod known;
mod started;

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use webhook_core::with_causes;
use webhook_server::CommandLine;
use webhook_server::config::Config;

use known::{MAX_SECONDS, SETTINGS, Setting, is_good};

/// The value in place of a secret, which no message may show.
const SECRET: &str = "hunter2";

/// Checks that a command line is parsed within the documented bounds and can be started with, or is
/// refused with an error that names the variable and the value but shows no secret.
///
/// The input has one argument on each line.
pub fn config(input: &[u8]) {
    let args: Vec<OsString> = input.split(|&byte| byte == b'\n').map(os_string).collect();
    let program = OsString::from("webhook-server");
    let line = CommandLine::read([program].iter().chain(&args));
    let shown = match &line {
        Ok(line) => {
            check_bounds(&line.config);
            check_use(&line.config);
            format!("{line:?} {}", rules_of(&line.config))
        }
        Err(error) => error.to_string(),
    };
    assert!(!shown.trim().is_empty());
    assert!(
        !holds_secret_alone(&args) || !shown.contains(SECRET),
        "{shown}"
    );
    if let [arg] = args.as_slice()
        && let Some((setting, value)) = setting(&arg.to_string_lossy())
    {
        check_setting(setting, value, line.as_ref().err());
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

/// Returns the one variable that `arg` sets by its flag, and the value.
fn setting(arg: &str) -> Option<(&'static Setting, &str)> {
    let (flag, value) = arg.split_once('=')?;
    let setting = SETTINGS.iter().find(|setting| setting.flag == flag)?;
    Some((setting, value))
}

/// Checks that a value alone is accepted exactly if it is valid, and that the error names it.
fn check_setting(setting: &Setting, value: &str, error: Option<&clap::Error>) {
    let Setting { variable, flag, .. } = setting;
    let Some(error) = error else {
        assert_ne!(
            is_good(variable, value),
            Some(false),
            "{variable}={value:?}"
        );
        return;
    };
    let message = error.to_string();
    assert!(
        message.contains(variable),
        "{variable} is not named: {message}"
    );
    match error.kind() {
        ErrorKind::ValueValidation => {
            assert_ne!(is_good(variable, value), Some(true), "{message}");
            let shown = format!("{value:?}");
            assert!(
                message.contains(&shown) || message.contains("which is not shown"),
                "{value:?} is not named: {message}"
            );
            assert!(message.contains("expected"), "{message}");
            assert!(message.contains(flag.as_str()), "{message}");
        }
        ErrorKind::InvalidUtf8 => assert!(message.contains(flag.as_str()), "{message}"),
        _ => {}
    }
}

/// Returns whether the mark occurs in secrets and nowhere else.
fn holds_secret_alone(args: &[OsString]) -> bool {
    let secrets = || SETTINGS.iter().filter(|setting| setting.is_secret);
    let is_secret = |at: usize| {
        let (before, arg) = (at.checked_sub(1).map(|at| &args[at]), &args[at]);
        secrets().any(|Setting { flag, .. }| {
            let joined = arg.as_encoded_bytes().strip_prefix(flag.as_bytes());
            joined.is_some_and(|rest| rest.starts_with(b"="))
                || before.is_some_and(|before| before == flag.as_str())
        })
    };
    let is_marked = |at: &usize| args[*at].to_string_lossy().contains(SECRET);
    let marked: Vec<usize> = (0..args.len()).filter(is_marked).collect();
    // After a `--` nothing is a flag or the value of a flag.
    !marked.is_empty() && marked.into_iter().all(is_secret) && !args.iter().any(|arg| arg == "--")
}

/// Returns the authentication rules of `config`, or the error, without those that are in files.
fn rules_of(config: &Config) -> String {
    let mut config = config.clone();
    (config.webhook_secrets_file, config.api_tokens_file) = (None, None);
    match config.auth_config() {
        Ok(auth) => format!("{auth:?}"),
        Err(error) => format!("{} {error:?}", with_causes(&error)),
    }
}

fn check_bounds(config: &Config) {
    let most = Duration::from_secs(MAX_SECONDS);
    for (least, seconds) in [
        (0, config.processing_delay_seconds),
        (1, config.webhook_tolerance_seconds),
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
        config.memory_max_bytes,
        config.worker_concurrency,
        config.max_queued,
        config.max_queued_bytes,
        config.max_batch,
        config.max_concurrent_flushes,
        config.max_body_bytes,
        config.max_connections,
    ] {
        assert!(count > 0);
    }
    for age in [config.retention_days, config.key_retention_days] {
        assert!(age.is_none_or(|age| !age.is_zero() && age <= most));
    }
    if let (Some(bodies), Some(keys)) = (config.retention_days, config.key_retention_days) {
        assert!(bodies <= keys);
    }
    assert_eq!(
        config.retention().is_some(),
        config.retention_days.is_some()
    );
}

/// Checks that a server can be started with the configuration.
fn check_use(config: &Config) {
    let worker = config.worker_options();
    assert_eq!(worker.lease, config.processing_stale_timeout_seconds);
    assert_eq!(worker.max_attempts, config.max_attempts);
    let inbox = config.inbox_options();
    assert_eq!(inbox.delay, config.processing_delay_seconds);
    assert_eq!(config.http_options().max_body_bytes, config.max_body_bytes);
    drop(config.log_level.to_filter());
    started::check(config);
}
