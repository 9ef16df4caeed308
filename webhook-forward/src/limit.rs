//! How many events may be claimed for a destination: the breaker, the rate, `Retry-After`, a pause and the slow
//! start together.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};
use webhook_core::{ClaimLimit, Key, async_trait};

use crate::breaker::{Breaker, BreakerState, Change, Health, Period};
use crate::destination::Destination;
use crate::error_class::ErrorClass;
use crate::measures::Measures;
use crate::schedule::jittered;
use crate::slow_start::SlowStart;
use crate::status::{AnswerRecord, DestinationState, DestinationStatus, LAST_ANSWERS};
use crate::token_bucket::TokenBucket;
use crate::verdict::{Effect, Fate, Verdict};

/// How far the time that a breaker is open may be from its rule, in both directions: so that many nodes do
/// not probe together.
const JITTER: f64 = 0.1;

/// How long a destination that answered 410 gets no events if the pause could not be stored.
pub(crate) const GONE: Duration = Duration::from_secs(600);

/// How long an event waits that was claimed before its destination was held. It may be short, since no event is
/// claimed while the destination is held.
pub(crate) const HELD_DELAY: Duration = Duration::from_secs(5);

/// How many events are claimed beside those that `concurrency` requests forward. As many: a claim takes longer than a
/// fast request.
pub(crate) const fn claimed_ahead(concurrency: usize) -> usize {
    concurrency
}

/// The limits of a destination, and what became of its attempts.
#[derive(Debug)]
pub(crate) struct Limit {
    state: Mutex<State>,
    changed: Notify,
    /// Set for a destination that has a name.
    measures: OnceLock<Measures>,
}

#[derive(Debug)]
struct State {
    /// For people.
    url: String,
    concurrency: usize,
    breaker: Breaker,
    tokens: Option<TokenBucket>,
    slow_start: SlowStart,
    throttled_until: Option<Instant>,
    pause: Pause,
    /// How often the destination was replaced by one that is elsewhere.
    moved: u64,
    running: usize,
    /// How many of the running attempts were sent elsewhere: they take nothing from this destination.
    elsewhere: usize,
    delivered: u64,
    failed: u64,
    postponed: u64,
    consecutive_failures: u64,
    /// The latest last.
    answers: VecDeque<AnswerRecord>,
}

/// Whether the destination answered 410.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// It did, and the pause is not stored yet.
    Held {
        until: Instant,
    },
    /// It did, and the store leases no events. The next attempt shows that the pause is over.
    Stored,
}

/// Why an event cannot be forwarded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Paused,
    Throttled,
    Open,
    Probed,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "the destination is paused since it answered 410 Gone",
            Self::Throttled => "the destination asked for fewer requests",
            Self::Open => "the circuit breaker of the destination is open",
            Self::Probed => "another event probes whether the destination is back",
        })
    }
}

/// What an attempt did to its destination, for the log.
enum Event {
    Opened(Duration),
    Closed,
    Throttled(Duration),
    Paused,
    Resumed,
}

impl Limit {
    pub(crate) fn new(destination: &Destination) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                url: destination.shown_url(),
                concurrency: destination.concurrency.get(),
                breaker: Breaker::closed(now),
                tokens: destination.rate.map(|rate| TokenBucket::full(rate, now)),
                slow_start: SlowStart::new(),
                throttled_until: None,
                pause: Pause::No,
                moved: 0,
                running: 0,
                elsewhere: 0,
                delivered: 0,
                failed: 0,
                postponed: 0,
                consecutive_failures: 0,
                answers: VecDeque::new(),
            }),
            changed: Notify::new(),
            measures: OnceLock::new(),
        }
    }

    /// Takes the limits of `destination`. If it `is_elsewhere`, nothing that the old one answered holds it.
    pub(crate) fn replace(&self, destination: &Destination, is_elsewhere: bool) {
        let now = Instant::now();
        let mut state = self.state();
        state.url = destination.shown_url();
        state.concurrency = destination.concurrency.get();
        match (&mut state.tokens, destination.rate) {
            (Some(tokens), Some(rate)) => tokens.set_rate(rate, now),
            (tokens, rate) => *tokens = rate.map(|rate| TokenBucket::full(rate, now)),
        }
        if is_elsewhere {
            state.breaker.reset(now);
            state.slow_start.restart();
            state.throttled_until = None;
            state.pause = Pause::No;
            state.moved += 1;
            state.elsewhere = state.running;
            state.consecutive_failures = 0;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Begins an attempt at the event with `key`, unless the destination is held.
    pub(crate) fn start(self: &Arc<Self>, key: &Key) -> Result<Running, Held> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(held) = state.held(now) {
            state.postponed += 1;
            self.measure(|measures| measures.held(held));
            return Err(held);
        }
        let is_resumed = state.pause != Pause::No;
        state.pause = Pause::No;
        state.slow_start.started(now);
        state.running += 1;
        let running = Running {
            limit: Arc::clone(self),
            key: key.clone(),
            period: state.breaker.period(),
            moved: state.moved,
            began: now,
            is_over: false,
        };
        self.measure_state(&state, now);
        let url = is_resumed.then(|| state.url.clone());
        drop(state);
        if let Some(url) = url {
            log(&url, &Event::Resumed, "");
        }
        Ok(running)
    }

    /// Notes that the pause is stored: from now on the store holds the events.
    pub(crate) fn pause_is_stored(&self) {
        let mut state = self.state();
        if matches!(state.pause, Pause::Held { .. }) {
            state.pause = Pause::Stored;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Whether the destination answered 410, and the pause is not stored yet.
    pub(crate) fn waits_for_pause(&self) -> bool {
        matches!(self.state().pause, Pause::Held { .. })
    }

    pub(crate) fn status(&self) -> DestinationStatus {
        let now = Instant::now();
        let state = self.state();
        DestinationStatus {
            url: state.url.clone(),
            state: state.of_destination(now),
            in_flight: state.running,
            window: state.window(now),
            concurrency: state.concurrency,
            rate: state
                .tokens
                .as_ref()
                .map(|tokens| tokens.rate().to_string()),
            delivered: state.delivered,
            failed: state.failed,
            postponed: state.postponed,
            consecutive_failures: state.consecutive_failures,
            last_answers: state.answers.iter().rev().cloned().collect(),
        }
    }

    /// Measures the destination from now on.
    pub(crate) fn measure_with(&self, measures: Measures) {
        let _ = self.measures.set(measures);
    }

    pub(crate) fn measure(&self, measure: impl FnOnce(&Measures)) {
        if let Some(measures) = self.measures.get() {
            measure(measures);
        }
    }

    fn measure_state(&self, state: &State, now: Instant) {
        self.measure(|measures| measures.is(state.of_destination(now)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked, and counts would be wrong at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ClaimLimit for Limit {
    fn allowance(&self, running: usize) -> usize {
        let (state, now) = (self.state(), Instant::now());
        self.measure_state(&state, now);
        state.allowance(running, now)
    }

    fn claimed(&self, events: usize) {
        if let Some(tokens) = &mut self.state().tokens {
            tokens.take(events, Instant::now());
        }
    }

    async fn changed(&self) {
        let opens_at = self.state().opens_at(Instant::now());
        let changed = self.changed.notified();
        match opens_at {
            Some(opens_at) => {
                let _ = timeout_at(opens_at, changed).await;
            }
            None => changed.await,
        }
    }
}

impl State {
    /// How the destination does.
    fn of_destination(&self, now: Instant) -> DestinationState {
        let at = |at: Instant| SystemTime::now() + at.saturating_duration_since(now);
        match (self.pause, self.throttled_until, self.breaker.state(now)) {
            (Pause::Held { .. } | Pause::Stored, ..) => DestinationState::Paused,
            (Pause::No, Some(until), _) if until > now => {
                DestinationState::Throttled { until: at(until) }
            }
            (.., BreakerState::Open { until }) => DestinationState::Open { until: at(until) },
            (.., BreakerState::HalfOpen) => DestinationState::HalfOpen,
            (.., BreakerState::Closed) => DestinationState::Closed,
        }
    }

    fn allowance(&self, running: usize, now: Instant) -> usize {
        if self.closed_until(now).is_some() {
            return 0;
        }
        let window = self.window(now);
        let is_well = window == self.concurrency && self.breaker.state(now) == BreakerState::Closed;
        let ahead = if is_well { claimed_ahead(window) } else { 0 };
        // A worker that was replaced may still have attempts of its own.
        let running = running.max(self.running).saturating_sub(self.elsewhere);
        let room = window.saturating_add(ahead).saturating_sub(running);
        match &self.tokens {
            Some(tokens) => room.min(usize::try_from(tokens.available(now)).unwrap_or(usize::MAX)),
            None => room,
        }
    }

    /// How many attempts may run at the same time.
    fn window(&self, now: Instant) -> usize {
        match self.breaker.state(now) {
            BreakerState::HalfOpen => 1,
            _ => self.slow_start.window(self.concurrency, now),
        }
    }

    /// Until when no event may be forwarded; `None` if events may be forwarded.
    fn closed_until(&self, now: Instant) -> Option<Instant> {
        let pause = match self.pause {
            Pause::Held { until } => Some(until),
            Pause::No | Pause::Stored => None,
        };
        let open = match self.breaker.state(now) {
            BreakerState::Open { until } => Some(until),
            BreakerState::HalfOpen | BreakerState::Closed => None,
        };
        let all = [pause, self.throttled_until, open].into_iter().flatten();
        all.filter(|until| *until > now).max()
    }

    /// When time alone lets events through; `None` if it does so already, or never.
    fn opens_at(&self, now: Instant) -> Option<Instant> {
        let token_at = self.tokens.as_ref().map(|tokens| tokens.ready_at(now));
        let all = [self.closed_until(now), token_at].into_iter().flatten();
        all.filter(|at| *at > now).max()
    }

    /// Why an event that was claimed already cannot be forwarded.
    fn held(&self, now: Instant) -> Option<Held> {
        let is_later = |until: Option<Instant>| until.is_some_and(|until| until > now);
        match (self.pause, self.breaker.state(now)) {
            (Pause::Held { until }, _) if until > now => Some(Held::Paused),
            _ if is_later(self.throttled_until) => Some(Held::Throttled),
            (_, BreakerState::Open { .. }) => Some(Held::Open),
            (_, BreakerState::HalfOpen) if self.running > self.elsewhere => Some(Held::Probed),
            _ => None,
        }
    }

    /// Notes what an attempt says about the destination.
    fn note(&mut self, effect: Effect, period: Period, now: Instant) -> Option<Event> {
        match effect {
            Effect::Health(health) => {
                if health == Health::Success {
                    self.slow_start.succeeded(self.concurrency);
                }
                self.note_health(health, period, now)
            }
            Effect::Overload(health) => {
                self.slow_start.failed();
                self.note_health(health, period, now)
            }
            Effect::Throttle(wait) => {
                let until = now + wait;
                let was_throttled = self.throttled_until.is_some_and(|until| until > now);
                self.throttled_until = self.throttled_until.max(Some(until));
                (until > now && !was_throttled).then_some(Event::Throttled(wait))
            }
            Effect::Pause => {
                let is_new = !matches!(self.pause, Pause::Held { .. });
                self.pause = Pause::Held { until: now + GONE };
                self.slow_start.restart();
                is_new.then_some(Event::Paused)
            }
            Effect::None => None,
        }
    }

    fn note_health(&mut self, health: Health, period: Period, now: Instant) -> Option<Event> {
        let jitter = |open_for| jittered(open_for, JITTER);
        let change = self.breaker.note(health, period, now, jitter)?;
        self.slow_start.restart();
        Some(match change {
            Change::Opened(open_for) => Event::Opened(open_for),
            Change::Closed => Event::Closed,
        })
    }

    fn answered(&mut self, record: AnswerRecord) {
        if self.answers.len() >= LAST_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(record);
    }
}

/// A running attempt. If it is dropped before its end, it was aborted, which says nothing about the
/// destination.
#[derive(Debug)]
pub(crate) struct Running {
    limit: Arc<Limit>,
    key: Key,
    period: Period,
    /// [`State::moved`] when it began.
    moved: u64,
    began: Instant,
    is_over: bool,
}

impl Running {
    /// Ends the attempt. Returns whether the destination is to be paused.
    pub(crate) fn end(mut self, verdict: &Verdict, status: Option<u16>) -> bool {
        let now = Instant::now();
        let limit = Arc::clone(&self.limit);
        let mut state = limit.state();
        match verdict.event {
            Fate::Delivered => {
                state.delivered += 1;
                state.consecutive_failures = 0;
            }
            Fate::Retry(_) | Fate::Fail => {
                state.failed += 1;
                state.consecutive_failures += 1;
            }
            Fate::Hold => state.postponed += 1,
        }
        // What an app answers says nothing about the one that has taken its place.
        let is_here = self.moved == state.moved;
        let event = is_here
            .then(|| state.note(verdict.destination, self.period, now))
            .flatten();
        self.over(&mut state, now, status, verdict.class);
        limit.measure_state(&state, now);
        let url = event.is_some().then(|| state.url.clone());
        drop(state);
        limit.changed.notify_one();
        if let (Some(event), Some(url)) = (&event, url) {
            log(&url, event, &verdict.reason);
        }
        matches!(event, Some(Event::Paused))
    }

    fn over(
        &mut self,
        state: &mut State,
        now: Instant,
        status: Option<u16>,
        error_class: Option<ErrorClass>,
    ) {
        self.is_over = true;
        state.running = state.running.saturating_sub(1);
        if self.moved != state.moved {
            state.elsewhere = state.elsewhere.saturating_sub(1);
        }
        if state.running == 0 {
            state.slow_start.idle(now);
        }
        state.answered(AnswerRecord {
            at: SystemTime::now(),
            key: self.key.as_str().to_owned(),
            status,
            error_class,
            duration: now.saturating_duration_since(self.began),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let limit = Arc::clone(&self.limit);
        let now = Instant::now();
        limit.measure(|measures| {
            let took = now.saturating_duration_since(self.began);
            measures.ended(None, Some(ErrorClass::Aborted), took);
        });
        self.over(&mut limit.state(), now, None, Some(ErrorClass::Aborted));
        limit.changed.notify_one();
    }
}

fn log(url: &str, event: &Event, reason: &str) {
    match event {
        Event::Opened(open_for) => {
            warn!(
                url,
                reason,
                ?open_for,
                "circuit breaker opened: no events are forwarded to the destination until it is probed"
            );
        }
        Event::Closed => info!(
            url,
            "circuit breaker closed: the destination takes events again"
        ),
        Event::Throttled(wait) => {
            info!(
                url,
                reason,
                ?wait,
                "destination throttled: it asked for fewer requests"
            );
        }
        Event::Paused => warn!(
            url,
            reason,
            "destination paused: it wants no more events; resume its kind to forward events again"
        ),
        Event::Resumed => info!(url, "destination resumed"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn destination() -> Destination {
        Destination::new("http://app.test/hooks?key=swordfish".parse().unwrap())
    }

    fn limit(destination: &Destination) -> Arc<Limit> {
        Arc::new(Limit::new(destination))
    }

    fn started(limit: &Arc<Limit>) -> Running {
        limit.start(&Key::new("evt_1").unwrap()).unwrap()
    }

    fn held(limit: &Arc<Limit>) -> Option<Held> {
        limit.start(&Key::new("evt_1").unwrap()).err()
    }

    fn verdict(effect: Effect) -> Verdict {
        let (event, class) = match effect {
            Effect::Health(Health::Success) => (Fate::Delivered, None),
            Effect::Pause => (Fate::Hold, Some(ErrorClass::Gone)),
            _ => (Fate::Retry(Duration::ZERO), Some(ErrorClass::Status5xx)),
        };
        Verdict {
            event,
            destination: effect,
            class,
            reason: "answered 500 Internal Server Error".to_owned(),
        }
    }

    /// Makes an attempt that ends with `effect`.
    fn attempt(limit: &Arc<Limit>, effect: Effect) {
        started(limit).end(&verdict(effect), None);
    }

    const SUCCESS: Effect = Effect::Health(Health::Success);
    const NO_CONNECTION: Effect = Effect::Overload(Health::ConnectionFailure);

    /// Ends when the limit says that it has changed. The clock is paused, so that this takes no time.
    async fn changes(limit: &Limit, within: Duration) -> bool {
        timeout(within, limit.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_limits_running_attempts() {
        let limit = limit(&destination().with_concurrency(3.try_into().unwrap()));
        assert_eq!((limit.allowance(0), limit.allowance(1)), (1, 0));
        // As many again are claimed ahead once the window is open.
        for allowance in [2, 6, 6] {
            attempt(&limit, SUCCESS);
            assert_eq!(limit.allowance(0), allowance);
        }
        assert_eq!(
            (limit.allowance(5), limit.allowance(6), limit.allowance(9)),
            (1, 0, 0)
        );
        attempt(&limit, Effect::Overload(Health::Failure));
        assert_eq!(limit.allowance(0), 1);
        attempt(&limit, SUCCESS);
        let running = started(&limit);
        advance(60 * SECOND).await;
        assert_eq!((limit.status().window, limit.allowance(0)), (2, 1));
        drop(running);
        advance(10 * SECOND).await;
        assert_eq!(limit.allowance(0), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_attempt_is_a_change() {
        let limit = limit(&destination());
        assert!(!changes(&limit, SECOND).await);
        attempt(&limit, SUCCESS);
        assert!(changes(&limit, SECOND).await);
        drop(started(&limit));
        assert!(changes(&limit, SECOND).await);
        assert!(!changes(&limit, SECOND).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_takes_tokens_from_claims() {
        let rate: crate::rate::Rate = "2/s".parse().unwrap();
        let limit = limit(&destination().with_rate(rate));
        (0..9).for_each(|_| attempt(&limit, SUCCESS));
        assert_eq!(limit.allowance(0), 2);
        limit.claimed(2);
        assert_eq!(limit.allowance(0), 0);
        // The attempts have left a notification.
        assert!(changes(&limit, Duration::ZERO).await);
        assert!(!changes(&limit, SECOND / 2 - Duration::from_millis(2)).await);
        assert_eq!(limit.allowance(0), 0);
        assert!(changes(&limit, SECOND).await);
        assert_eq!(limit.allowance(0), 1);
        limit.replace(&destination(), false);
        assert!(limit.allowance(0) > 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_allows_nothing_and_then_one_probe() {
        let limit = limit(&destination());
        (0..9).for_each(|_| attempt(&limit, SUCCESS));
        (0..5).for_each(|_| attempt(&limit, NO_CONNECTION));
        assert_eq!(limit.allowance(0), 0);
        assert_eq!(held(&limit), Some(Held::Open));
        assert!(matches!(
            limit.status().state,
            DestinationState::Open { .. }
        ));
        assert!(changes(&limit, Duration::ZERO).await);
        assert!(!changes(&limit, 26 * SECOND).await);
        assert!(changes(&limit, 8 * SECOND).await);
        assert_eq!((limit.allowance(0), limit.allowance(1)), (1, 0));
        let probe = started(&limit);
        assert_eq!(held(&limit), Some(Held::Probed));
        // A worker that has just replaced the one that probes has no attempts, and gets none.
        assert_eq!(limit.allowance(0), 0);
        assert_eq!(limit.status().state, DestinationState::HalfOpen);
        probe.end(&verdict(SUCCESS), Some(200));
        attempt(&limit, SUCCESS);
        assert_eq!(limit.allowance(0), 1);
        attempt(&limit, SUCCESS);
        assert_eq!(limit.status().state, DestinationState::Closed);
        // Slow start.
        assert_eq!((limit.allowance(0), limit.allowance(1)), (1, 0));
        assert_eq!(limit.status().postponed, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_destination_gets_nothing_until_then() {
        let limit = limit(&destination());
        attempt(&limit, Effect::Throttle(100 * SECOND));
        attempt_is_held(&limit, Held::Throttled);
        let DestinationState::Throttled { .. } = limit.status().state else {
            panic!("{:?}", limit.status())
        };
        assert!(changes(&limit, Duration::ZERO).await);
        assert!(!changes(&limit, 99 * SECOND).await);
        assert!(changes(&limit, 2 * SECOND).await);
        assert_eq!(limit.allowance(0), 1);
        // A later answer does not shorten it.
        let runs = [(); 2].map(|()| started(&limit));
        for (running, seconds) in runs.into_iter().zip([50, 0]) {
            running.end(&verdict(Effect::Throttle(seconds * SECOND)), Some(429));
        }
        advance(49 * SECOND).await;
        attempt_is_held(&limit, Held::Throttled);
        advance(SECOND).await;
        assert_eq!(limit.allowance(0), 1);
    }

    fn attempt_is_held(limit: &Arc<Limit>, by: Held) {
        assert_eq!(limit.allowance(0), 0);
        assert_eq!(held(limit), Some(by));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_until_it_is_stored() {
        let limit = limit(&destination());
        (0..9).for_each(|_| attempt(&limit, SUCCESS));
        let running = [(); 2].map(|()| started(&limit));
        // Only the first answer is news.
        let is_new = running.map(|running| running.end(&verdict(Effect::Pause), Some(410)));
        assert_eq!(is_new, [true, false]);
        attempt_is_held(&limit, Held::Paused);
        assert!(limit.waits_for_pause());
        limit.pause_is_stored();
        assert!(!limit.waits_for_pause());
        assert_eq!(limit.status().state, DestinationState::Paused);
        // From here on the store decides. It begins slowly.
        assert_eq!(limit.allowance(0), 1);
        attempt(&limit, SUCCESS);
        assert_eq!(limit.status().state, DestinationState::Closed);
        assert!(started(&limit).end(&verdict(Effect::Pause), Some(410)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_not_stored_ends() {
        let limit = limit(&destination());
        attempt(&limit, Effect::Pause);
        assert!(changes(&limit, Duration::ZERO).await);
        assert!(!changes(&limit, GONE - 2 * SECOND).await);
        assert!(changes(&limit, 3 * SECOND).await);
        assert_eq!(limit.allowance(0), 1);
        attempt(&limit, SUCCESS);
        assert_eq!(limit.status().state, DestinationState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn another_url_is_not_held_for_the_answers_of_the_old_one() {
        let elsewhere = Destination::new("http://other.test/".parse().unwrap());
        for effect in [Effect::Pause, Effect::Throttle(SECOND), NO_CONNECTION] {
            let limit = limit(&destination());
            let old = started(&limit);
            (0..5).for_each(|_| {
                if held(&limit).is_none() {
                    attempt(&limit, effect);
                }
            });
            assert_eq!(limit.allowance(0), 0);
            limit.replace(&destination(), false);
            assert_eq!(limit.allowance(0), 0);
            limit.replace(&elsewhere, true);
            assert_eq!((limit.allowance(1), limit.allowance(2)), (1, 0));
            assert!(!old.end(&verdict(effect), None));
            let status = limit.status();
            assert_eq!(
                (status.state, status.in_flight),
                (DestinationState::Closed, 0)
            );
            assert_eq!(status.url, "http://other.test/");
            assert!(status.failed > 0 || status.postponed > 0);
            assert_eq!(limit.allowance(0), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_counts_and_lists_the_last_answers() {
        let limit = limit(&destination());
        (0..8).for_each(|_| attempt(&limit, SUCCESS));
        (0..3).for_each(|_| attempt(&limit, Effect::Health(Health::Failure)));
        drop(started(&limit));
        let running = started(&limit);
        let status = limit.status();
        assert_eq!(status.url, "http://app.test/hooks");
        assert_eq!(
            (status.delivered, status.failed, status.postponed),
            (8, 3, 0)
        );
        assert_eq!((status.consecutive_failures, status.in_flight), (3, 1));
        assert_eq!((status.window, status.concurrency), (9, 32));
        let classes: Vec<_> = status
            .last_answers
            .iter()
            .map(|it| it.error_class)
            .collect();
        assert_eq!(
            classes[..2],
            [Some(ErrorClass::Aborted), Some(ErrorClass::Status5xx)]
        );
        assert_eq!((classes.len(), classes[9]), (10, None));
        running.end(&verdict(SUCCESS), Some(204));
        let status = limit.status();
        assert_eq!((status.consecutive_failures, status.in_flight), (0, 0));
        assert_eq!(status.last_answers[0].status, Some(204));
    }

    fn effects() -> impl Strategy<Value = Effect> {
        prop::sample::select(vec![
            SUCCESS,
            SUCCESS,
            Effect::Health(Health::Failure),
            NO_CONNECTION,
            Effect::Throttle(SECOND),
            Effect::Throttle(Duration::ZERO),
            Effect::Pause,
            Effect::None,
        ])
    }

    proptest! {
        #[test]
        fn the_allowance_is_never_more_than_free_slots_and_tokens(
            steps in prop::collection::vec((effects(), 0..120_u64, 0..9_usize, any::<bool>()), 0..100),
            concurrency in 1..9_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let rate: crate::rate::Rate = "5/s".parse().unwrap();
                let destination = destination().with_concurrency(concurrency.try_into().unwrap());
                let limit = limit(&destination.with_rate(rate));
                let mut running = Vec::new();
                for (effect, seconds, slots, is_aborted) in steps {
                    advance(Duration::from_secs(seconds)).await;
                    let allowance = limit.allowance(slots);
                    prop_assert!(allowance <= (2 * concurrency).saturating_sub(slots).min(5));
                    limit.claimed(allowance);
                    if let Ok(started) = limit.start(&Key::new("evt_1").unwrap()) {
                        running.push(started);
                    }
                    prop_assert_eq!(limit.status().in_flight, running.len());
                    if running.len() > slots {
                        let ended = running.swap_remove(slots);
                        if is_aborted {
                            drop(ended);
                        } else {
                            ended.end(&verdict(effect), None);
                        }
                    }
                    if seconds > 60 {
                        limit.pause_is_stored();
                    }
                }
                // Whatever happened, it recovers without help.
                running.clear();
                for _ in 0..3 {
                    advance(GONE + 61 * SECOND).await;
                    prop_assert!(limit.allowance(0) > 0);
                    attempt(&limit, SUCCESS);
                }
                prop_assert_eq!(limit.status().state, DestinationState::Closed);
                Ok(())
            })?;
        }
    }
}
