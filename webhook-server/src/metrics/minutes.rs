//! Counts per minute of the last hour, in memory.

use std::time::{SystemTime, UNIX_EPOCH};

/// How many minutes are kept.
pub(crate) const MINUTES: usize = 60;

/// How often something happened in each of the last [`MINUTES`] minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinuteSeries {
    /// A ring: the count of a minute is at its number, modulo the length.
    counts: [u64; MINUTES],
    /// The latest minute that was counted, since 1970.
    latest: u64,
}

impl Default for MinuteSeries {
    fn default() -> Self {
        Self {
            counts: [0; MINUTES],
            latest: 0,
        }
    }
}

impl MinuteSeries {
    /// Adds `more` to the count of `minute`. Times before the latest count are added to that.
    pub(super) fn add(&mut self, minute: u64, more: u64) {
        self.advance(minute);
        self.counts[place(self.latest)] += more;
    }

    /// Counts what happens now.
    pub(crate) fn add_now(&mut self) {
        self.add(minute_of(SystemTime::now()), 1);
    }

    /// Forgets the minutes that are too long ago at `minute`.
    fn advance(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.latest).min(MINUTES as u64);
        for back in 0..passed {
            self.counts[place(minute - back)] = 0;
        }
        self.latest = self.latest.max(minute);
    }

    /// The counts until now, the oldest first. The last one is that of the minute under way.
    pub(crate) fn counts(&self) -> [u64; MINUTES] {
        self.counts_at(minute_of(SystemTime::now()))
    }

    fn counts_at(&self, minute: u64) -> [u64; MINUTES] {
        let mut series = *self;
        series.advance(minute);
        let mut counts = series.counts;
        counts.rotate_left(place(series.latest) + 1);
        counts
    }
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).unwrap_or_default()
}

/// The minute of `time`, since 1970.
pub(super) fn minute_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 60
}

/// What happened to the events of a source in each of the last [`MINUTES`] minutes, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceSeries {
    /// Events that were stored, or had been stored before.
    pub(crate) received: MinuteSeries,
    /// Requests that were refused.
    pub(crate) refused: MinuteSeries,
    /// Events that had been stored before, with the same content.
    pub(crate) duplicates: MinuteSeries,
    /// Events that had been stored before, with other content.
    pub(crate) conflicts: MinuteSeries,
    /// Events that were processed.
    pub(crate) processed: MinuteSeries,
    /// Events that failed for good.
    pub(crate) failed: MinuteSeries,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_is_kept() {
        let mut series = MinuteSeries::default();
        let now = 29_000_000;
        series.add(now, 1);
        series.add(now, 2);
        series.add(now + 1, 4);
        // A clock that was set back loses nothing.
        series.add(now, 8);
        let counts = series.counts_at(now + 1);
        assert_eq!((counts[58], counts[59]), (3, 12));
        assert_eq!(counts.iter().sum::<u64>(), 15);
        let counts = series.counts_at(now + 59);
        assert_eq!((counts[0], counts[1], counts[59]), (3, 12, 0));
        assert_eq!(series.counts_at(now + 60)[0], 12);
        assert_eq!(series.counts_at(now + 61), [0; MINUTES]);
        assert_eq!(series.counts_at(u64::MAX), [0; MINUTES]);
        series.add(now + 1_000, 16);
        assert_eq!(series.counts_at(now + 1_000)[59], 16);
        assert_eq!(series.counts_at(now + 1_000).iter().sum::<u64>(), 16);
    }
}
