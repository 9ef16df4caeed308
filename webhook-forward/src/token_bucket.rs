//! Counts the events that a rate still allows.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate::Rate;

/// A token bucket: one token for each event that may be forwarded now.
///
/// It counts in parts of a token, so that no rate is rounded: a nanosecond adds `rate.events` parts, and a
/// token has as many parts as `rate.per` has nanoseconds.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: Rate,
    /// The number of parts at the time `at`. It is negative if more tokens were taken than there were.
    parts: i128,
    at: Instant,
}

impl TokenBucket {
    /// Creates a full bucket.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        let mut bucket = Self {
            rate,
            parts: 0,
            at: now,
        };
        bucket.parts = bucket.capacity();
        bucket
    }

    /// The rate.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Sets the rate, and keeps the tokens.
    pub(crate) fn set_rate(&mut self, rate: Rate, now: Instant) {
        let tokens = self.available(now);
        self.rate = rate;
        self.at = now;
        self.parts = (i128::from(tokens) * self.parts_of_token()).min(self.capacity());
    }

    /// Returns the number of whole tokens.
    pub(crate) fn available(&self, now: Instant) -> u32 {
        let tokens = self.parts_at(now).max(0) / self.parts_of_token();
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// Takes tokens, also tokens that are not there yet.
    pub(crate) fn take(&mut self, tokens: usize, now: Instant) {
        let parts = i128::try_from(tokens).unwrap_or(i128::from(u32::MAX)) * self.parts_of_token();
        self.parts = self.parts_at(now) - parts;
        self.at = self.at.max(now);
    }

    /// Returns when there is a whole token, if nobody takes one before.
    pub(crate) fn ready_at(&self, now: Instant) -> Instant {
        let missing = (self.parts_of_token() - self.parts_at(now)).max(0);
        let events = i128::from(self.rate.events.get());
        let nanos = u64::try_from((missing + events - 1) / events).unwrap_or(u64::MAX);
        now + Duration::from_nanos(nanos)
    }

    fn parts_at(&self, now: Instant) -> i128 {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let elapsed = i128::try_from(elapsed).unwrap_or(i128::from(i64::MAX));
        let added = elapsed.saturating_mul(self.rate.events.get().into());
        self.parts.saturating_add(added).min(self.capacity())
    }

    fn parts_of_token(&self) -> i128 {
        i128::try_from(self.rate.per.as_nanos().max(1)).unwrap_or(i128::from(i64::MAX))
    }

    fn capacity(&self) -> i128 {
        self.parts_of_token() * i128::from(self.rate.burst.get())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn tokens_come_back_with_time() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut bucket = TokenBucket::full(rate("10/s"), began);
        assert_eq!(bucket.available(at(0)), 10);
        bucket.take(10, at(0));
        for (millis, tokens) in [(0, 0), (99, 0), (100, 1), (250, 2), (999, 9), (5_000, 10)] {
            assert_eq!(bucket.available(at(millis)), tokens, "{millis}");
        }
        assert_eq!(bucket.ready_at(at(0)), at(100));
        assert_eq!(bucket.ready_at(at(40)), at(100));
        assert_eq!(bucket.ready_at(at(400)), at(400));
        // A debt is paid first.
        bucket.take(20, at(1_000));
        assert_eq!(bucket.available(at(1_999)), 0);
        assert_eq!(bucket.ready_at(at(1_000)), at(2_100));
    }

    #[test]
    fn a_new_rate_keeps_the_tokens() {
        let began = Instant::now();
        let mut bucket = TokenBucket::full(rate("10/s"), began);
        bucket.take(4, began);
        bucket.set_rate(rate("1000/h"), began);
        assert_eq!(bucket.available(began), 1);
        bucket.set_rate(rate("50/s"), began);
        assert_eq!(bucket.available(began), 1);
    }

    proptest! {
        #[test]
        fn there_are_never_more_tokens_than_the_burst(
            events in 1..=1_000_000_u32,
            burst in 1..1_000_u32,
            seconds in prop::sample::select(vec![1, 60, 3_600_u64]),
            steps in prop::collection::vec((0..10_000_000_000_u64, 0..2_000_usize), 0..50),
        ) {
            let rate = Rate {
                per: Duration::from_secs(seconds),
                events: NonZeroU32::new(events).unwrap(),
                burst: NonZeroU32::new(burst).unwrap(),
            };
            let began = Instant::now();
            let mut now = began;
            let mut bucket = TokenBucket::full(rate, now);
            let mut taken = 0;
            for (nanos, tokens) in steps {
                now += Duration::from_nanos(nanos);
                let available = bucket.available(now);
                prop_assert!(available <= burst);
                let tokens = tokens.min(available as usize);
                bucket.take(tokens, now);
                taken += tokens as u128;
                // Never more than the burst and what the elapsed time adds.
                let added = now.duration_since(began).as_nanos() * u128::from(events);
                prop_assert!(taken * rate.per.as_nanos() <= added + u128::from(burst) * rate.per.as_nanos());
                let ready_at = bucket.ready_at(now);
                prop_assert!(bucket.available(ready_at) >= 1);
                if ready_at > now {
                    prop_assert_eq!(bucket.available(ready_at - Duration::from_nanos(1)), 0);
                }
            }
        }
    }
}
