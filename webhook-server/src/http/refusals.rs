//! Who is turned away, counted and logged.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests were refused for one sort of reasons.
#[derive(Debug, Default)]
pub(super) struct Refusals(AtomicU64);

impl Refusals {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more. Whoever is refused must not be able to flood the log either: of all
    /// refusals it tells the first, the second, the fourth and so on.
    pub(super) fn note(&self, request: impl Display, reason: impl Display) {
        let refused = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            tracing::warn!(%request, %reason, refused, "requests refused");
        } else {
            tracing::debug!(%request, %reason, refused, "request refused");
        }
    }
}
