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
use crate::status::{AnswerRecord, DestinationState, DestinationStatus, LAST_ANSWERS, PauseRecord};
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
    /// An attempt has ended, or the window may have grown: for the attempt that waits for room.
    room: Notify,
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
    /// Why and since when it is paused.
    paused: Option<PauseRecord>,
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
    /// As many attempts are running as may run at the same time now.
    Full,
}

impl Held {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "the destination is paused since it answered 410 Gone",
            Self::Throttled => "the destination asked for fewer requests",
            Self::Open => "the circuit breaker of the destination is open",
            Self::Probed => "another event probes whether the destination is back",
            Self::Full => "the destination gets fewer requests at the same time for now",
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How soon to ask again where it is not known when a destination takes events.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Why a destination takes no event now: the error of
/// [`Forwarder::send_if_allowed`](crate::Forwarder::send_if_allowed).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct NotNow {
    /// Why, for people.
    pub reason: &'static str,
    /// After which time to ask again at the earliest.
    pub retry_in: Duration,
}

impl NotNow {
    /// An attempt was held that had begun.
    pub(crate) const fn of(held: Held) -> Self {
        Self {
            reason: held.as_str(),
            retry_in: ASK_AGAIN,
        }
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
                paused: None,
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
            room: Notify::new(),
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
            state.paused = None;
            state.moved += 1;
            state.elsewhere = state.running;
            state.consecutive_failures = 0;
        }
        drop(state);
        self.has_changed();
    }

    /// Begins an attempt at the event with `key`, unless the destination is held. If it is [`Held::Full`], the attempt
    /// can wait for [`room`](Self::room).
    ///
    /// Events are claimed ahead while a destination does well. When its window is halved, or when it is replaced by
    /// one that starts slowly, more of them are claimed than may run.
    pub(crate) fn start(self: &Arc<Self>, key: &Key) -> Result<Running, Held> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(held) = state.held(now) {
            state.postponed += 1;
            self.measure(|measures| measures.held(held));
            return Err(held);
        }
        if state.running.saturating_sub(state.elsewhere) >= state.window(now) {
            return Err(Held::Full);
        }
        let is_resumed = state.pause != Pause::No;
        state.pause = Pause::No;
        state.paused = None;
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

    /// Takes an event from the rate for a copy, which no worker claims, unless the destination is held.
    pub(crate) fn admit(&self) -> Result<(), NotNow> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(held) = state.held(now) {
            let until = state.closed_until(now);
            let wait = until.map(|until| until.saturating_duration_since(now));
            return Err(NotNow {
                retry_in: wait.unwrap_or(ASK_AGAIN).max(ASK_AGAIN),
                ..NotNow::of(held)
            });
        }
        if let Some(tokens) = &mut state.tokens {
            if tokens.available(now) == 0 {
                return Err(NotNow {
                    reason: "the rate of the destination is used up for now",
                    retry_in: tokens.ready_at(now).saturating_duration_since(now),
                });
            }
            tokens.take(1, now);
        }
        Ok(())
    }

    /// Waits until an attempt may find room. One attempt waits at a time. Cancel safe.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// Notes that an attempt has waited for room in vain.
    pub(crate) fn gave_up_waiting(&self) -> Held {
        self.state().postponed += 1;
        self.measure(|measures| measures.held(Held::Full));
        Held::Full
    }

    fn has_changed(&self) {
        self.changed.notify_one();
        self.room.notify_one();
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
            pause: state.paused.clone(),
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
        if let Some(Event::Paused) = event {
            state.paused = Some(PauseRecord {
                since: SystemTime::now(),
                reason: verdict.reason.clone(),
            });
        }
        self.over(&mut state, now, status, verdict.class);
        limit.measure_state(&state, now);
        let url = event.is_some().then(|| state.url.clone());
        drop(state);
        limit.has_changed();
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
        limit.has_changed();
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
mod tests;
