//! The claim loop: claims up to as many events of each kind as it has free slots, exactly when the next one
//! falls due, and for all kinds that want events in one call.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::limit::{MIN_LOOK_INTERVAL, Turn};
use super::settler::Finished;
use super::slots::Part;
use super::{Context, Look, NEVER_CLOSED, Served, outage};
use crate::event::Kind;
use crate::measures::{Age, Timer};
use crate::observer::Observed;
use crate::panics::{caught, logging};
use crate::scheduler::{Claim, Claimed, FailureReason, Outcome, Settlement};

/// The pause before the next claim when other workers take all due events.
const CONTENDED_PAUSE: Duration = Duration::from_millis(10);

/// The shortest time between a claim and the next one that follows a hint: a backend may give hints without
/// end.
const MIN_HINT_INTERVAL: Duration = Duration::from_millis(1);

/// How long to wait for a quarter of the slots to become free, if more events are due than there are slots: so
/// that slow handlers do not cause claims of single events.
pub(super) const GATHER_TIMEOUT: Duration = Duration::from_millis(10);

/// The smallest share of a kind in a claim, if more events are due than it has slots. It limits the number of
/// such kinds in one claim. Looking at a kind costs a store about as much as leasing an event, so a few events
/// of each of many kinds would cost twice as much.
const MIN_SHARE: usize = 32;

/// How long a claim may take before it gives its slots back, if the claim loops of other partitions can use them: the
/// partition may be down, and its store gives up only after some seconds.
const LENDING_DELAY: Duration = Duration::from_millis(75);

/// A kind that wants events, and its free slots.
struct Wanting {
    /// Its index among the kinds.
    place: usize,
    slots: OwnedSemaphorePermit,
    /// Dropped after the slots.
    turn: Turn,
    part: Part,
}

/// When to claim a kind again.
#[derive(Clone, Copy)]
struct Next {
    at: Instant,
    /// When its last claim began.
    asked_at: Instant,
    /// Whether more events were due than it had slots.
    behind: bool,
    /// Whether it is only a poll, since no event is known to fall due then.
    poll: bool,
}

/// The claim loop of an engine.
pub(super) struct Claiming {
    context: Arc<Context>,
    finished: mpsc::Sender<Finished>,
    /// One for each kind.
    next: Vec<Next>,
    /// A future for each kind that is waiting. It completes when the kind wants events.
    waiting: FuturesUnordered<BoxFuture<'static, Wanting>>,
    /// The kinds that want events and have not been claimed yet, in the order of their turns.
    queue: VecDeque<Wanting>,
    /// Whether each kind is asleep until its next claim.
    idle: Vec<bool>,
    /// The kinds for which `hint` waits.
    listened: Vec<bool>,
    hint: BoxFuture<'static, Vec<usize>>,
    failures: u32,
}

impl Claiming {
    pub(super) fn new(context: Arc<Context>, finished: mpsc::Sender<Finished>) -> Self {
        let now = Instant::now();
        let next = Next {
            at: now,
            asked_at: now,
            behind: false,
            poll: false,
        };
        let kinds = context.kinds.len();
        Self {
            next: vec![next; kinds],
            context,
            finished,
            waiting: FuturesUnordered::new(),
            queue: VecDeque::new(),
            idle: vec![false; kinds],
            listened: vec![false; kinds],
            hint: never(),
            failures: 0,
        }
    }

    /// Claims and starts attempts until the worker is stopped.
    pub(super) async fn run(mut self) {
        let context = Arc::clone(&self.context);
        for place in 0..context.kinds.len() {
            self.wait(place);
        }
        loop {
            self.listen();
            tokio::select! {
                biased;
                () = context.stop.cancelled() => return,
                // Before the kinds, which may want events all the time.
                places = &mut self.hint => {
                    self.hint = never();
                    self.hinted(&places);
                    continue;
                }
                Some(first) = unconstrained(self.waiting.next()) => self.want(first),
                () = ready(()), if !self.queue.is_empty() => {}
            }
            // All kinds that want events now, however many; Tokio's budget for a task would split them.
            while let Some(Some(more)) = unconstrained(self.waiting.next()).now_or_never() {
                self.want(more);
            }
            let wanting = self.next_turn();
            let wanting = self.within_limits(wanting);
            if !wanting.is_empty() {
                self.claim(wanting).await;
            }
        }
    }

    fn want(&mut self, wanting: Wanting) {
        self.idle[wanting.place] = false;
        self.queue.push_back(wanting);
    }

    /// Returns the kinds to claim now: all that want events. Of kinds with more due events than slots, only a
    /// limited number has a turn; the others have the next turns.
    fn next_turn(&mut self) -> Vec<Wanting> {
        let kinds = &self.context.kinds;
        let batches = self
            .queue
            .iter()
            .map(|it| kinds[it.place].options.max_batch);
        let mut turns = (batches.max().unwrap_or(1) / MIN_SHARE).max(1);
        let mut wanting = Vec::with_capacity(self.queue.len());
        for it in mem::take(&mut self.queue) {
            if self.next[it.place].behind {
                if turns == 0 {
                    self.queue.push_back(it);
                    continue;
                }
                turns -= 1;
            }
            wanting.push(it);
        }
        wanting
    }

    /// Returns the kinds whose limits still allow events, with no more slots than they allow. The other kinds
    /// wait again.
    fn within_limits(&mut self, wanting: Vec<Wanting>) -> Vec<Wanting> {
        let mut within = Vec::with_capacity(wanting.len());
        for mut it in wanting {
            let (place, held) = (it.place, it.slots.num_permits());
            let allowance = self.context.kinds[place].allowance(held);
            if allowance > 0 {
                drop(it.slots.split(held.saturating_sub(allowance)));
                within.push(it);
                continue;
            }
            drop(it);
            let now = Instant::now();
            // The pause is for a limit that allows events only until the worker has slots for them.
            self.next[place] = Next {
                at: now + MIN_LOOK_INTERVAL,
                asked_at: now,
                ..self.next[place]
            };
            self.wait(place);
        }
        within
    }

    /// Waits for hints of the backend for the kinds that are asleep.
    fn listen(&mut self) {
        while self.idle != self.listened {
            self.listened.clone_from(&self.idle);
            let mut next = hint(&self.context, &self.idle);
            // The new wait begins before the old one is dropped, so that no hint is lost.
            let next_over = (&mut next).now_or_never();
            let last_over = mem::replace(&mut self.hint, next).now_or_never();
            if next_over.is_some() {
                self.hint = never();
            }
            for places in [next_over, last_over].into_iter().flatten() {
                self.hinted(&places);
            }
        }
    }

    /// Wakes the sleeping kinds that a hint names, or all sleeping kinds if it names none of them.
    fn hinted(&mut self, places: &[usize]) {
        let is_named = |place: &usize| places.contains(place) && self.idle[*place];
        let mut woken: Vec<usize> = (0..self.idle.len()).filter(is_named).collect();
        if woken.is_empty() {
            woken = (0..self.idle.len())
                .filter(|place| self.idle[*place])
                .collect();
        }
        for place in woken {
            self.idle[place] = false;
            self.context.looks[place].hint.notify_one();
        }
    }

    async fn claim(&mut self, mut wanting: Vec<Wanting>) {
        let context = Arc::clone(&self.context);
        if context.shares_slots && self.failures > 0 {
            // To find out whether the partition is back takes one slot of the others.
            for it in &mut wanting {
                drop(it.slots.split(it.slots.num_permits().saturating_sub(1)));
            }
        }
        let claims = claims(&context, &wanting);
        let asked_at = Instant::now();
        // A stop does not interrupt this: unknown leases would have to expire.
        let timer = Timer::start();
        let mut call = pin!(caught(context.scheduler.claim(&claims)));
        // The kinds that must wait for events anew.
        let mut again = Vec::new();
        let answer = if context.shares_slots {
            match timeout(LENDING_DELAY, &mut call).await {
                Ok(answer) => answer,
                Err(_) => {
                    again = self.let_go(&mut wanting);
                    call.await
                }
            }
        } else {
            call.await
        };
        context.calls.claim.ended(&timer, &answer);
        match answer {
            Ok(claimed) => {
                debug_assert_eq!(claimed.len(), claims.len());
                self.failures = 0;
                for ((wanting, claim), claimed) in wanting.into_iter().zip(&claims).zip(claimed) {
                    let Wanting {
                        place,
                        slots,
                        turn,
                        part,
                    } = wanting;
                    let next = self.next(place, claim, &claimed, asked_at);
                    self.set_behind(place, next.behind);
                    self.next[place] = next;
                    let is_empty = claimed == Claimed::default();
                    let (leased, next_due) = (claimed.events.len() as u64, claimed.next_due);
                    self.start(place, claimed, asked_at, slots, part).await;
                    drop(turn);
                    self.wait(place);
                    context.looks[place].claims.send_modify(|claims| {
                        claims.answered += 1;
                        claims.leased += leased;
                        claims.is_empty = is_empty;
                        claims.next_due = next_due;
                    });
                }
            }
            Err(error) => {
                self.failures += 1;
                let pause = outage::pause(self.failures);
                logging(|| {
                    warn!(
                        kinds = claims.len(),
                        error = &error as &dyn std::error::Error,
                        ?pause,
                        "failed to claim"
                    )
                });
                if context.shares_slots && again.is_empty() {
                    again = self.let_go(&mut wanting);
                }
                again.extend(wanting.into_iter().map(|it| it.place));
                tokio::select! {
                    () = context.stop.cancelled() => {}
                    () = sleep(pause) => {}
                }
            }
        }
        for place in again {
            // Its hint may be lost, also the one that led to a claim that failed.
            self.next[place].at = Instant::now();
            self.wait(place);
        }
    }

    /// Gives up the slots and the turns that this loop has or waits for, since it will not use them soon. Returns the
    /// kinds that are not `claimed` now, which must wait again.
    fn let_go(&mut self, claimed: &mut [Wanting]) -> Vec<usize> {
        for it in claimed.iter_mut() {
            drop(it.slots.split(it.slots.num_permits()));
            it.turn = None;
            it.part = None;
        }
        let kinds = 0..self.context.kinds.len();
        // The other partitions need not leave it a share.
        for place in kinds.clone() {
            self.set_behind(place, false);
        }
        // Also where a semaphore has given slots to a future that is not polled meanwhile.
        self.waiting.clear();
        self.queue.clear();
        kinds
            .filter(|place| claimed.iter().all(|it| it.place != *place))
            .collect()
    }

    /// Notes whether more events of a kind are due than it has slots.
    fn set_behind(&mut self, place: usize, behind: bool) {
        let was = mem::replace(&mut self.next[place].behind, behind);
        let engines = &self.context.kinds[place].behind;
        match (was, behind) {
            (false, true) => engines.fetch_add(1, Ordering::Relaxed),
            (true, false) => engines.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }

    /// When to claim a kind again after a claim with this result.
    fn next(&self, place: usize, claim: &Claim, claimed: &Claimed, asked_at: Instant) -> Next {
        let now = Instant::now();
        let interval = self.context.kinds[place].options.poll_interval;
        let found = claimed.events.len() + claimed.exhausted.len();
        let behind = found >= claim.limit.get();
        let known = match claimed.next_due {
            _ if behind => Some(Duration::ZERO),
            Some(Duration::ZERO) if found == 0 => Some(CONTENDED_PAUSE),
            next_due => next_due.filter(|next_due| *next_due <= interval),
        };
        Next {
            at: known.map_or_else(|| self.poll_at(place, now, interval), |known| now + known),
            asked_at,
            behind,
            poll: known.is_none(),
        }
    }

    /// When to poll a kind for which no event is known to fall due: together with another kind, so that many
    /// kinds are polled no more often than one.
    fn poll_at(&self, place: usize, now: Instant, interval: Duration) -> Instant {
        let (earliest, latest) = (now + interval / 2, now + interval);
        let others = self.next.iter().enumerate();
        let polls = others.filter(|(other, next)| *other != place && next.poll);
        let shared = polls
            .map(|(_, next)| next.at)
            .filter(|at| (earliest..=latest).contains(at));
        shared.min().unwrap_or(latest)
    }

    /// Starts an attempt at each event, or releases the events if the worker is stopping.
    async fn start(
        &mut self,
        place: usize,
        claimed: Claimed,
        asked_at: Instant,
        mut slots: OwnedSemaphorePermit,
        part: Part,
    ) {
        let context = &self.context;
        let (served, look) = (&context.kinds[place], &context.looks[place]);
        let kind = &served.kind;
        served.measures.exhausted(claimed.exhausted.len());
        for key in &claimed.exhausted {
            logging(
                || warn!(%kind, %key, "event failed: no attempts left, by crashes, lost leases or a lower limit"),
            );
            let observed = Observed {
                kind,
                key,
                attempt: None,
                lag: Duration::ZERO,
            };
            context.observe(|observer| observer.event_failed(&observed, &FailureReason::Exhausted));
        }
        if claimed.events.is_empty() {
            return;
        }
        served.claimed(claimed.events.len());
        let leases = claimed.events.iter().map(|event| event.lease);
        context.leases.hold(leases, served.options.lease, asked_at);
        if context.stop.is_cancelled() {
            for event in claimed.events {
                let lease = event.lease;
                context.leases.ended(lease);
                let outcome = Outcome::Release;
                let finished = Finished {
                    settlement: Settlement { lease, outcome },
                    served: Arc::clone(served),
                    age: Age::at_claim(event.age),
                };
                if self.finished.send(finished).await.is_err() {
                    // The settler has given up, so the lease must expire.
                    context.leases.forget([lease]);
                }
            }
            return;
        }
        let handlers: Vec<_> = claimed
            .events
            .into_iter()
            .map(|event| {
                let lease = event.lease;
                // Without a slot if the claim took so long that it gave them back.
                let slot = slots
                    .split(1)
                    .map(|permit| served.slot(permit, look.used.clone(), part.clone()));
                let finished = self.finished.clone();
                let attempts = Arc::clone(&served.attempts);
                let attempt = attempts.start(context, served, event, slot, finished);
                (lease, attempt)
            })
            .collect();
        context.leases.started(handlers);
    }

    /// Waits until a kind wants events.
    fn wait(&mut self, place: usize) {
        let context = Arc::clone(&self.context);
        let next = self.next[place];
        let is_idle = next.at > Instant::now();
        self.idle[place] = is_idle;
        // Drops a hint from before the last claim.
        let _ = context.looks[place].hint.notified().now_or_never();
        self.waiting.push(Box::pin(async move {
            let (served, look) = (&context.kinds[place], &context.looks[place]);
            if is_idle {
                tokio::select! {
                    biased;
                    () = sleep_until(next.at) => {}
                    () = look.hint.notified() => sleep_until(next.asked_at + MIN_HINT_INTERVAL).await,
                }
            }
            let (mut slots, mut turn, mut part) = free_slots(served, look, next.behind).await;
            if next.behind {
                // No pause if the backend panics.
                let ratio = served.options.accepted_per_claimed;
                let scheduler = &context.scheduler;
                let pause = AssertUnwindSafe(|| scheduler.pause_before_claim(&served.kind, ratio));
                let pause = catch_unwind(pause).unwrap_or_default();
                if !pause.is_zero() && context.shares_slots {
                    drop((slots, turn, part));
                    sleep(pause).await;
                    (slots, turn, part) = free_slots(served, look, next.behind).await;
                } else if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
            Wanting {
                place,
                slots,
                turn,
                part,
            }
        }));
    }
}

/// Returns the parameters of the next claim: for each kind as many events as it has slots, and for all together
/// one batch, in which no kind takes more than its share while other kinds want theirs.
fn claims(context: &Context, wanting: &[Wanting]) -> Vec<Claim> {
    let options = wanting
        .iter()
        .map(|wanting| &context.kinds[wanting.place].options);
    let batch = options.map(|options| options.max_batch).max().unwrap_or(1);
    let share = (batch / wanting.len().max(1)).max(1);
    let wanted: Vec<usize> = wanting
        .iter()
        .map(|wanting| {
            let options = &context.kinds[wanting.place].options;
            wanting.slots.num_permits().min(options.max_batch)
        })
        .collect();
    let shared: usize = wanted.iter().map(|&wanted| wanted.min(share)).sum();
    let mut left = batch.saturating_sub(shared);
    let claims = wanting.iter().zip(wanted).map(|(wanting, wanted)| {
        let served = &context.kinds[wanting.place];
        let more = wanted.saturating_sub(share).min(left);
        left -= more;
        served.claim(wanted.min(share) + more)
    });
    claims.collect()
}

/// Waits for a hint of the backend for the kinds that are `idle`, and returns the kinds that it names. Never
/// completes if the backend panics; the worker polls then.
fn hint(context: &Context, idle: &[bool]) -> BoxFuture<'static, Vec<usize>> {
    let places: Vec<usize> = (0..idle.len()).filter(|place| idle[*place]).collect();
    if places.is_empty() {
        return never();
    }
    let kinds = places
        .iter()
        .map(|place| context.kinds[*place].kind.clone());
    let kinds: Vec<Kind> = kinds.collect();
    let scheduler = Arc::clone(&context.scheduler);
    let hint = AssertUnwindSafe(async move { scheduler.wait_for_work(&kinds).await });
    Box::pin(async move {
        match hint.catch_unwind().await {
            Ok(over) => over
                .iter()
                .filter_map(|it| places.get(*it).copied())
                .collect(),
            Err(_) => pending().await,
        }
    })
}

fn never() -> BoxFuture<'static, Vec<usize>> {
    Box::pin(pending())
}

/// Waits until the kind's limit allows events and a slot is free, and takes all free slots, up to the allowance,
/// the limit of one claim, and the share of the engine; or a part of the slots.
async fn free_slots(
    served: &Served,
    look: &Look,
    behind: bool,
) -> (OwnedSemaphorePermit, Turn, Part) {
    if behind && let Some((slots, part)) = served.part(look).await {
        return (slots, None, part);
    }
    served.has_share_left(look, behind, 1).await;
    let turn = served.turn().await;
    let allowance = served.allowed().await;
    let mut slots = served.free_slot().await;
    let options = &served.options;
    let limit = options.concurrency.min(options.max_batch);
    if behind {
        // A quarter of what the limit allows at the same time, not of what it allows beside the running attempts: that
        // is one event whenever one attempt has ended.
        let running = served.running(slots.num_permits());
        let wanted = limit.min(allowance.saturating_add(running)) / 4;
        // Half of a share that is small: claims of few events would cost more than slots that wait.
        let wanted = wanted.min(served.share(look, behind) / 2);
        let more = async {
            served.allows(wanted, slots.num_permits()).await;
            served.has_share_left(look, behind, wanted + 1).await;
            Arc::clone(&served.slots)
                .acquire_many_owned(permits(wanted))
                .await
        };
        if let Ok(more) = timeout(GATHER_TIMEOUT, more).await {
            slots.merge(more.expect(NEVER_CLOSED));
        }
    }
    let free = served.slots.available_permits();
    let limit = limit.min(served.share_left(look, behind));
    let limit = limit.min(served.allowance(slots.num_permits()));
    let more = permits(free.min(limit.saturating_sub(slots.num_permits())));
    if let Ok(more) = Arc::clone(&served.slots).try_acquire_many_owned(more) {
        slots.merge(more);
    }
    (slots, turn, None)
}

pub(super) fn permits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
