//! When a failed attempt is repeated.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::RngExt;

/// The longest delay of a schedule: 30 days.
pub const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The largest number of attempts of a schedule.
pub const MAX_ATTEMPTS: u32 = 1_000;

/// How far a delay may be from the one of the schedule, in both directions: so that events that failed together
/// do not come back together.
const JITTER: f64 = 0.2;

/// The default delays in seconds: 5 s, 30 s, 2, 10 and 30 min, 1, 2, 5, 10, 14, 20 and 24 h. Together they are
/// 76 h 43 min, as long as a weekend and a night.
const DEFAULT: [u64; 12] = [
    5, 30, 120, 600, 1_800, 3_600, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
];

/// The delays between the attempts at an event.
///
/// The default has 13 attempts over about 76 hours. Each delay is up to 20 % shorter or longer than the
/// schedule says.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
///
/// use webhook_forward::Schedule;
///
/// assert_eq!(Schedule::default().attempts().get(), 13);
///
/// let [first, max] = [10, 3_600].map(Duration::from_secs);
/// let schedule = Schedule::exponential(first, 2.0, max, NonZeroU32::new(8).expect("not zero"))?;
/// assert_eq!(schedule.nominal(1), Duration::from_secs(10));
/// assert_eq!(schedule.nominal(3), Duration::from_secs(40));
/// assert!(schedule.delay(3) <= Duration::from_secs(48));
/// # Ok::<(), webhook_forward::InvalidSchedule>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(
    /// The delay after each attempt but the last one. It is empty if there is one attempt.
    Vec<Duration>,
);

impl Schedule {
    /// Creates a schedule from the delay after each attempt but the last one. They may have any order.
    ///
    /// # Errors
    ///
    /// [`InvalidSchedule`] if there are no delays or more than [`MAX_ATTEMPTS`], or if one of them is zero
    /// or longer than [`MAX_DELAY`].
    pub fn list(delays: impl IntoIterator<Item = Duration>) -> Result<Self, InvalidSchedule> {
        // One more than is allowed, so that an endless iterator ends.
        let delays: Vec<_> = delays.into_iter().take(MAX_ATTEMPTS as usize).collect();
        if delays.is_empty() {
            return Err(InvalidSchedule::Empty);
        }
        if delays.len() >= MAX_ATTEMPTS as usize {
            return Err(InvalidSchedule::Attempts);
        }
        delays.iter().try_for_each(|delay| check(*delay))?;
        Ok(Self(delays))
    }

    /// Creates a schedule whose delays begin with `first`, each `factor` times as long as the one before, and
    /// are never longer than `max`.
    ///
    /// # Errors
    ///
    /// [`InvalidSchedule`] if `first` or `max` is zero or longer than [`MAX_DELAY`], if `max` is shorter than
    /// `first`, if `factor` is not between 1 and 100, or if there are more than [`MAX_ATTEMPTS`].
    pub fn exponential(
        first: Duration,
        factor: f64,
        max: Duration,
        attempts: NonZeroU32,
    ) -> Result<Self, InvalidSchedule> {
        check(first)?;
        check(max)?;
        if max < first {
            return Err(InvalidSchedule::Max);
        }
        if !(1.0..=100.0).contains(&factor) {
            return Err(InvalidSchedule::Factor);
        }
        if attempts.get() > MAX_ATTEMPTS {
            return Err(InvalidSchedule::Attempts);
        }
        let next = |delay: &Duration| Some(delay.mul_f64(factor).min(max));
        let delays = std::iter::successors(Some(first), next);
        Ok(Self(delays.take(attempts.get() as usize - 1).collect()))
    }

    /// Returns the number of attempts.
    pub fn attempts(&self) -> NonZeroU32 {
        let delays = u32::try_from(self.0.len()).unwrap_or(MAX_ATTEMPTS);
        NonZeroU32::MIN.saturating_add(delays)
    }

    /// Returns the delay after this attempt, from 1, as the schedule says. After the last one it is the delay
    /// before that one.
    pub fn nominal(&self, attempt: u32) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = self.0.get(index).or(self.0.last()).copied();
        delay.unwrap_or(Duration::ZERO)
    }

    /// Returns a random delay after this attempt, from 1: the [nominal](Self::nominal) one, up to 20 % shorter
    /// or longer.
    pub fn delay(&self, attempt: u32) -> Duration {
        jittered(self.nominal(attempt), JITTER)
    }

    /// Returns the time from the first attempt to the last one, if each of them fails at once.
    pub fn span(&self) -> Duration {
        self.0.iter().sum()
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self(DEFAULT.map(Duration::from_secs).into())
    }
}

/// Returns a random duration that is shorter or longer by up to this `share` of `duration`.
pub(crate) fn jittered(duration: Duration, share: f64) -> Duration {
    duration.mul_f64(rand::rng().random_range(1.0 - share..=1.0 + share))
}

fn check(delay: Duration) -> Result<(), InvalidSchedule> {
    if delay.is_zero() || delay > MAX_DELAY {
        return Err(InvalidSchedule::Delay { delay });
    }
    Ok(())
}

/// The reason why a schedule is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSchedule {
    /// There are no delays.
    #[error("a schedule needs at least one delay")]
    Empty,
    /// A delay is zero or too long.
    #[error(
        "a delay of {delay:?} in a schedule: delays must be longer than zero and at most 30 days"
    )]
    Delay {
        /// The delay.
        delay: Duration,
    },
    /// The longest delay is shorter than the first one.
    #[error("the longest delay of a schedule must not be shorter than its first delay")]
    Max,
    /// The factor is not between 1 and 100.
    #[error("the factor of a schedule must be between 1 and 100")]
    Factor,
    /// There are too many attempts.
    #[error("a schedule must not have more than {MAX_ATTEMPTS} attempts")]
    Attempts,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempts(attempts: u32) -> NonZeroU32 {
        NonZeroU32::new(attempts).unwrap()
    }

    #[test]
    fn the_default_takes_a_weekend() {
        let schedule = Schedule::default();
        assert_eq!(schedule.attempts().get(), 13);
        assert_eq!(
            schedule.span(),
            Duration::from_secs((76 * 60 + 42) * 60 + 35)
        );
        assert_eq!(schedule.nominal(1), 5 * SECOND);
        assert_eq!(schedule.nominal(12), 86_400 * SECOND);
        for beyond in [13, 14, u32::MAX] {
            assert_eq!(schedule.nominal(beyond), 86_400 * SECOND);
        }
    }

    #[test]
    fn lists_keep_their_order() {
        let schedule = Schedule::list([3, 1, 2].map(|it| it * SECOND)).unwrap();
        assert_eq!(schedule.attempts().get(), 4);
        let nominal = [0, 1, 2, 3, 4].map(|attempt| schedule.nominal(attempt).as_secs());
        assert_eq!(nominal, [3, 3, 1, 2, 2]);
    }

    #[test]
    fn exponential_delays_grow_to_the_longest() {
        let schedule = Schedule::exponential(SECOND, 3.0, 20 * SECOND, attempts(6)).unwrap();
        let nominal = [1, 2, 3, 4, 5, 6].map(|attempt| schedule.nominal(attempt).as_secs());
        assert_eq!(nominal, [1, 3, 9, 20, 20, 20]);
        assert_eq!(schedule.attempts().get(), 6);
        let once = Schedule::exponential(SECOND, 1.0, SECOND, attempts(1)).unwrap();
        assert_eq!(
            (once.attempts().get(), once.nominal(1)),
            (1, Duration::ZERO)
        );
        let many = Schedule::exponential(SECOND, 100.0, MAX_DELAY, attempts(MAX_ATTEMPTS)).unwrap();
        assert_eq!(many.attempts().get(), MAX_ATTEMPTS);
    }

    #[test]
    fn invalid_schedules_are_refused() {
        assert_eq!(Schedule::list([]), Err(InvalidSchedule::Empty));
        let endless = Schedule::list(std::iter::repeat(SECOND));
        assert_eq!(endless, Err(InvalidSchedule::Attempts));
        for delay in [Duration::ZERO, MAX_DELAY + SECOND] {
            assert_eq!(
                Schedule::list([SECOND, delay]),
                Err(InvalidSchedule::Delay { delay })
            );
        }
        let exponential = |first, factor, max, number| {
            Schedule::exponential(first * SECOND, factor, max * SECOND, attempts(number))
        };
        assert_eq!(exponential(2, 2.0, 1, 3), Err(InvalidSchedule::Max));
        for factor in [0.5, -1.0, 101.0, f64::NAN, f64::INFINITY] {
            assert_eq!(exponential(1, factor, 9, 3), Err(InvalidSchedule::Factor));
        }
        assert_eq!(
            exponential(1, 2.0, 9, 1_001),
            Err(InvalidSchedule::Attempts)
        );
    }

    proptest! {
        #[test]
        fn delays_are_near_those_of_the_schedule(millis in 1..10_000_000_u64, attempt: u32) {
            let nominal = Duration::from_millis(millis);
            let delay = Schedule::list([nominal]).unwrap().delay(attempt);
            prop_assert!(delay >= nominal.mul_f64(0.799) && delay <= nominal.mul_f64(1.201));
        }
    }
}
