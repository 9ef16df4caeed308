//! The variables, and which values are valid.

use std::net::SocketAddr;
use std::sync::LazyLock;

use clap::CommandFactory as _;
use webhook_server::CommandLine;

/// The longest time that can be set, ten years.
pub(super) const MAX_SECONDS: u64 = 315_360_000;

/// A setting that has both a variable and a flag.
pub(super) struct Setting {
    pub(super) variable: String,
    pub(super) flag: String,
    pub(super) is_secret: bool,
}

/// Returns all settings of the command line.
pub(super) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let command = CommandLine::command();
    let settings = command.get_arguments().filter_map(|arg| {
        Some(Setting {
            variable: arg.get_env()?.to_str()?.to_owned(),
            flag: format!("--{}", arg.get_long()?),
            is_secret: arg.is_hide_env_values_set(),
        })
    });
    settings.collect()
});

/// Returns whether `value` is valid for the variable `name`; `None` where that is not easily
/// decided.
pub(super) fn is_good(name: &str, value: &str) -> Option<bool> {
    let value = value.trim();
    let number = value.parse::<f64>();
    let within =
        |least: f64, most: f64| number.as_ref().is_ok_and(|it| (least..=most).contains(it));
    let is_one_of = |values: &[&str]| values.iter().any(|it| it.eq_ignore_ascii_case(value));
    #[expect(clippy::cast_precision_loss, reason = "ten years in seconds are exact")]
    let most = MAX_SECONDS as f64;
    Some(match name {
        "BIND_ADDR" => value.parse::<SocketAddr>().is_ok_and(|it| {
            // On other addresses, authentication has to be configured as well.
            it.ip().is_loopback()
        }),
        "REQUEUE_FAILED_ON_REDELIVERY" | "INSECURE" => {
            is_one_of(&["true", "yes", "on", "1", "false", "no", "off", "0"])
        }
        "PROCESSING_STALE_TIMEOUT_SECONDS" => within(1.0, most),
        "ACCEPT_TIMEOUT_SECONDS"
        | "BODY_TIMEOUT_SECONDS"
        | "HEADER_TIMEOUT_SECONDS"
        | "WEBHOOK_TOLERANCE_SECONDS" => within(0.001, most),
        "PROCESSING_DELAY_SECONDS" | "DATABASE_WAIT_SECONDS" | "DRAIN_SECONDS" => within(0.0, most),
        // Near half a nanosecond, the result depends on rounding.
        "RETENTION_DAYS" if within(1e-15, 1e-14) => return None,
        "RETENTION_DAYS" => within(1e-14, most / 86_400.0),
        "DATABASE_POOL_SIZE" => value
            .parse::<u32>()
            .is_ok_and(|it| (1..262_144).contains(&it)),
        "MAX_ATTEMPTS" => value.parse::<u32>().is_ok_and(|it| it > 0),
        "MEMORY_CAPACITY"
        | "MEMORY_MAX_BYTES"
        | "WORKER_CONCURRENCY"
        | "MAX_QUEUED"
        | "MAX_QUEUED_BYTES"
        | "MAX_BATCH"
        | "MAX_CONCURRENT_FLUSHES"
        | "MAX_BODY_BYTES"
        | "MAX_CONNECTIONS" => value.parse::<usize>().is_ok_and(|it| it > 0),
        // Values of words are not trimmed; filters have a grammar of their own; some values need
        // another variable beside them.
        _ => return None,
    })
}
