//! Two backends, and how their answers compare.

use std::fmt::Debug;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use webhook_core::{
    Admin, Claim, Claimed, ClaimedEvent, DeleteBodies, Envelope, EventRef, EventType, Fingerprint,
    Key, Kind, Lease, NewEvent, OnFailed, Outcome, Page, Placement, Prune, Reason, RunningLeases,
    Scheduler, Settlement, State, Store, TerminalState,
};
use webhook_memory::MemoryStore;

use crate::operation::{Delivery, End, KEYS, KINDS, Length, Name, Operation, TYPES};

/// The backend in memory, and another one.
pub(crate) struct Pair<'a, B> {
    memory: MemoryStore,
    other: &'a B,
    /// Which partition of the other one each event is in, if it has partitions.
    placement: Option<Arc<Placement>>,
    kinds: [Kind; KINDS],
    /// Those that were given out, in their order.
    leases: Vec<Leases>,
}

/// One lease, as each backend calls it.
#[derive(Clone, Copy)]
struct Leases {
    memory: Lease,
    other: Lease,
}

/// What both say, in words.
type Both = (String, String);

const HOUR: Duration = Duration::from_secs(3600);

/// What is compared.
pub(crate) trait Backend: Store + Scheduler + Admin {}

impl<B: Store + Scheduler + Admin> Backend for B {}

impl<'a, B: Backend> Pair<'a, B> {
    /// Both are empty: the other one holds no event of these kinds.
    pub(crate) fn new(other: &'a B, kinds: [Kind; KINDS]) -> Self {
        Self {
            memory: MemoryStore::default(),
            placement: other.placement(),
            other,
            kinds,
            leases: Vec::new(),
        }
    }

    /// Does it to both: what they answer.
    pub(crate) async fn apply(&mut self, operation: &Operation) -> Both {
        let (memory, other) = (&self.memory, self.other);
        match operation {
            Operation::Accept(deliveries) => {
                let events = deliveries.iter().enumerate();
                let mut events: Vec<_> = events.map(|(i, it)| self.event(i, it)).collect();
                if events.len() > 1 {
                    // PostgreSQL requeues a batch's failed events after it inserted the new ones,
                    // in another statement: their order is its own.
                    let requeued = events
                        .iter_mut()
                        .filter(|it| it.on_failed != OnFailed::Keep);
                    requeued.for_each(|it| it.delay = HOUR);
                }
                both(memory.accept(&events).await, other.accept(&events).await)
            }
            Operation::Claim {
                kind,
                limit,
                lease,
                max_attempts,
            } => {
                let kind = &self.kinds[*kind];
                let claim = Claim::new(
                    kind.clone(),
                    self.limit(kind, *limit, *lease),
                    length(*lease, 1000),
                    NonZeroU32::new(*max_attempts).unwrap(),
                );
                let mut memory = memory
                    .claim(std::slice::from_ref(&claim))
                    .await
                    .unwrap()
                    .remove(0);
                let mut other = other
                    .claim(std::slice::from_ref(&claim))
                    .await
                    .unwrap()
                    .remove(0);
                self.sort(kind, &mut memory);
                self.sort(kind, &mut other);
                let said = (claimed(&memory), claimed(&other));
                let leases = memory.events.iter().zip(&other.events);
                self.leases.extend(leases.map(|(memory, other)| Leases {
                    memory: memory.lease,
                    other: other.lease,
                }));
                said
            }
            Operation::Extend { leases, lease } => {
                let leases: Vec<_> = leases.iter().filter_map(|i| self.lease(*i)).collect();
                let length = length(*lease, 1000);
                let [ours, theirs] = split(&leases);
                let ours = memory.extend(&ours, length).await;
                both(ours, other.extend(&theirs, length).await)
            }
            Operation::Settle(ends) => {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                for (i, (lease, end)) in ends.iter().enumerate() {
                    let Some(lease) = self.lease(*lease) else {
                        continue;
                    };
                    let settlement = |lease| Settlement::new(lease, outcome(*end, i));
                    ours.push(settlement(lease.memory));
                    theirs.push(settlement(lease.other));
                }
                let ours = memory.settle(&ours).await;
                both(ours, other.settle(&theirs).await)
            }
            Operation::Requeue(name) => {
                let events = [self.event_ref(*name)];
                let ours = memory.requeue(&events).await;
                both(ours, other.requeue(&events).await)
            }
            Operation::Delete(name) => {
                let events = [self.event_ref(*name)];
                let ours = memory.delete(&events).await;
                both(ours, other.delete(&events).await)
            }
            Operation::Erase(name) => {
                let events = [self.event_ref(*name)];
                let ours = memory.erase(&events).await;
                both(ours, other.erase(&events).await)
            }
            Operation::MakeDue {
                name,
                times,
                ends_leases,
            } => {
                let events = vec![self.event_ref(*name); *times];
                let leases = match ends_leases {
                    true => RunningLeases::End,
                    false => RunningLeases::Keep,
                };
                let ours = memory.make_due(&events, leases).await;
                both(ours, other.make_due(&events, leases).await)
            }
            Operation::Prune {
                kind,
                failed,
                older_than,
            } => {
                let prune = Prune::new(
                    self.kinds[*kind].clone(),
                    match failed {
                        true => TerminalState::Failed,
                        false => TerminalState::Processed,
                    },
                    length(*older_than, 0),
                    ALL,
                );
                both(memory.prune(&prune).await, other.prune(&prune).await)
            }
            Operation::DeleteBodies { kind, older_than } => {
                let delete =
                    DeleteBodies::new(self.kinds[*kind].clone(), length(*older_than, 0), ALL);
                both(
                    memory.delete_bodies(&delete).await,
                    other.delete_bodies(&delete).await,
                )
            }
            Operation::Pause(kind) => {
                let kind = &self.kinds[*kind];
                both(memory.pause(kind).await, other.pause(kind).await)
            }
            Operation::Resume(kind) => {
                let kind = &self.kinds[*kind];
                both(memory.resume(kind).await, other.resume(kind).await)
            }
        }
    }

    /// Partitions share a limit in their own way. Without enough for each, they do not know whether more is due. One that
    /// is asked again for what others leave may find that leases which it has just given are over.
    fn limit(&self, kind: &Kind, limit: usize, lease: Length) -> NonZeroUsize {
        match &self.placement {
            Some(placement) if placement.is_whole(kind) && lease == Length::Hour => {
                NonZeroUsize::new(limit.max(placement.count())).unwrap()
            }
            Some(_) => ALL,
            None => NonZeroUsize::new(limit).unwrap(),
        }
    }

    /// The events of each partition are in the order of their due times, and those of different partitions in any.
    fn sort(&self, kind: &Kind, claimed: &mut Claimed) {
        if let Some(placement) = &self.placement {
            let partition = |it: &ClaimedEvent| placement.partition_of(kind, &it.key);
            claimed.events.sort_by_key(partition);
        }
    }

    /// What both find.
    pub(crate) async fn glance(&self) -> Both {
        (self.found(&self.memory).await, self.found(self.other).await)
    }

    /// All that both hold.
    pub(crate) async fn inspect(&self) -> Both {
        (self.held(&self.memory).await, self.held(self.other).await)
    }

    async fn found(&self, store: &impl Store) -> String {
        let mut view = String::new();
        let events = self.names();
        let found = store.find(&events).await.unwrap();
        for (event, record) in events.iter().zip(found) {
            let Some(it) = record else { continue };
            let settled = it.settled_at.is_some();
            // Both by the same clock, here.
            let soon = it
                .due_at
                .map(|due_at| due_at < SystemTime::now() + HOUR / 2);
            let leased = it.leased_until.is_some();
            let (key, body, stripped) = (&event.key, &it.envelope.body, it.body_deleted);
            let (state, attempts, reason) = (it.state, it.attempts, it.reason);
            let (conflicts, last) = (it.conflict_count, it.last_conflict_at.is_some());
            view += &format!(
                "\n    {key} {state} {attempts} {reason:?} {body:?} stripped {stripped} due soon \
                 {soon:?} leased {leased} settled {settled} conflicts {conflicts} last {last}"
            );
        }
        view
    }

    async fn held(&self, store: &impl Admin) -> String {
        let mut view = String::new();
        for event in self.names() {
            let kept = store.conflicts(&event).await.unwrap();
            let kept = kept.into_iter().map(|it| (it.body, it.body_bytes));
            let failed = store.failed_attempts(&event).await.unwrap();
            let failed = failed
                .into_iter()
                .map(|it| (it.attempt.number(), it.reason.details().cloned(), it.reason));
            let (kept, failed): (Vec<_>, Vec<_>) = (kept.collect(), failed.collect());
            view += &format!("\n    {} {kept:?} {failed:?}", event.key);
        }
        // The database has the kinds of other cases, too.
        let mut kinds = store.kinds().await.unwrap();
        kinds.retain(|kind| self.kinds.contains(kind));
        let mut paused = store.paused().await.unwrap();
        paused.retain(|kind| self.kinds.contains(kind));
        view += &format!("\n    {kinds:?} paused {paused:?}");
        for kind in &self.kinds {
            let counts = store.counts(kind).await.unwrap();
            let lag = store.lag(kind).await.unwrap().is_some();
            let settled = store.settled(kind, HOUR).await.unwrap();
            view += &format!("\n    {counts:?} lag {lag} {settled:?}");
            for state in State::ALL {
                let page = Page::new(kind.clone(), state, ALL);
                let listed = store.list(&page).await.unwrap();
                let mut keys: Vec<_> = listed.into_iter().map(|it| it.event.key).collect();
                // Within one batch, ids are as the backend likes.
                keys.sort();
                view += &format!(" {keys:?}");
                let held = page.clone().held_for_over(HOUR / 2);
                let of_types = (0..TYPES).map(|it| page.clone().event_type(event_type(it)));
                for page in std::iter::once(held).chain(of_types) {
                    let listed = store.list(&page).await.unwrap();
                    let mut keys: Vec<_> = listed.into_iter().map(|it| it.event.key).collect();
                    keys.sort();
                    view += &format!(" {keys:?}");
                }
            }
        }
        view
    }

    fn event(&self, place: usize, delivery: &Delivery) -> NewEvent {
        let EventRef { kind, key } = self.event_ref(delivery.name);
        let content = delivery.content;
        // Guards need a whole kind.
        let placement = self.placement.as_ref();
        let is_guarded = placement.is_none_or(|it| it.is_whole(&kind));
        let guard = delivery.guard.filter(|_| is_guarded);
        NewEvent::new(
            Envelope::new(
                kind,
                key,
                Fingerprint::of([[content]]),
                Bytes::from(format!("content {content}")),
            )
            .with_guard(guard.map(|guard| Fingerprint::of([[guard]])))
            .with_event_type(delivery.event_type.map(event_type)),
            length(delivery.delay, place),
        )
        .with_on_failed(match delivery.requeues {
            true => OnFailed::Requeue,
            false => OnFailed::Keep,
        })
    }

    fn names(&self) -> Vec<EventRef> {
        let names = (0..KINDS).flat_map(|kind| (0..KEYS).map(move |key| Name { kind, key }));
        names.map(|name| self.event_ref(name)).collect()
    }

    fn event_ref(&self, name: Name) -> EventRef {
        EventRef {
            kind: self.kinds[name.kind].clone(),
            key: Key::new(format!("key{}", name.key)).unwrap(),
        }
    }

    /// The lease given out as long ago.
    fn lease(&self, back: usize) -> Option<Leases> {
        let place = self.leases.len().checked_sub(back + 1)?;
        Some(self.leases[place])
    }
}

/// Returns kinds that no case has had.
pub(crate) fn new_kinds() -> [Kind; KINDS] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    [0, 1].map(|i| Kind::new(format!("kind{i}-{number}")).unwrap())
}

fn event_type(number: u8) -> EventType {
    EventType::new(format!("type {number}")).unwrap()
}

/// No limit.
const ALL: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// A length, told apart from others of its call by `place` microseconds.
fn length(length: Length, place: usize) -> Duration {
    let place = Duration::from_micros(u64::try_from(place).unwrap());
    match length {
        Length::Moment => place,
        Length::Hour => HOUR + place,
    }
}

fn outcome(end: End, place: usize) -> Outcome {
    let reason = Reason::new(format!("reason {place}"));
    let reason = match place % 3 {
        0 => reason.with_details(format!("details {place}").into()),
        1 => reason.with_details(Bytes::new()),
        _ => reason,
    };
    match end {
        End::Processed => Outcome::Processed,
        End::Failed => Outcome::Failed { reason },
        End::Retry(after) => Outcome::Retry {
            after: length(after, place),
            reason,
        },
        End::Release => Outcome::Release,
        End::Postpone(after) => Outcome::Postpone {
            after: length(after, place),
        },
    }
}

/// What does not depend on the exact time.
fn claimed(claimed: &Claimed) -> String {
    let events = claimed.events.iter();
    // An event is due when it is accepted, or later.
    let older = |it: &ClaimedEvent| it.age + Duration::from_millis(1) >= it.lag;
    let events: Vec<_> = events
        .map(|it| {
            let attempt = it.lease.attempt.number();
            let (key, body) = (it.key.clone(), it.body.clone());
            (key, attempt, it.event_type.clone(), body, older(it))
        })
        .collect();
    let mut exhausted = claimed.exhausted.clone();
    exhausted.sort();
    let soon = claimed.next_due.map(|due| due < HOUR / 2);
    format!("{events:?}, exhausted {exhausted:?}, next soon {soon:?}")
}

fn split(leases: &[Leases]) -> [Vec<Lease>; 2] {
    let ours = leases.iter().map(|lease| lease.memory);
    let theirs = leases.iter().map(|lease| lease.other);
    [ours.collect(), theirs.collect()]
}

fn both(memory: Result<impl Debug, impl Debug>, other: Result<impl Debug, impl Debug>) -> Both {
    (format!("{memory:?}"), format!("{other:?}"))
}
