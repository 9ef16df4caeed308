//! How many events a destination gets at once after a pause.

use std::time::Duration;

use tokio::time::Instant;

/// After this time without a running attempt, a destination starts slowly again.
const IDLE: Duration = Duration::from_secs(10);

/// The slow start of a destination: one event at a time at first, and one more after each success, so that a
/// destination that comes back is not overrun by what has waited for it.
#[derive(Debug)]
pub(crate) struct SlowStart {
    window: usize,
    /// When the last attempt ended; `None` while attempts are running.
    idle_since: Option<Instant>,
}

impl SlowStart {
    /// Begins with a window of one.
    pub(crate) const fn new() -> Self {
        Self {
            window: 1,
            idle_since: None,
        }
    }

    /// Returns how many attempts may run at the time `now`, at most `concurrency`.
    pub(crate) fn window(&self, concurrency: usize, now: Instant) -> usize {
        let is_idle = |since| now.saturating_duration_since(since) >= IDLE;
        let window = match self.idle_since {
            Some(since) if is_idle(since) => 1,
            _ => self.window,
        };
        window.min(concurrency)
    }

    /// Notes that an attempt begins.
    pub(crate) fn started(&mut self, now: Instant) {
        self.window = self.window(usize::MAX, now);
        self.idle_since = None;
    }

    /// Notes that the last running attempt has ended.
    pub(crate) fn idle(&mut self, now: Instant) {
        self.idle_since = Some(now);
    }

    /// Opens the window further, up to `concurrency`.
    pub(crate) fn succeeded(&mut self, concurrency: usize) {
        self.window = self.window.saturating_add(1).min(concurrency).max(1);
    }

    /// Halves the window, after a time-out or a connection failure.
    pub(crate) fn failed(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    /// Begins with a window of one again.
    pub(crate) fn restart(&mut self) {
        self.window = 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_window_grows_with_successes_and_halves_with_failures() {
        let now = Instant::now();
        let mut start = SlowStart::new();
        start.started(now);
        assert_eq!(start.window(8, now), 1);
        for window in [2, 3, 4, 5, 6, 7, 8, 8, 8] {
            start.succeeded(8);
            assert_eq!(start.window(8, now), window);
        }
        for window in [4, 2, 1, 1] {
            start.failed();
            assert_eq!(start.window(8, now), window);
        }
        start.succeeded(8);
        start.succeeded(8);
        assert_eq!(start.window(2, now), 2);
        start.restart();
        assert_eq!(start.window(8, now), 1);
    }

    #[test]
    fn it_restarts_after_ten_quiet_seconds() {
        let now = Instant::now();
        let mut start = SlowStart::new();
        start.started(now);
        (0..5).for_each(|_| start.succeeded(8));
        start.idle(now);
        assert_eq!(start.window(8, now + 9 * SECOND), 6);
        start.started(now + 9 * SECOND);
        // A long attempt is no quiet time.
        assert_eq!(start.window(8, now + 60 * SECOND), 6);
        start.idle(now + 60 * SECOND);
        assert_eq!(start.window(8, now + 70 * SECOND), 1);
        start.started(now + 70 * SECOND);
        assert_eq!(start.window(8, now + 70 * SECOND), 1);
    }

    proptest! {
        #[test]
        fn the_window_is_never_zero_nor_above_the_concurrency(
            steps in prop::collection::vec((0..5_u8, 0..20_u64), 0..200),
            concurrency in 1..100_usize,
        ) {
            let mut now = Instant::now();
            let mut start = SlowStart::new();
            for (step, seconds) in steps {
                now += u32::try_from(seconds).unwrap() * SECOND;
                match step {
                    0 => start.started(now),
                    1 => start.idle(now),
                    2 => start.succeeded(concurrency),
                    3 => start.failed(),
                    _ => start.restart(),
                }
                prop_assert!((1..=concurrency).contains(&start.window(concurrency, now)));
            }
        }
    }
}
