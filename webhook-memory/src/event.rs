//! One event in memory, with its conflicts and failed attempts.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use webhook_core::{
    Attempt, ConflictRecord, Envelope, EventId, EventRecord, EventType, FailedAttempt,
    FailureReason, Fingerprint, Headers, Key, Kind, Lease, MAX_CONFLICT_BODIES,
    MAX_CONFLICT_BODY_BYTES, MAX_FAILED_ATTEMPTS, NewEvent, Reason, State,
};

use crate::clock::Clock;

/// An event. Times are counted from the creation of the store.
pub(crate) struct Event {
    /// The number of the queue of its kind.
    pub(crate) queue: usize,
    pub(crate) key: Key,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) event_type: Option<EventType>,
    // Boxed, since few events have one.
    pub(crate) guard: Option<Box<Fingerprint>>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    pub(crate) accepted_at: Duration,
    /// Its place in the queue. Claims do not change it, so that an event whose lease expires or is released
    /// returns to its old place.
    pub(crate) due_at: Duration,
    pub(crate) stage: Stage,
    pub(crate) attempts: u32,
    /// The fence of the latest lease.
    pub(crate) fence: i64,
    pub(crate) reason: Option<FailureReason>,
    // Boxed, since hardly any event has conflicts or failures.
    pub(crate) conflicts: Option<Box<Conflicts>>,
    pub(crate) failures: Option<Box<Failures>>,
}

/// The stage of an event, which decides which index of its queue holds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting, or due.
    Pending {
        /// When its lease expired, if it had one. Until the next claim, the holder of that lease may still
        /// extend and settle it.
        expired_at: Option<Duration>,
    },
    /// Leased.
    Leased { until: Duration },
    /// Processed successfully.
    Processed {
        /// When it was settled.
        at: Duration,
        /// Whether its body is deleted.
        body_deleted: bool,
    },
    /// Failed for good.
    Failed {
        /// When it was settled.
        at: Duration,
        /// Whether its body is deleted.
        body_deleted: bool,
    },
}

impl Stage {
    /// Whether the body of the event is deleted.
    pub(crate) const fn is_without_body(self) -> bool {
        match self {
            Self::Pending { .. } | Self::Leased { .. } => false,
            Self::Processed { body_deleted, .. } | Self::Failed { body_deleted, .. } => {
                body_deleted
            }
        }
    }
}

/// The fixed size of an event: its struct and its entries in the indexes.
const EVENT_BYTES: usize = 500;

/// The size of a guard, with its entry in the index.
const GUARD_BYTES: usize = 100;

/// The fixed size of a conflict or a failed attempt, in addition to its body or its reason and details.
const RECORD_BYTES: usize = 100;

/// The size of a new event.
pub(crate) fn new_bytes(envelope: &Envelope) -> usize {
    EVENT_BYTES
        + 2 * envelope.key.as_str().len()
        + text_bytes(envelope.event_type.as_ref())
        + envelope.guard.map_or(0, |_| GUARD_BYTES)
        + envelope.headers.as_encoded().len()
        + envelope.body.len()
}

fn text_bytes(event_type: Option<&EventType>) -> usize {
    event_type.map_or(0, |it| it.as_str().len())
}

/// The largest size of a conflicting delivery.
pub(crate) fn conflict_bytes(delivery: &Envelope) -> usize {
    RECORD_BYTES + delivery.body.len().min(MAX_CONFLICT_BODY_BYTES)
}

impl Event {
    /// The size of the event with its conflicts and failures.
    pub(crate) fn bytes(&self) -> usize {
        let conflicts = self.conflicts.as_deref();
        let failures = self.failures.as_deref();
        EVENT_BYTES
            + 2 * self.key.as_str().len()
            + text_bytes(self.event_type.as_ref())
            + self.guard.as_ref().map_or(0, |_| GUARD_BYTES)
            + self.headers.as_encoded().len()
            + self.body.len()
            + self.reason.as_ref().map_or(0, |it| it.as_str().len())
            + conflicts.map_or(0, Conflicts::bytes)
            + failures.map_or(0, Failures::bytes)
    }

    pub(crate) fn new(new: &NewEvent, queue: usize, now: Duration) -> Self {
        Self {
            queue,
            key: new.envelope.key.clone(),
            fingerprint: new.envelope.fingerprint,
            event_type: new.envelope.event_type.clone(),
            guard: new.envelope.guard.map(Box::new),
            // A slice would keep the whole receive buffer alive, which no limit counts.
            headers: new.envelope.headers.to_owned_buffer(),
            body: Bytes::copy_from_slice(&new.envelope.body),
            accepted_at: now,
            due_at: now.saturating_add(new.delay),
            stage: Stage::Pending { expired_at: None },
            attempts: 0,
            fence: 0,
            reason: None,
            conflicts: None,
            failures: None,
        }
    }

    /// Deletes the headers and the body, and what may quote them.
    pub(crate) fn delete_body(&mut self) {
        self.headers = Headers::new();
        self.body = Bytes::new();
        if let Some(conflicts) = &mut self.conflicts {
            conflicts.delete_bodies();
        }
        if let Some(failures) = &mut self.failures {
            failures.delete_details();
        }
    }

    /// Ends the latest attempt as failed.
    pub(crate) fn fail_attempt(&mut self, reason: &Reason, now: Duration) {
        let text = reason.clone().without_details();
        self.reason = Some(text.clone().into());
        // A slice would keep the whole receive buffer alive.
        let details = reason.details().map(|it| Bytes::copy_from_slice(it));
        let kept = details.map_or(text.clone(), |details| text.with_details(details));
        self.record_failure(now, kept.into());
    }

    /// Records why the latest attempt failed.
    pub(crate) fn record_failure(&mut self, ended_at: Duration, reason: FailureReason) {
        let attempt = Attempt::FIRST
            .get()
            .saturating_add(self.attempts.saturating_sub(1));
        let failures = self.failures.get_or_insert_default();
        if failures.0.len() == MAX_FAILED_ATTEMPTS {
            failures.0.pop_front();
        }
        failures.0.push_back(Failure {
            attempt: Attempt::new(attempt),
            ended_at,
            reason,
        });
    }

    /// Whether `lease` may extend and settle the event.
    pub(crate) fn is_held_by(&self, lease: &Lease) -> bool {
        let held = matches!(
            self.stage,
            Stage::Leased { .. }
                | Stage::Pending {
                    expired_at: Some(_)
                }
        );
        held && self.fence == lease.fence.get()
    }

    pub(crate) fn state(&self) -> State {
        match self.stage {
            Stage::Pending { .. } | Stage::Leased { .. } => State::Processing,
            Stage::Processed { .. } => State::Processed,
            Stage::Failed { .. } => State::Failed,
        }
    }

    /// How long until the event can be claimed: zero if it is due and not leased, `None` if it is settled.
    pub(crate) fn claimable_in(&self, now: Duration) -> Option<Duration> {
        let from = match self.stage {
            Stage::Pending { .. } => self.due_at,
            Stage::Leased { until } => self.due_at.max(until),
            Stage::Processed { .. } | Stage::Failed { .. } => return None,
        };
        Some(from.saturating_sub(now))
    }

    /// When its lease expires, if it is leased at `now`.
    pub(crate) fn leased_until(&self, now: Duration) -> Option<Duration> {
        match self.stage {
            Stage::Leased { until } if until > now => Some(until),
            _ => None,
        }
    }

    pub(crate) fn record(
        &self,
        id: EventId,
        kind: &Kind,
        clock: &Clock,
        now: Duration,
    ) -> EventRecord {
        let settled_at = match self.stage {
            Stage::Pending { .. } | Stage::Leased { .. } => None,
            Stage::Processed { at, .. } | Stage::Failed { at, .. } => Some(clock.system_time(at)),
        };
        let conflicts = self.conflicts.as_deref();
        let envelope = Envelope::new(
            kind.clone(),
            self.key.clone(),
            self.fingerprint,
            self.body.clone(),
        );
        let mut record = EventRecord::new(
            id,
            envelope
                .with_headers(self.headers.clone())
                .with_event_type(self.event_type.clone()),
            self.state(),
            clock.system_time(self.accepted_at),
        );
        record.body_deleted = self.stage.is_without_body();
        record.attempts = self.attempts;
        record.due_at = (self.state() == State::Processing).then(|| clock.system_time(self.due_at));
        record.leased_until = self.leased_until(now).map(|at| clock.system_time(at));
        record.settled_at = settled_at;
        record.reason.clone_from(&self.reason);
        record.conflict_count = conflicts.map_or(0, |conflicts| conflicts.count);
        record.last_conflict_at = conflicts.map(|conflicts| clock.system_time(conflicts.last_at));
        record
    }
}

/// The deliveries with the key of an event and other content.
#[derive(Default)]
pub(crate) struct Conflicts {
    count: u64,
    last_at: Duration,
    /// The latest conflicts, in the order of their arrival.
    kept: VecDeque<Conflict>,
}

struct Conflict {
    received_at: Duration,
    fingerprint: Fingerprint,
    body: Bytes,
    body_bytes: u64,
}

impl Conflicts {
    pub(crate) fn record(&mut self, delivery: &Envelope, now: Duration) {
        self.count += 1;
        self.last_at = now;
        if self.kept.len() == MAX_CONFLICT_BODIES {
            self.kept.pop_front();
        }
        let body = &delivery.body;
        self.kept.push_back(Conflict {
            received_at: now,
            fingerprint: delivery.fingerprint,
            // A slice would keep the whole body and its receive buffer alive.
            body: Bytes::copy_from_slice(&body[..body.len().min(MAX_CONFLICT_BODY_BYTES)]),
            body_bytes: body.len() as u64,
        });
    }

    fn bytes(&self) -> usize {
        let kept = self.kept.iter();
        kept.map(|it| RECORD_BYTES + it.body.len()).sum()
    }

    /// Deletes the bodies; the count stays.
    fn delete_bodies(&mut self) {
        self.kept.clear();
    }

    /// The records, the latest first.
    pub(crate) fn records(&self, clock: &Clock) -> Vec<ConflictRecord> {
        let records = self.kept.iter().rev().map(|conflict| {
            ConflictRecord::new(
                clock.system_time(conflict.received_at),
                conflict.fingerprint,
                conflict.body.clone(),
                conflict.body_bytes,
            )
        });
        records.collect()
    }
}

/// The latest failed attempts, in order.
#[derive(Default)]
pub(crate) struct Failures(VecDeque<Failure>);

struct Failure {
    attempt: Attempt,
    ended_at: Duration,
    reason: FailureReason,
}

impl Failures {
    fn bytes(&self) -> usize {
        let kept = self.0.iter();
        let details = |it: &Failure| it.reason.details().map_or(0, Bytes::len);
        kept.map(|it| RECORD_BYTES + it.reason.as_str().len() + details(it))
            .sum()
    }

    /// Deletes the details; the reasons stay.
    fn delete_details(&mut self) {
        for failure in &mut self.0 {
            if failure.reason.details().is_some() {
                failure.reason = Reason::new(failure.reason.as_str()).into();
            }
        }
    }

    /// The records, the latest first.
    pub(crate) fn records(&self, clock: &Clock) -> Vec<FailedAttempt> {
        let records = self.0.iter().rev().map(|failure| {
            FailedAttempt::new(
                failure.attempt,
                clock.system_time(failure.ended_at),
                failure.reason.clone(),
            )
        });
        records.collect()
    }
}
