//! The names of the metrics of the server. They are an interface: `docs/metrics.md` lists them, and a test compares.

use webhook_core::metrics::{ANSWER_SECONDS, Metric};

pub(crate) const HTTP_CONNECTIONS: &str = "webhook_http_connections";
pub(crate) const HTTP_CONNECTIONS_LIMIT: &str = "webhook_http_connections_limit";
pub(crate) const CERTIFICATE_EXPIRY: &str = "webhook_certificate_expiry_timestamp_seconds";
pub(crate) const CONFIG_RELOADS: &str = "webhook_config_reloads_total";
pub(crate) const BUILD_INFO: &str = "webhook_build_info";
pub(crate) const PARTITION_UP: &str = "webhook_partition_up";

/// The metrics of the server itself.
const OWN: &[Metric] = &[
    Metric::counter(
        "webhook_rejected_total",
        &["source", "reason"],
        "Requests that a source refused, by the reason: signature_missing, signature_invalid, \
         signature_expired, unauthorized, media_type, too_large, too_slow, malformed, invalid, method or \
         disabled.",
    ),
    Metric::histogram(
        "webhook_accept_duration_seconds",
        &["source"],
        ANSWER_SECONDS,
        "How long requests to a source took, from their head to their answer.",
    ),
    Metric::counter(
        "webhook_received_bytes_total",
        &["source"],
        "Bytes of the bodies that a source has read.",
    ),
    Metric::gauge(HTTP_CONNECTIONS, &[], "Connections of clients."),
    Metric::gauge(
        HTTP_CONNECTIONS_LIMIT,
        &[],
        "How many connections of clients there may be.",
    ),
    Metric::gauge(
        CERTIFICATE_EXPIRY,
        &[],
        "When the certificate of the server expires, in seconds since 1970; missing without TLS.",
    ),
    Metric::counter(
        CONFIG_RELOADS,
        &["result"],
        "Reloads of the configuration: ok, or failed if a part of it could not be used.",
    ),
    Metric::gauge(
        BUILD_INFO,
        &["version", "store"],
        "1, with the version of the server and its backend: memory, PostgreSQL or SQLite.",
    ),
    Metric::gauge(
        PARTITION_UP,
        &["partition"],
        "1 if the partition answered the latest ping of this process, which is made every 5 s; otherwise 0. Only \
         with PARTITIONS.",
    ),
];

/// All metrics that the recorder of the facade keeps.
pub(super) fn recorded() -> impl Iterator<Item = Metric> {
    all().filter(|metric| metric.name.starts_with("webhook_"))
}

/// All metrics that a server exports.
pub fn all() -> impl Iterator<Item = Metric> {
    let crates = [
        webhook_core::metrics::METRICS,
        webhook_forward::metrics::METRICS,
        OWN,
        super::sampler::METRICS,
        super::store::METRICS,
        super::process::METRICS,
    ];
    crates.into_iter().flatten().copied()
}
