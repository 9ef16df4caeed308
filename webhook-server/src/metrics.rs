//! The metrics of the server: their names, and the exporter.

mod accepts;
mod exporter;
mod histogram;
mod minutes;
mod names;
mod process;
mod requests;
mod sampler;
mod store;

pub(crate) use exporter::{Exporter, Format};
pub(crate) use minutes::MinuteSeries;
pub use names::all as all_metrics;
pub(crate) use names::{
    BUILD_INFO, CERTIFICATE_EXPIRY, CONFIG_RELOADS, HTTP_CONNECTIONS, HTTP_CONNECTIONS_LIMIT,
    PARTITION_UP,
};
pub(crate) use requests::{Refusal, Refused, Requests};
pub(crate) use sampler::{Sampled, Sampler, Samples, host_name};
pub(crate) use store::MeasuredStore;

/// Returns the metrics of the process as `GET /metrics` has them, in the format of Prometheus. The first call, or the
/// start of a [`Server`](crate::Server), installs the recorder of the facade `metrics` that keeps them.
///
/// # Errors
///
/// None; the format of text requires the type.
pub fn scrape() -> Result<String, std::fmt::Error> {
    Exporter::of_process().text(Format::Prometheus)
}

/// The number as a gauge holds it.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}
