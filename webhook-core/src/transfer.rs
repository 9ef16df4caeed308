//! [`Transfer`]: copies whole events between backends, with their states and attempts.
//!
//! An inbox is moved in batches: [`Transfer::export`] of the one backend, [`Transfer::import`] of the other one,
//! until an export returns nothing. [`Export`] reads the batches, also those of an inbox with partitions.
//! `webhook-server move` does this, and compares the [`Contents`] of both afterwards.

mod export;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::admin::{ConflictRecord, FailedAttempt};
use crate::error::StoreError;
use crate::event::{EventId, EventRecord, EventRef, Fingerprint, Kind, State};
use crate::scheduler::Fence;
use crate::setters::setters;

pub use export::Export;

/// The size of the bodies and of the details of failed attempts, in bytes, that an [`Export`] reads ahead and returns at a
/// time. All partitions of an inbox share it, and one event of each may exceed it.
pub const MAX_EXPORT_BYTES: usize = 8 << 20;

/// Reads and writes whole events, with everything that a backend keeps about them.
///
/// In a [partitioned](crate::Partitioned) backend, the events of each partition are committed together and keep their
/// order. Those of different partitions are committed by themselves, and their ids are in no order: read them with
/// [`Export`], and not with [`export`](Self::export).
///
/// Paused kinds are not events: read and write them with [`Admin::paused`](crate::Admin::paused) and
/// [`Admin::pause`](crate::Admin::pause). Nodes and audit records stay where they are.
#[async_trait]
pub trait Transfer: Send + Sync + 'static {
    /// Returns the events with ids greater than `after`, in order of their ids: at most `limit`, and none behind the one
    /// with which their bodies and the details of their failed attempts exceed `max_bytes`. So it returns one event at
    /// least, however large that is. Nothing is returned only if there are no more events.
    ///
    /// The events of one call need not be from one snapshot: nothing else may change the events meanwhile.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    async fn export(
        &self,
        after: Option<EventId>,
        limit: NonZeroUsize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Stores `events` as they are, and returns how many of them are new.
    ///
    /// # Guarantees
    ///
    /// - All events of the call are committed together, as durably as accepted events.
    /// - They get ids of this backend, in the order of `events`; the ids in their records are ignored.
    /// - An event whose kind and key exist already is skipped, so that the call may be repeated.
    /// - A [`Fence`] continues where it was: claims of the event get greater ones.
    ///
    /// No kind and key may occur twice in `events`. Workers find the events at their next claim; they need
    /// not be woken.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. Either all or none of the events are stored; which is unknown.
    /// [`StoreError::Refused`] or [`StoreError::Full`]: none are stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, either all or none of the events are stored; which is unknown.
    async fn import(&self, events: &[StoredEvent]) -> Result<usize, StoreError>;

    /// Returns the event with the greatest id; `None` if there are no events. A move that was interrupted
    /// continues after it. A partitioned backend returns an event so that all events that were imported before it
    /// are stored, or `None` if it knows of none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    async fn newest(&self) -> Result<Option<EventRef>, StoreError>;

    /// Returns the mark that [`set_mark`](Self::set_mark) has left.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    async fn mark(&self) -> Result<Option<MoveMark>, StoreError>;

    /// Records durably which part the inbox has in a move, or removes that record. The mark does not change
    /// how the backend works: a program that serves the inbox reads it when it starts.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]. Whether the mark was set is unknown.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it is unknown whether the mark was set.
    async fn set_mark(&self, mark: Option<&MoveMark>) -> Result<(), StoreError>;

    /// The partitions of a [partitioned](crate::Partitioned) backend in their order, each as a backend of its own;
    /// empty if the backend is not partitioned, which is the default.
    fn partitions(&self) -> Vec<Arc<dyn Transfer>> {
        Vec::new()
    }
}

/// The part that an inbox has in a move from one backend to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveMark {
    /// The events of another inbox are being copied into this one. It is not complete yet.
    Filling {
        /// The other inbox, without passwords.
        from: String,
    },
    /// The events are in another inbox now. This one must not be used any more.
    Moved {
        /// The other inbox, without passwords.
        to: String,
    },
}

impl MoveMark {
    /// What a backend stores: the name of the variant, and the other inbox.
    pub fn as_stored(&self) -> (&'static str, &str) {
        match self {
            Self::Filling { from } => ("FILLING", from),
            Self::Moved { to } => ("MOVED", to),
        }
    }

    /// Restores a mark from its [stored form](Self::as_stored); `None` for a variant that is not known.
    pub fn from_stored(variant: &str, other: String) -> Option<Self> {
        match variant {
            "FILLING" => Some(Self::Filling { from: other }),
            "MOVED" => Some(Self::Moved { to: other }),
            _ => None,
        }
    }
}

/// An event with everything that a backend keeps about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// The record. Unlike in records that are read otherwise, `leased_until` is also set if the lease has
    /// expired and its event was not claimed since: the next claim counts the attempt as lost. Times are whole
    /// microseconds.
    pub record: EventRecord,
    /// The fencing token of the latest lease; 0 if there was none.
    pub fence: Fence,
    /// The guard of the event. The one in the envelope of the record is ignored.
    pub guard: Option<Fingerprint>,
    /// The conflicts whose bodies are kept, in ascending order of their numbers. The first conflict of an event
    /// has the number 1, and the last one has its `conflict_count`.
    pub conflicts: Vec<(u64, ConflictRecord)>,
    /// The failed attempts that are kept, in ascending order of the fencing tokens that their leases had.
    pub failed_attempts: Vec<(Fence, FailedAttempt)>,
}

impl StoredEvent {
    /// An event that was never leased, without conflicts.
    pub const fn new(record: EventRecord) -> Self {
        Self {
            record,
            fence: Fence::new(0),
            guard: None,
            conflicts: Vec::new(),
            failed_attempts: Vec::new(),
        }
    }

    setters! {
        with_fence fence: Fence;
        with_guard guard: Option<Fingerprint>;
        with_conflicts conflicts: Vec<(u64, ConflictRecord)>;
        with_failed_attempts failed_attempts: Vec<(Fence, FailedAttempt)>;
    }

    /// The kind and the key.
    pub fn event(&self) -> EventRef {
        EventRef {
            kind: self.record.envelope.kind.clone(),
            key: self.record.envelope.key.clone(),
        }
    }

    /// The bytes that an export counts: the body, and the details of failed attempts.
    pub(crate) fn content_bytes(&self) -> usize {
        let details = self.failed_attempts.iter();
        let details = details.filter_map(|(_, failed)| failed.reason.details());
        let details: usize = details.map(|details| details.len()).sum();
        self.record.envelope.body.len() + details
    }

    /// How many of `events` an export returns: those up to the one with which their contents exceed `max_bytes`.
    pub(crate) fn count_within(events: &[Self], max_bytes: usize) -> usize {
        let mut bytes = 0;
        let within = events.iter().take_while(|event| {
            let is_within = bytes <= max_bytes;
            bytes += event.content_bytes();
            is_within
        });
        within.count()
    }

    /// The SHA-256 digest of everything except the id.
    pub fn digest(&self) -> Fingerprint {
        let EventRecord { envelope, .. } = &self.record;
        let record = &self.record;
        let mut fields: Vec<Cow<'_, [u8]>> = vec![
            envelope.kind.as_str().as_bytes().into(),
            envelope.key.as_str().as_bytes().into(),
            envelope.fingerprint.as_bytes().as_slice().into(),
            envelope.headers.as_encoded().as_ref().into(),
            envelope.body.as_ref().into(),
            vec![u8::from(record.body_deleted)].into(),
            record.state.as_str().as_bytes().into(),
            number(u64::from(record.attempts)),
            number(self.fence.get().cast_unsigned()),
            time(record.accepted_at),
            optional(record.due_at.map(time)),
            optional(record.leased_until.map(time)),
            optional(record.settled_at.map(time)),
            optional(
                record
                    .reason
                    .as_ref()
                    .map(|it| it.as_str().as_bytes().into()),
            ),
            number(record.conflict_count),
            optional(record.last_conflict_at.map(time)),
            optional(
                envelope
                    .event_type
                    .as_ref()
                    .map(|it| it.as_str().as_bytes().into()),
            ),
            optional(
                self.guard
                    .as_ref()
                    .map(|it| it.as_bytes().as_slice().into()),
            ),
            number(self.conflicts.len() as u64),
        ];
        for (at, conflict) in &self.conflicts {
            fields.extend([
                number(*at),
                time(conflict.received_at),
                conflict.fingerprint.as_bytes().as_slice().into(),
                conflict.body.as_ref().into(),
                number(conflict.body_bytes),
            ]);
        }
        for (fence, failed) in &self.failed_attempts {
            fields.extend([
                number(fence.get().cast_unsigned()),
                number(u64::from(failed.attempt.number())),
                time(failed.ended_at),
                failed.reason.as_str().as_bytes().into(),
                optional(failed.reason.details().map(|it| it.as_ref().into())),
            ]);
        }
        Fingerprint::of(fields)
    }
}

fn number<'f>(number: u64) -> Cow<'f, [u8]> {
    number.to_be_bytes().to_vec().into()
}

/// Microseconds since 1970.
fn time<'f>(time: SystemTime) -> Cow<'f, [u8]> {
    let us = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_micros()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_micros()).unwrap_or(i128::MAX),
    };
    us.to_be_bytes().to_vec().into()
}

/// A missing field differs from an empty one.
fn optional(field: Option<Cow<'_, [u8]>>) -> Cow<'_, [u8]> {
    field.map_or(Cow::Borrowed(&[]), |field| [b"+", &*field].concat().into())
}

/// What an inbox contains: how many events of each kind and state there are, and a digest of all of them. Two
/// inboxes with equal contents have the same events; their ids and their order do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    counts: BTreeMap<(Kind, &'static str), u64>,
    /// The sum of the digests of all events, a number of 256 bits, the lowest byte first.
    sum: [u8; 32],
}

impl Contents {
    /// Adds an event.
    pub fn add(&mut self, event: &StoredEvent) {
        let record = &event.record;
        let name = (record.envelope.kind.clone(), record.state.as_str());
        *self.counts.entry(name).or_default() += 1;
        let digest = event.digest();
        let mut carry = 0;
        for (byte, other) in self.sum.iter_mut().zip(digest.as_bytes()) {
            let sum = u16::from(*byte) + u16::from(*other) + carry;
            let [high, low] = sum.to_be_bytes();
            *byte = low;
            carry = u16::from(high);
        }
    }

    /// The number of events.
    pub fn events(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The number of events of `kind` in `state`.
    pub fn count(&self, kind: &Kind, state: State) -> u64 {
        let count = self.counts.get(&(kind.clone(), state.as_str()));
        count.copied().unwrap_or(0)
    }

    /// The kinds of the events, in ascending order.
    pub fn kinds(&self) -> Vec<&Kind> {
        let mut kinds: Vec<_> = self.counts.keys().map(|(kind, _)| kind).collect();
        kinds.dedup();
        kinds
    }

    /// The digest of all events.
    pub fn digest(&self) -> impl fmt::Display + use<> {
        Hex(self.sum)
    }
}

struct Hex([u8; 32]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scheduler::{Attempt, FailureReason, Reason};
    use crate::{Envelope, EventType, Headers, Key};

    fn at(us: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(us)
    }

    fn detailed(reason: &'static str, details: &'static str) -> FailureReason {
        Reason::new(reason).with_details(details.into()).into()
    }

    fn event(key: &str) -> StoredEvent {
        let fingerprint = Fingerprint::of(["content"]);
        let envelope = Envelope::new(
            Kind::from_static("order"),
            Key::new(key).unwrap(),
            fingerprint,
            "body".into(),
        );
        let mut record = EventRecord::new(EventId::new(1), envelope, State::Failed, at(1));
        record.settled_at = Some(at(3));
        record.reason = Some(FailureReason::from(Reason::new("broken")));
        StoredEvent::new(record)
            .with_fence(Fence::new(2))
            .with_conflicts(vec![(
                1,
                ConflictRecord::new(at(2), fingerprint, "other".into(), 5),
            )])
            .with_failed_attempts(vec![(
                Fence::new(1),
                FailedAttempt::new(Attempt::FIRST, at(2), FailureReason::Lost),
            )])
    }

    #[test]
    fn the_digest_covers_everything_except_the_id() {
        let changes: [fn(&mut StoredEvent); 25] = [
            |it| it.record.envelope.kind = Kind::from_static("orders"),
            |it| it.record.envelope.key = Key::new("b").unwrap(),
            |it| it.record.envelope.fingerprint = Fingerprint::of([""]),
            |it| it.record.envelope.headers = Headers::try_from_iter([("a", "b")]).unwrap(),
            |it| it.record.envelope.body = "".into(),
            |it| it.record.envelope.event_type = EventType::new("a").ok(),
            |it| it.record.body_deleted = true,
            |it| it.record.state = State::Processed,
            |it| it.record.attempts = 1,
            |it| it.record.accepted_at = at(0),
            |it| it.record.due_at = Some(at(0)),
            |it| it.record.leased_until = Some(at(0)),
            |it| it.record.settled_at = None,
            |it| it.record.reason = None,
            |it| it.record.conflict_count = 1,
            |it| it.record.last_conflict_at = Some(at(0)),
            |it| it.fence = Fence::new(3),
            |it| it.guard = Some(Fingerprint::of([""])),
            |it| it.conflicts.clear(),
            |it| it.conflicts[0].0 = 2,
            |it| it.failed_attempts.clear(),
            |it| it.failed_attempts[0].1.ended_at = at(3),
            |it| it.failed_attempts[0].1.reason = Reason::new("broken").into(),
            |it| it.failed_attempts[0].1.reason = detailed("broken", ""),
            |it| it.failed_attempts[0].1.reason = detailed("broken", "+"),
        ];
        let mut digests = vec![event("a").digest()];
        for change in changes {
            let mut event = event("a");
            change(&mut event);
            digests.push(event.digest());
        }
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "change {place}");
        }
        let mut other_id = event("a");
        other_id.record.id = EventId::new(2);
        assert_eq!(other_id.digest(), event("a").digest());
    }

    #[test]
    fn contents_do_not_depend_on_the_order() {
        let contents = |keys: &[&str]| {
            let mut contents = Contents::default();
            keys.iter().for_each(|key| contents.add(&event(key)));
            contents
        };
        let three = contents(&["a", "b", "c"]);
        assert_eq!(three, contents(&["c", "a", "b"]));
        assert_ne!(three, contents(&["a", "b"]));
        assert_ne!(three, contents(&["a", "b", "d"]));
        assert_eq!(three.events(), 3);
        let kind = Kind::from_static("order");
        assert_eq!(three.count(&kind, State::Failed), 3);
        assert_eq!(three.count(&kind, State::Processed), 0);
        assert_eq!(three.kinds(), [&kind]);
        assert_eq!(three.digest().to_string().len(), 64);
    }

    #[test]
    fn marks_are_restored() {
        let other = || "sqlite:webhook.db".to_owned();
        for mark in [
            MoveMark::Filling { from: other() },
            MoveMark::Moved { to: other() },
        ] {
            let (variant, other) = mark.as_stored();
            assert_eq!(MoveMark::from_stored(variant, other.to_owned()), Some(mark));
        }
        assert_eq!(MoveMark::from_stored("", other()), None);
    }
}
