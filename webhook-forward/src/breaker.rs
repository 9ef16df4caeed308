//! The circuit breaker of a destination.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far back attempts count.
const WINDOW: Duration = Duration::from_secs(60);

/// The breaker opens if at least this share of the attempts in the window failed, in percent …
const FAILED_PERCENT: u64 = 50;

/// … and there were at least this many.
const LEAST_ATTEMPTS: u64 = 20;

/// The breaker opens after this many connection failures in a row.
const CONNECTION_FAILURES: u32 = 5;

/// How long the breaker is open the first time. Each time that a probe fails, it opens for twice as long.
const FIRST_OPEN: Duration = Duration::from_secs(30);

/// The longest time that the breaker is open.
const MAX_OPEN: Duration = Duration::from_secs(600);

/// How many probes must succeed in a row to close the breaker.
const PROBES: u32 = 3;

/// What an attempt says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It took the event.
    Success,
    /// It answered, but did not take the event.
    Failure,
    /// There was no connection.
    ConnectionFailure,
}

/// What the breaker does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Every event may be forwarded.
    Closed,
    /// No event may be forwarded until then.
    Open {
        /// When the first probe may be forwarded.
        until: Instant,
    },
    /// One event at a time may be forwarded, as a probe.
    HalfOpen,
}

/// What an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The breaker opened, for this long.
    Opened(Duration),
    /// The breaker closed.
    Closed,
}

/// When an attempt began: attempts that began before the breaker opened say nothing about a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(u64);

/// A circuit breaker: stops forwarding to a destination that fails, and finds out with single events
/// whether it is back.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// How often it has opened or was reset.
    opened: u64,
    /// How many connection failures there were since the last other result.
    connection_failures: u32,
    counts: Counts,
}

#[derive(Debug)]
enum State {
    Closed,
    /// Open until then, and half-open from then on.
    Tripped {
        until: Instant,
        open_for: Duration,
        probes: u32,
    },
}

impl Breaker {
    /// Creates a closed breaker.
    pub(crate) fn closed(now: Instant) -> Self {
        Self {
            state: State::Closed,
            opened: 0,
            connection_failures: 0,
            counts: Counts::since(now),
        }
    }

    /// Closes the breaker, and forgets the attempts that are running.
    pub(crate) fn reset(&mut self, now: Instant) {
        *self = Self {
            opened: self.opened + 1,
            ..Self::closed(now)
        };
    }

    /// Returns what the breaker does at the time `now`.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Tripped { until, .. } if now < until => BreakerState::Open { until },
            State::Tripped { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns the period in which an attempt begins now.
    pub(crate) const fn period(&self) -> Period {
        Period(self.opened)
    }

    /// Notes the result of an attempt that began in `period`. `jitter` changes the time that the breaker is
    /// open.
    pub(crate) fn note(
        &mut self,
        health: Health,
        period: Period,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Option<Change> {
        if period != self.period() {
            return None;
        }
        let state = self.state(now);
        match &mut self.state {
            State::Closed => {
                self.counts.add(health, now);
                self.connection_failures = match health {
                    Health::ConnectionFailure => self.connection_failures.saturating_add(1),
                    Health::Success | Health::Failure => 0,
                };
                let is_failing =
                    self.connection_failures >= CONNECTION_FAILURES || self.counts.are_failing(now);
                // A success is no reason to open.
                (is_failing && health != Health::Success)
                    .then(|| self.open(FIRST_OPEN, now, jitter))
            }
            // No attempt of this period can begin while it is open.
            State::Tripped { .. } if state != BreakerState::HalfOpen => None,
            State::Tripped {
                open_for, probes, ..
            } => match health {
                Health::Success => {
                    *probes += 1;
                    if *probes < PROBES {
                        return None;
                    }
                    self.state = State::Closed;
                    self.connection_failures = 0;
                    self.counts = Counts::since(now);
                    Some(Change::Closed)
                }
                Health::Failure | Health::ConnectionFailure => {
                    let open_for = open_for.saturating_mul(2).min(MAX_OPEN);
                    Some(self.open(open_for, now, jitter))
                }
            },
        }
    }

    fn open(
        &mut self,
        open_for: Duration,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Change {
        let jittered = jitter(open_for);
        self.opened += 1;
        self.state = State::Tripped {
            until: now + jittered,
            open_for,
            probes: 0,
        };
        Change::Opened(jittered)
    }
}

/// How many attempts succeeded and failed in the last [`WINDOW`], by the second.
#[derive(Debug)]
struct Counts {
    began: Instant,
    /// Second, attempts, failures: at most one entry for each second of the window.
    seconds: VecDeque<(u64, u64, u64)>,
}

impl Counts {
    const fn since(began: Instant) -> Self {
        Self {
            began,
            seconds: VecDeque::new(),
        }
    }

    fn add(&mut self, health: Health, now: Instant) {
        let failed = u64::from(health != Health::Success);
        let second = now.saturating_duration_since(self.began).as_secs();
        self.forget(now);
        match self.seconds.back_mut() {
            Some((last, attempts, failures)) if *last >= second => {
                *attempts += 1;
                *failures += failed;
            }
            _ => self.seconds.push_back((second, 1, failed)),
        }
    }

    fn are_failing(&mut self, now: Instant) -> bool {
        self.forget(now);
        let attempts: u64 = self.seconds.iter().map(|(_, attempts, _)| attempts).sum();
        let failures: u64 = self.seconds.iter().map(|(.., failures)| failures).sum();
        attempts >= LEAST_ATTEMPTS && failures * 100 >= attempts * FAILED_PERCENT
    }

    fn forget(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.began).as_secs();
        while let Some((first, ..)) = self.seconds.front()
            && second.saturating_sub(*first) >= WINDOW.as_secs()
        {
            self.seconds.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Health::{ConnectionFailure, Failure, Success};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A breaker, and a clock that stands still unless it is moved.
    struct Clocked {
        breaker: Breaker,
        now: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                breaker: Breaker::closed(now),
                now,
            }
        }

        fn note(&mut self, health: Health) -> Option<Change> {
            let period = self.breaker.period();
            self.breaker.note(health, period, self.now, |open| open)
        }

        fn note_all(&mut self, health: Health, times: u32) -> Option<Change> {
            (0..times).filter_map(|_| self.note(health)).last()
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        fn state(&self) -> BreakerState {
            self.breaker.state(self.now)
        }
    }

    const OPENED: Option<Change> = Some(Change::Opened(FIRST_OPEN));

    #[test]
    fn five_connection_failures_in_a_row_open_it() {
        let mut it = Clocked::new();
        assert_eq!(it.note_all(ConnectionFailure, 4), None);
        assert_eq!(it.note(Failure), None);
        assert_eq!(it.note_all(ConnectionFailure, 4), None);
        assert_eq!(it.note(Success), None);
        assert_eq!(it.note_all(ConnectionFailure, 4), None);
        assert_eq!(it.note(ConnectionFailure), OPENED);
        let until = it.now + FIRST_OPEN;
        assert_eq!(it.state(), BreakerState::Open { until });
    }

    #[test]
    fn half_of_twenty_attempts_in_a_minute_open_it() {
        for (successes, failures, seconds, change) in [
            (10, 9, 0, None),
            (10, 10, 0, OPENED),
            (11, 10, 0, None),
            (0, 19, 0, None),
            (0, 20, 0, OPENED),
            // The successes are too long ago, and then there are too few attempts.
            (100, 19, 60, None),
            (100, 20, 60, OPENED),
            (100, 99, 59, None),
            (100, 100, 59, OPENED),
        ] {
            let mut it = Clocked::new();
            assert_eq!(it.note_all(Success, successes), None);
            it.pass(seconds * SECOND);
            let changed = it.note_all(Failure, failures);
            assert_eq!(changed, change, "{successes} {failures} {seconds}");
        }
    }

    #[test]
    fn a_success_never_opens_it() {
        let mut it = Clocked::new();
        it.note_all(Failure, 19);
        assert_eq!(it.note(Success), None);
        assert_eq!(it.state(), BreakerState::Closed);
        assert_eq!(it.note(Failure), OPENED);
    }

    #[test]
    fn probes_close_it_or_open_it_for_twice_as_long() {
        let mut it = Clocked::new();
        it.note_all(ConnectionFailure, 5);
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            it.pass(seconds * SECOND - Duration::from_nanos(1));
            assert!(matches!(it.state(), BreakerState::Open { .. }));
            it.pass(Duration::from_nanos(1));
            assert_eq!(it.state(), BreakerState::HalfOpen);
            assert_eq!(it.note_all(Success, 2), None);
            let open_for = (2 * seconds).min(600) * SECOND;
            assert_eq!(it.note(Failure), Some(Change::Opened(open_for)));
        }
        it.pass(MAX_OPEN);
        assert_eq!(it.note_all(Success, 2), None);
        assert_eq!(it.note(Success), Some(Change::Closed));
        assert_eq!(it.state(), BreakerState::Closed);
        // Nothing of before counts.
        assert_eq!(it.note_all(ConnectionFailure, 4), None);
        assert_eq!(it.note(ConnectionFailure), OPENED);
    }

    #[test]
    fn attempts_from_before_it_opened_do_not_count() {
        let mut it = Clocked::new();
        let before = it.breaker.period();
        it.note_all(ConnectionFailure, 5);
        it.pass(FIRST_OPEN);
        for health in [Failure, ConnectionFailure, Success, Success, Success] {
            let changed = it.breaker.note(health, before, it.now, |open| open);
            assert_eq!(changed, None);
        }
        assert_eq!(it.state(), BreakerState::HalfOpen);
        assert_eq!(it.note_all(Success, 3), Some(Change::Closed));
    }

    #[test]
    fn a_reset_forgets_everything() {
        let mut it = Clocked::new();
        it.note_all(ConnectionFailure, 4);
        let before = it.breaker.period();
        it.breaker.reset(it.now);
        assert_eq!(
            it.breaker
                .note(ConnectionFailure, before, it.now, |open| open),
            None
        );
        assert_eq!(it.note_all(ConnectionFailure, 4), None);
        assert_eq!(it.note(ConnectionFailure), OPENED);
        it.breaker.reset(it.now);
        assert_eq!(it.state(), BreakerState::Closed);
    }

    #[test]
    fn the_jitter_changes_this_opening_only() {
        let mut it = Clocked::new();
        it.note_all(ConnectionFailure, 4);
        let period = it.breaker.period();
        let changed = it
            .breaker
            .note(ConnectionFailure, period, it.now, |open| open / 2);
        assert_eq!(changed, Some(Change::Opened(FIRST_OPEN / 2)));
        it.pass(FIRST_OPEN / 2);
        assert_eq!(it.note(Failure), Some(Change::Opened(2 * FIRST_OPEN)));
    }

    fn history() -> impl Strategy<Value = Vec<(Health, u64, bool)>> {
        let health = prop::sample::select(vec![Success, Failure, ConnectionFailure]);
        prop::collection::vec((health, 0..100_000_u64, any::<bool>()), 0..200)
    }

    proptest! {
        #[test]
        fn enough_successes_close_it_from_any_history(history in history()) {
            let mut it = Clocked::new();
            let first = it.breaker.period();
            for (health, millis, is_old) in history {
                it.pass(Duration::from_millis(millis));
                let period = if is_old { first } else { it.breaker.period() };
                let changed = it.breaker.note(health, period, it.now, |open| open);
                prop_assert!(it.breaker.counts.seconds.len() <= 60);
                match (changed, it.state()) {
                    (Some(Change::Opened(open_for)), BreakerState::Open { until }) => {
                        prop_assert_eq!(it.now + open_for, until);
                        prop_assert!((FIRST_OPEN..=MAX_OPEN).contains(&open_for));
                        prop_assert!(health != Success);
                    }
                    (Some(Change::Opened(_)), state) => prop_assert!(false, "{:?}", state),
                    (Some(Change::Closed), state) => prop_assert_eq!(state, BreakerState::Closed),
                    (None, _) => {}
                }
            }
            it.pass(MAX_OPEN);
            it.note_all(Success, PROBES);
            prop_assert_eq!(it.state(), BreakerState::Closed);
        }
    }
}
