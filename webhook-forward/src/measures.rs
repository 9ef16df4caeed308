//! What a forwarder counts and times. Without the feature `metrics`, nothing is, and the type is empty.

#[cfg(feature = "metrics")]
mod recorded;
#[cfg(not(feature = "metrics"))]
mod unrecorded;

#[cfg(feature = "metrics")]
pub(crate) use recorded::Measures;
#[cfg(not(feature = "metrics"))]
pub(crate) use unrecorded::Measures;
