//! Steps that the cases share.

use std::num::{NonZeroU32, NonZeroUsize};
use std::slice;
use std::time::Duration;

use bytes::Bytes;

use super::Backend;
use crate::{
    Accepted, Claim, Claimed, ClaimedEvent, Envelope, EventRecord, EventRef, Extended,
    FailureReason, Fingerprint, Key, Kind, Lease, NewEvent, OnFailed, Outcome, Settled, Settlement,
};

/// A lease or a delay that does not end within a case.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// A lease or a delay that is waited for.
pub(super) const SHORT: Duration = Duration::from_millis(100);

/// A time after which [`SHORT`] has passed by every clock.
pub(super) const PAST_SHORT: Duration = Duration::from_millis(250);

/// How far a backend may round times, and clocks differ in pace.
pub(super) const TOLERANCE: Duration = Duration::from_millis(20);

/// The kind that cases use where it does not matter.
pub(super) fn kind() -> Kind {
    kind_named("conformance")
}

/// The kind of events with guards, which is whole in a partitioned backend.
pub(super) fn guarded_kind() -> Kind {
    kind_named("guarded")
}

/// Another kind of events with guards.
pub(super) fn other_guarded_kind() -> Kind {
    kind_named("also-guarded")
}

pub(super) fn kind_named(kind: &'static str) -> Kind {
    Kind::new(kind).expect("cases name valid kinds")
}

pub(super) fn key(key: &str) -> Key {
    Key::new(key).expect("cases name valid keys")
}

/// Names a delivery's event.
pub(super) fn reference(event: &NewEvent) -> EventRef {
    EventRef {
        kind: event.envelope.kind.clone(),
        key: event.envelope.key.clone(),
    }
}

pub(super) fn event_ref(name: &str) -> EventRef {
    EventRef {
        kind: kind(),
        key: key(name),
    }
}

/// A delivery that is due at once; `content` is both its body and what is compared.
pub(super) fn event(name: &str, content: &str) -> NewEvent {
    NewEvent {
        envelope: Envelope::new(
            kind(),
            key(name),
            Fingerprint::of([content]),
            content.to_owned().into(),
        ),
        delay: Duration::ZERO,
        on_failed: OnFailed::Keep,
    }
}

/// As [`event`], due later.
pub(super) fn event_in(delay: Duration, name: &str, content: &str) -> NewEvent {
    NewEvent {
        delay,
        ..event(name, content)
    }
}

/// As [`event`], of another kind.
pub(super) fn event_of(kind: &Kind, name: &str, content: &str) -> NewEvent {
    let mut event = event(name, content);
    event.envelope.kind = kind.clone();
    event
}

/// Many deliveries of different keys, due at once.
pub(super) fn events(count: usize) -> Vec<NewEvent> {
    let names = (0..count).map(|number| format!("event-{number:05}"));
    names.map(|name| event(&name, &name)).collect()
}

/// A wish for events with long leases and attempts to spare.
pub(super) fn up_to(limit: usize) -> Claim {
    Claim {
        kind: kind(),
        limit: NonZeroUsize::new(limit).expect("cases claim something"),
        lease: LONG,
        max_attempts: attempts(100),
    }
}

pub(super) fn attempts(attempts: u32) -> NonZeroU32 {
    NonZeroU32::new(attempts).expect("cases allow an attempt")
}

pub(super) fn retry(after: Duration, reason: &str) -> Outcome {
    Outcome::Retry {
        after,
        reason: crate::Reason::new(reason),
    }
}

pub(super) fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: crate::Reason::new(reason),
    }
}

/// The same outcome, with details.
pub(super) fn detailed(outcome: Outcome, details: impl Into<Bytes>) -> Outcome {
    let details = details.into();
    match outcome {
        Outcome::Retry { after, reason } => Outcome::Retry {
            after,
            reason: reason.with_details(details),
        },
        Outcome::Failed { reason } => Outcome::Failed {
            reason: reason.with_details(details),
        },
        other => other,
    }
}

/// Why an attempt failed that was settled with this reason.
pub(super) fn error(reason: &str) -> FailureReason {
    crate::Reason::new(reason).into()
}

pub(super) fn keys(events: &[ClaimedEvent]) -> Vec<&str> {
    events.iter().map(|event| event.key.as_str()).collect()
}

impl Backend {
    /// The number of the partition that has an event of the usual kind; 0 if the backend has no partitions.
    pub(super) fn partition_of(&self, name: &str) -> usize {
        self.partition_of_event(&event_ref(name))
    }

    fn partition_of_event(&self, event: &EventRef) -> usize {
        let placement = self.store.placement();
        placement.map_or(0, |it| it.partition_of(&event.kind, &event.key))
    }

    /// Whether all events are in one partition, so that the backend orders all of them.
    pub(super) fn orders_all(&self) -> bool {
        self.store.placement().is_none_or(|it| it.count() == 1)
    }

    /// Asserts that these events of the usual kind are in the expected order. A partitioned backend keeps the order
    /// of the events of each partition.
    pub(super) fn assert_order<N: AsRef<str>>(&self, found: &[N], expected: &[impl AsRef<str>]) {
        let found: Vec<_> = found.iter().map(|name| event_ref(name.as_ref())).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|name| event_ref(name.as_ref()))
            .collect();
        self.assert_order_of(&found, &expected);
    }

    /// The same for events of any kinds.
    pub(super) fn assert_order_of(&self, found: &[EventRef], expected: &[EventRef]) {
        let of = |events: &[EventRef], partition| -> Vec<EventRef> {
            let events = events.iter();
            let events = events.filter(|event| self.partition_of_event(event) == partition);
            events.cloned().collect()
        };
        for event in found.iter().chain(expected) {
            let partition = self.partition_of_event(event);
            assert_eq!(of(found, partition), of(expected, partition));
        }
    }

    /// Asserts that of these events, which are named in the order in which a call takes them, as many were taken as
    /// expected, and none before one that comes earlier. A partitioned backend keeps the order of each partition.
    pub(super) fn assert_taken(&self, names: &[&str], taken: &[bool], expected: usize) {
        let all = taken.iter().filter(|taken| **taken).count();
        assert_eq!(all, expected, "{names:?} {taken:?}");
        let of = |partition| {
            let events = names.iter().zip(taken);
            let events = events.filter(move |(name, _)| self.partition_of(name) == partition);
            events.map(|(_, taken)| *taken)
        };
        for name in names {
            let partition = self.partition_of(name);
            let is_in_order = of(partition).is_sorted_by(|one, next| one >= next);
            assert!(is_in_order, "{names:?} {taken:?}");
        }
    }

    /// Whether the claim may say that more is due only because it has not asked every partition: its limit is smaller
    /// than their number, and reached.
    pub(super) fn may_not_know(&self, claim: &Claim, claimed: &Claimed) -> bool {
        let partitions = self.store.placement().map_or(1, |it| it.count());
        partitions > claim.limit.get()
            && claimed.events.len() == claim.limit.get()
            && claimed.next_due == Some(Duration::ZERO)
    }

    pub(super) async fn pass(&self, duration: Duration) {
        (self.clock)(duration).await;
    }

    /// Lets time pass until what a claim said is due, never long and never none, so that a case
    /// that waits in vain meets its deadline.
    pub(super) async fn pass_until(&self, next_due: Option<Duration>) {
        let wait = next_due.unwrap_or(SHORT);
        self.pass(wait.clamp(Duration::from_millis(1), SHORT)).await;
    }

    pub(super) async fn accept(&self, events: &[NewEvent]) -> Vec<Accepted> {
        let accepted = self.store.accept(events).await.expect("accept");
        assert_eq!(accepted.len(), events.len(), "one outcome per event");
        accepted
    }

    pub(super) async fn accept_new(&self, events: &[NewEvent]) {
        let accepted = self.accept(events).await;
        assert!(
            accepted.iter().all(|accepted| *accepted == Accepted::New),
            "all keys are free: {accepted:?}"
        );
    }

    pub(super) async fn find(&self, events: &[EventRef]) -> Vec<Option<EventRecord>> {
        let found = self.store.find(events).await.expect("find");
        assert_eq!(found.len(), events.len(), "one answer per event");
        found
    }

    /// The record of an event of the usual kind.
    pub(super) async fn record(&self, name: &str) -> EventRecord {
        let found = self.find(&[event_ref(name)]).await.remove(0);
        found.unwrap_or_else(|| panic!("there is no event {name:?}"))
    }

    pub(super) async fn claim_all(&self, claims: &[Claim]) -> Vec<Claimed> {
        let claimed = self.scheduler.claim(claims).await.expect("claim");
        assert_eq!(claimed.len(), claims.len(), "one answer per claim");
        claimed
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Claimed {
        let claimed = self.claim_all(slice::from_ref(claim)).await.remove(0);
        let taken = claimed.events.len() + claimed.exhausted.len();
        assert!(taken <= claim.limit.get(), "{taken} taken of {claim:?}");
        claimed
    }

    /// Claims until `count` events are leased, waiting for them to fall due. Their order is that
    /// in which they were leased.
    pub(super) async fn claim_within(&self, claim: &Claim, count: usize) -> Vec<ClaimedEvent> {
        let mut events = Vec::new();
        loop {
            let claimed = self.claim(claim).await;
            let idle = claimed.events.is_empty();
            events.extend(claimed.events);
            if events.len() >= count {
                return events;
            }
            if idle {
                self.pass_until(claimed.next_due).await;
            }
        }
    }

    /// Claims the one event that is due, or about to be.
    pub(super) async fn claim_one(&self, claim: &Claim) -> ClaimedEvent {
        let mut events = self.claim_within(claim, 1).await;
        assert_eq!(events.len(), 1, "only one event is due");
        events.remove(0)
    }

    pub(super) async fn extend(&self, leases: &[Lease], lease: Duration) -> Vec<Extended> {
        let extended = self.scheduler.extend(leases, lease).await.expect("extend");
        assert_eq!(extended.len(), leases.len(), "one answer per lease");
        extended
    }

    pub(super) async fn settle(&self, settlements: &[Settlement]) -> Vec<Settled> {
        let settled = self.scheduler.settle(settlements).await.expect("settle");
        assert_eq!(settled.len(), settlements.len(), "one answer each");
        settled
    }

    pub(super) async fn settle_one(&self, lease: Lease, outcome: Outcome) -> Settled {
        let settled = self.settle(&[Settlement { lease, outcome }]).await;
        settled[0]
    }

    pub(super) async fn pause(&self, kind: &Kind) -> bool {
        self.admin.pause(kind).await.expect("pause")
    }

    pub(super) async fn resume(&self, kind: &Kind) -> bool {
        self.admin.resume(kind).await.expect("resume")
    }

    /// Accepts an event, claims it and settles it.
    pub(super) async fn settled(&self, name: &str, content: &str, outcome: Outcome) {
        self.accept_new(&[event(name, content)]).await;
        let claimed = self.claim_one(&up_to(1)).await;
        assert_eq!(claimed.key.as_str(), name, "no other event is due");
        let settled = self.settle_one(claimed.lease, outcome).await;
        assert_eq!(settled, Settled::Applied);
    }
}
