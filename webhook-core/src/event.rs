//! The parts of an event: kind, key, fingerprint, envelope and record.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::headers::Headers;
use crate::scheduler::FailureReason;
use crate::setters::setters;

/// The largest length of a kind, in bytes.
pub const MAX_KIND_BYTES: usize = 64;

/// The largest length of a key, in bytes: 128 characters of four bytes each.
pub const MAX_KEY_BYTES: usize = 512;

/// The largest length of an event type, in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 512;

/// The kind of an event: which sort of payload it has. Keys are unique within a kind.
///
/// A kind has 1 to [`MAX_KIND_BYTES`] bytes out of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// Creates a kind from a text, and checks it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if the text is empty, too long, or has a character that is not allowed.
    pub fn new(kind: impl Into<Cow<'static, str>>) -> Result<Self, InvalidName> {
        let kind = kind.into();
        if kind.is_empty() {
            Err(InvalidName::Empty)
        } else if kind.len() > MAX_KIND_BYTES {
            Err(InvalidName::TooLong {
                bytes: kind.len(),
                limit: MAX_KIND_BYTES,
            })
        } else if let Some(character) = kind
            .chars()
            .find(|c| !c.is_ascii() || !Self::allows(*c as u8))
        {
            Err(InvalidName::Character { character })
        } else {
            Ok(Self(kind))
        }
    }

    /// Creates a kind from a text. In a `const` the text is checked at compile time.
    ///
    /// # Panics
    ///
    /// Panics if the text is not a valid kind.
    pub const fn from_static(kind: &'static str) -> Self {
        let bytes = kind.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= MAX_KIND_BYTES,
            "a kind must have 1 to 64 bytes"
        );
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                Self::allows(bytes[at]),
                "a kind must consist of a-z, 0-9, '.', '_' and '-'"
            );
            at += 1;
        }
        Self(Cow::Borrowed(kind))
    }

    const fn allows(byte: u8) -> bool {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    }

    /// Returns the kind as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The idempotency key of an event: there is one event per (kind, key).
///
/// A key has 1 to [`MAX_KEY_BYTES`] bytes of UTF-8 without control characters (and so without NUL, which
/// PostgreSQL cannot store in a text). Keys are compared byte for byte, and are cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Creates a key from a text, and checks it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if the text is empty, too long, or has a control character.
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let key = key.into();
        check_text(&key, MAX_KEY_BYTES)?;
        Ok(Self(key))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What an event reports, as its sender names it: `payment.captured`, for example. It is stored so that lists can
/// select by it ([`Page::event_type`](field@crate::Page::event_type)), and it is not compared between redeliveries.
///
/// An event type has 1 to [`MAX_EVENT_TYPE_BYTES`] bytes of UTF-8 without control characters. Event types are
/// compared byte for byte, and are cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Creates an event type from a text, and checks it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if the text is empty, too long, or has a control character.
    pub fn new(event_type: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let event_type = event_type.into();
        check_text(&event_type, MAX_EVENT_TYPE_BYTES)?;
        Ok(Self(event_type))
    }

    /// Returns the event type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Checks that `text` has 1 to `limit` bytes and no control character.
pub(crate) fn check_text(text: &str, limit: usize) -> Result<(), InvalidName> {
    let bytes = text.len();
    if bytes == 0 {
        Err(InvalidName::Empty)
    } else if bytes > limit {
        Err(InvalidName::TooLong { bytes, limit })
    } else if let Some(character) = text.chars().find(|c| c.is_control()) {
        Err(InvalidName::Character { character })
    } else {
        Ok(())
    }
}

/// The reason why a text is not a valid kind, key or event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is too long.
    #[error("has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text has a character that is not allowed.
    #[error("must not contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// The SHA-256 digest (FIPS 180-4) of the content that is compared: a delivery with the same key is a duplicate
/// if the digests are equal, and a conflict if they differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the digest of `fields` in their order. The length of each field is part of the digest, so that
    /// `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>) -> Self {
        let mut digest = Sha256::new();
        for field in fields {
            let field = field.as_ref();
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field);
        }
        Self(digest.finalize().into())
    }

    /// Creates a fingerprint from its stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An event as a backend sees it: names, a digest and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The kind of the event.
    pub kind: Kind,
    /// The idempotency key, unique within the kind.
    pub key: Key,
    /// The digest of the content that is compared.
    pub fingerprint: Fingerprint,
    /// The event type, if it has one. It is not compared.
    pub event_type: Option<EventType>,
    /// A digest that only one stored event of the kind may have, beside its key. A delivery with a new key and the
    /// guard of a stored event is a duplicate of it, whose key is not stored.
    ///
    /// It is for senders that sign their body but not their id: a guard over the body keeps somebody who has seen a
    /// delivery from sending it again under another id. It is kept as long as the key. Records do not have it.
    pub guard: Option<Fingerprint>,
    /// The headers that are stored with it. They are not compared.
    pub headers: Headers,
    /// The body, byte for byte as it was delivered.
    pub body: Bytes,
}

impl Envelope {
    /// Creates an envelope without headers, event type and guard.
    pub const fn new(kind: Kind, key: Key, fingerprint: Fingerprint, body: Bytes) -> Self {
        Self {
            kind,
            key,
            fingerprint,
            event_type: None,
            guard: None,
            headers: Headers::new(),
            body,
        }
    }

    setters! {
        with_headers headers: Headers;
    }

    /// Sets [`event_type`](field@Self::event_type).
    #[must_use]
    pub fn with_event_type(self, event_type: impl Into<Option<EventType>>) -> Self {
        Self {
            event_type: event_type.into(),
            ..self
        }
    }

    /// Sets [`guard`](field@Self::guard).
    #[must_use]
    pub fn with_guard(self, guard: impl Into<Option<Fingerprint>>) -> Self {
        Self {
            guard: guard.into(),
            ..self
        }
    }

    /// The number of bytes that depends on the sender: event type, headers and body.
    pub(crate) fn content_len(&self) -> usize {
        let event_type = self.event_type.as_ref().map_or(0, |it| it.as_str().len());
        event_type + self.headers.as_encoded().len() + self.body.len()
    }
}

/// Identifies an event by its kind and its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRef {
    /// The kind of the event.
    pub kind: Kind,
    /// The idempotency key, unique within the kind.
    pub key: Key,
}

/// The number that a backend assigns to an event. It is never reused. Events that are accepted later have
/// greater ids, except that ids of concurrent batches may be interleaved, and that ids of different partitions of a
/// [partitioned](crate::Partitioned) store are in no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(i64);

impl EventId {
    /// Creates an id from its number, which only backends assign.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The state of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Accepted and not yet settled: waiting, due, or leased.
    Processing,
    /// Processed successfully. This state is final.
    Processed,
    /// Failed for good. Only a requeue changes this state.
    Failed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Processing, Self::Processed, Self::Failed];

    /// Returns the state as text: `PROCESSING`, `PROCESSED` or `FAILED`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::Processed => "PROCESSED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that a store knows about one event. Times are by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// The id of the event.
    pub id: EventId,
    /// The envelope of the first delivery, without its guard; without headers and body if `body_deleted`.
    pub envelope: Envelope,
    /// Whether its headers and its body were deleted; its key, fingerprint and event type remain.
    pub body_deleted: bool,
    /// The state.
    pub state: State,
    /// The number of attempts that began since it was accepted or last requeued. Released attempts do not
    /// count.
    pub attempts: u32,
    /// When it was accepted.
    pub accepted_at: SystemTime,
    /// When it falls due or fell due; `None` once it is settled.
    pub due_at: Option<SystemTime>,
    /// When its lease ends; `None` if it is not leased. An expired lease does not count.
    pub leased_until: Option<SystemTime>,
    /// When it became PROCESSED or FAILED; `None` while it is PROCESSING.
    pub settled_at: Option<SystemTime>,
    /// Why it failed, or why its last attempt is retried; `None` once it is processed or requeued.
    pub reason: Option<FailureReason>,
    /// How many deliveries had this key and other content.
    pub conflict_count: u64,
    /// When the last of those deliveries was received.
    pub last_conflict_at: Option<SystemTime>,
}

impl EventRecord {
    /// Creates the record of an event without attempts, conflicts or a due time. A backend sets the other
    /// fields.
    pub const fn new(
        id: EventId,
        envelope: Envelope,
        state: State,
        accepted_at: SystemTime,
    ) -> Self {
        Self {
            id,
            envelope,
            body_deleted: false,
            state,
            attempts: 0,
            accepted_at,
            due_at: None,
            leased_until: None,
            settled_at: None,
            reason: None,
            conflict_count: 0,
            last_conflict_at: None,
        }
    }

    /// Returns the record without its body, as [`Admin::list`](crate::Admin::list) does.
    pub fn summary(&self) -> EventSummary {
        EventSummary {
            id: self.id,
            event: EventRef {
                kind: self.envelope.kind.clone(),
                key: self.envelope.key.clone(),
            },
            fingerprint: self.envelope.fingerprint,
            event_type: self.envelope.event_type.clone(),
            headers: self.envelope.headers.clone(),
            body_deleted: self.body_deleted,
            state: self.state,
            attempts: self.attempts,
            accepted_at: self.accepted_at,
            due_at: self.due_at,
            leased_until: self.leased_until,
            settled_at: self.settled_at,
            reason: self.reason.clone(),
            conflict_count: self.conflict_count,
            last_conflict_at: self.last_conflict_at,
        }
    }
}

/// An [`EventRecord`] without its body: small whatever the sender sent, so that a page of many events fits into
/// memory. The fields have the same meaning as those of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventSummary {
    /// The id of the event.
    pub id: EventId,
    /// The kind and the key.
    pub event: EventRef,
    /// The digest of the content that is compared.
    pub fingerprint: Fingerprint,
    /// The event type, if it has one.
    pub event_type: Option<EventType>,
    /// The headers that are stored with it.
    pub headers: Headers,
    /// Whether its headers and its body were deleted; its key, fingerprint and event type remain.
    pub body_deleted: bool,
    /// The state.
    pub state: State,
    /// The number of attempts that began since it was accepted or last requeued.
    pub attempts: u32,
    /// When it was accepted.
    pub accepted_at: SystemTime,
    /// When it falls due or fell due; `None` once it is settled.
    pub due_at: Option<SystemTime>,
    /// When its lease ends; `None` if it is not leased.
    pub leased_until: Option<SystemTime>,
    /// When it became PROCESSED or FAILED; `None` while it is PROCESSING.
    pub settled_at: Option<SystemTime>,
    /// Why it failed, or why its last attempt is retried.
    pub reason: Option<FailureReason>,
    /// How many deliveries had this key and other content.
    pub conflict_count: u64,
    /// When the last of those deliveries was received.
    pub last_conflict_at: Option<SystemTime>,
}

impl EventSummary {
    /// Creates the summary of an event without attempts, conflicts, headers or event type, like
    /// [`EventRecord::new`].
    pub const fn new(
        id: EventId,
        event: EventRef,
        fingerprint: Fingerprint,
        state: State,
        accepted_at: SystemTime,
    ) -> Self {
        Self {
            id,
            event,
            fingerprint,
            event_type: None,
            headers: Headers::new(),
            body_deleted: false,
            state,
            attempts: 0,
            accepted_at,
            due_at: None,
            leased_until: None,
            settled_at: None,
            reason: None,
            conflict_count: 0,
            last_conflict_at: None,
        }
    }

    /// Returns the record with this summary and `body`.
    pub fn with_body(self, body: Bytes) -> EventRecord {
        let EventRef { kind, key } = self.event;
        EventRecord {
            id: self.id,
            envelope: Envelope::new(kind, key, self.fingerprint, body)
                .with_headers(self.headers)
                .with_event_type(self.event_type),
            body_deleted: self.body_deleted,
            state: self.state,
            attempts: self.attempts,
            accepted_at: self.accepted_at,
            due_at: self.due_at,
            leased_until: self.leased_until,
            settled_at: self.settled_at,
            reason: self.reason,
            conflict_count: self.conflict_count,
            last_conflict_at: self.last_conflict_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_checked() {
        assert_eq!(Kind::new(""), Err(InvalidName::Empty));
        assert!(Kind::new("a".repeat(64)).is_ok());
        assert!(matches!(
            Kind::new("a".repeat(65)),
            Err(InvalidName::TooLong {
                bytes: 65,
                limit: 64
            })
        ));
        assert_eq!(
            Kind::new("Order"),
            Err(InvalidName::Character { character: 'O' })
        );
        assert!(Kind::new("orders.v2_x-y").is_ok());
    }

    #[test]
    fn keys_are_checked() {
        assert_eq!(Key::new(""), Err(InvalidName::Empty));
        assert!(Key::new("é".repeat(256)).is_ok());
        assert!(matches!(
            Key::new("é".repeat(257)),
            Err(InvalidName::TooLong { .. })
        ));
        for control in ['\0', '\n', '\u{7f}', '\u{85}'] {
            assert_eq!(
                Key::new(format!("a{control}")),
                Err(InvalidName::Character { character: control })
            );
        }
        assert!(Key::new("a b\u{1f4a9}").is_ok());
    }

    #[test]
    fn event_types_are_checked() {
        assert_eq!(EventType::new(""), Err(InvalidName::Empty));
        assert!(EventType::new("é".repeat(256)).is_ok());
        assert!(matches!(
            EventType::new("a".repeat(513)),
            Err(InvalidName::TooLong {
                bytes: 513,
                limit: 512
            })
        ));
        assert_eq!(
            EventType::new("a\0"),
            Err(InvalidName::Character { character: '\0' })
        );
        let event_type = EventType::new("Payment Captured").unwrap();
        assert_eq!(event_type.as_str(), "Payment Captured");
        assert_eq!(
            format!("{event_type} {event_type:?}"),
            "Payment Captured \"Payment Captured\""
        );
    }

    #[test]
    fn fields_of_a_fingerprint_do_not_run_together() {
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
        assert_ne!(Fingerprint::of(["ab"]), Fingerprint::of(["ab", ""]));
        assert_eq!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["ab", "c"]));
    }

    #[test]
    fn fingerprints_survive_a_round_trip_through_bytes() {
        let fingerprint = Fingerprint::of(["ab", "c"]);
        let digest = "601d5476e2ccfe2c87a2bba7a322659734a05749d5b5aa781f513e4912db0d5f";
        assert_eq!(format!("{fingerprint:?}"), digest);
        let bytes = *fingerprint.as_bytes();
        assert_eq!(bytes[..3], [0x60, 0x1d, 0x54]);
        assert_eq!(Fingerprint::from_bytes(bytes), fingerprint);
    }

    #[test]
    fn names_and_states_are_displayed_as_text() {
        let (kind, key) = (Kind::new("order").unwrap(), Key::new("o-1").unwrap());
        assert_eq!(format!("{kind} {kind:?}"), "order \"order\"");
        assert_eq!(format!("{key} {key:?}"), "o-1 \"o-1\"");
        assert_eq!((kind.as_str(), key.as_str()), ("order", "o-1"));
        let states = State::ALL.map(|state| state.to_string());
        assert_eq!(states, ["PROCESSING", "PROCESSED", "FAILED"]);
    }
}
