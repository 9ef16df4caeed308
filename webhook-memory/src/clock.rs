//! The clock of a store.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The latest time that a record shows, counted from the creation of the store: 1,000 years.
const LATEST_SHOWN: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);

/// Tokio's clock, counted from the creation of the store: a [`Duration`] does not overflow as an instant does.
pub(crate) struct Clock {
    started: Instant,
    started_at: SystemTime,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn system_time(&self, at: Duration) -> SystemTime {
        // A due time may be later than a `SystemTime` can represent.
        self.started_at + at.min(LATEST_SHOWN)
    }
}
