//! The variables, and which of their values are good.

use std::net::SocketAddr;

/// The longest time that can be set: ten years.
pub(super) const MAX_SECONDS: u64 = 315_360_000;

/// Every variable; its flag is the same in small letters, with hyphens.
pub(super) const NAMES: [&str; 26] = [
    "DATABASE_URL",
    "BIND_ADDR",
    "ROLE",
    "PROCESSING_DELAY_SECONDS",
    "PROCESSING_STALE_TIMEOUT_SECONDS",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "MIGRATE",
    "DATABASE_WAIT_SECONDS",
    "DATABASE_POOL_SIZE",
    "MEMORY_CAPACITY",
    "MAX_ATTEMPTS",
    "WORKER_CONCURRENCY",
    "REVIVE_FAILED",
    "RETENTION_DAYS",
    "KEY_RETENTION_DAYS",
    "ACCEPT_TIMEOUT_SECONDS",
    "MAX_QUEUED",
    "MAX_QUEUED_BYTES",
    "MAX_BATCH",
    "MAX_FLUSHES",
    "MAX_BODY_BYTES",
    "BODY_TIMEOUT_SECONDS",
    "HEADER_TIMEOUT_SECONDS",
    "MAX_CONNECTIONS",
    "DRAIN_SECONDS",
];

/// Whether `value` is one that the variable `name` may have, where that is easily said.
pub(super) fn is_good(name: &str, value: &str) -> Option<bool> {
    let value = value.trim();
    let number = value.parse::<f64>();
    let within =
        |least: f64, most: f64| number.as_ref().is_ok_and(|it| (least..=most).contains(it));
    let is_one_of = |values: &[&str]| values.iter().any(|it| it.eq_ignore_ascii_case(value));
    #[expect(clippy::cast_precision_loss, reason = "ten years in seconds are exact")]
    let most = MAX_SECONDS as f64;
    Some(match name {
        "BIND_ADDR" => value.parse::<SocketAddr>().is_ok(),
        "REVIVE_FAILED" => is_one_of(&["true", "yes", "on", "1", "false", "no", "off", "0"]),
        "PROCESSING_STALE_TIMEOUT_SECONDS" => within(1.0, most),
        "ACCEPT_TIMEOUT_SECONDS" | "BODY_TIMEOUT_SECONDS" | "HEADER_TIMEOUT_SECONDS" => {
            within(0.001, most)
        }
        name if name.ends_with("_SECONDS") => within(0.0, most),
        // Less is so little that it may be no time at all.
        "RETENTION_DAYS" if within(f64::from_bits(1), 1e-9) => return None,
        "RETENTION_DAYS" => within(1e-9, most / 86_400.0),
        "DATABASE_POOL_SIZE" | "MAX_ATTEMPTS" => value.parse::<u32>().is_ok_and(|it| it > 0),
        "MEMORY_CAPACITY" | "WORKER_CONCURRENCY" | "MAX_QUEUED" | "MAX_QUEUED_BYTES"
        | "MAX_BATCH" | "MAX_FLUSHES" | "MAX_BODY_BYTES" | "MAX_CONNECTIONS" => {
            value.parse::<usize>().is_ok_and(|it| it > 0)
        }
        // Values of words are not trimmed; filters have a grammar of their own; some values need
        // another variable beside them.
        _ => return None,
    })
}
