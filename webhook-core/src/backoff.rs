//! [`Backoff`]: how long to wait before trying again.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;

/// Exponential backoff with equal jitter.
///
/// After *n* failures the ceiling is `base` × 2^(*n* − 1), at most `cap`. The wait is a random time between
/// half the ceiling and the ceiling.
///
/// ```
/// use std::time::Duration;
///
/// use webhook_core::Backoff;
///
/// let backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
/// assert_eq!(backoff.ceiling(3), Duration::from_secs(8));
/// assert!(backoff.delay(3) >= Duration::from_secs(4));
/// // Five attempts wait four times: 2 s, 4 s, 8 s and 16 s at most, and half of that at least.
/// assert_eq!(backoff.span(5), Duration::from_secs(15)..=Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The ceiling after the first failure.
    pub base: Duration,
    /// The largest ceiling.
    pub cap: Duration,
}

impl Backoff {
    /// A backoff that begins with `base`, doubles with each failure, and never exceeds `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the longest wait after this many failures in a row, from 1.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Returns a random wait after this many failures in a row, from 1.
    pub fn delay(&self, failures: u32) -> Duration {
        self.ceiling(failures)
            .mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Returns the shortest and the longest time from the first of `tries` tries to the last, if each of them
    /// fails at once.
    pub fn span(&self, tries: u32) -> RangeInclusive<Duration> {
        let mut longest = Duration::ZERO;
        let mut failures = 1;
        while failures < tries && self.ceiling(failures) < self.cap {
            longest = longest.saturating_add(self.ceiling(failures));
            failures += 1;
        }
        let capped = self.cap.saturating_mul(tries.saturating_sub(failures));
        let longest = longest.saturating_add(capped);
        longest / 2..=longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(600),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let seconds = |failures| BACKOFF.ceiling(failures).as_secs();
        assert_eq!([0, 1, 2, 3, 4].map(seconds), [2, 2, 4, 8, 16]);
        assert_eq!(
            [9, 10, 32, 33, 34, u32::MAX].map(seconds),
            [512, 600, 600, 600, 600, 600]
        );
    }

    #[test]
    fn the_jitter_is_half_of_the_wait() {
        let delays: Vec<_> = (0..1000).map(|_| BACKOFF.delay(3)).collect();
        let bounds = Duration::from_secs(4)..=Duration::from_secs(8);
        assert!(delays.iter().all(|delay| bounds.contains(delay)));
        assert!(delays.iter().any(|delay| *delay < Duration::from_secs(5)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_secs(7)));
    }

    #[test]
    fn a_span_is_the_sum_of_the_waits() {
        for tries in 0..40 {
            let waits = (1..tries).map(|failures| BACKOFF.ceiling(failures));
            let longest: Duration = waits.sum();
            assert_eq!(BACKOFF.span(tries), longest / 2..=longest, "{tries}");
        }
        let for_ever = BACKOFF.span(u32::MAX);
        assert!(*for_ever.start() > Duration::from_secs(1 << 40));
        let at_once = Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
        };
        assert_eq!(at_once.span(u32::MAX), Duration::ZERO..=Duration::ZERO);
    }
}
