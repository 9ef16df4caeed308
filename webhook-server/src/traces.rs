//! OpenTelemetry traces: the spans of a request, of its events, of their attempts and of what is forwarded.
//!
//! Without the feature `otel`, or without a collector, there are none, and this costs a branch per call.
//! Nothing here waits, and nothing fails: spans that cannot be exported are lost, and the log says how many.

#[cfg(feature = "otel")]
mod attempt;
#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod forward;
#[cfg(feature = "otel")]
mod open;
mod process;
#[cfg(feature = "otel")]
mod request;
#[cfg(feature = "otel")]
mod send;
#[cfg(feature = "otel")]
mod tracers;

#[cfg(not(feature = "otel"))]
pub(crate) use disabled::{Sending, Traces, current};
pub(crate) use process::Traced;
#[cfg(feature = "otel")]
pub(crate) use {open::current, send::Sending, tracers::Traces};
