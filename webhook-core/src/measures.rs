//! What the inbox, the worker and retention count and time. Without the feature `metrics`, nothing is, and the types
//! of this module are empty.

#[cfg(feature = "metrics")]
mod recorded;
#[cfg(not(feature = "metrics"))]
mod unrecorded;

#[cfg(feature = "metrics")]
pub(crate) use recorded::*;
#[cfg(not(feature = "metrics"))]
pub(crate) use unrecorded::*;
