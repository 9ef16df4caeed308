//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt;

/// Exponential backoff with full jitter: before try *n* + 1 a random time between zero and
/// `base` × 2^(*n* − 1), at most `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub base: Duration,
    /// The longest wait ever.
    pub cap: Duration,
}

impl Backoff {
    /// The longest wait after `failures` failures in a row, from 1.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// A random wait after `failures` failures in a row, from 1.
    pub fn delay(&self, failures: u32) -> Duration {
        self.ceiling(failures)
            .mul_f64(rand::rng().random_range(0.0..=1.0))
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
    fn the_jitter_is_full() {
        let delays: Vec<_> = (0..1000).map(|_| BACKOFF.delay(3)).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(8)));
        assert!(delays.iter().any(|delay| *delay < Duration::from_secs(2)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_secs(6)));
    }
}
