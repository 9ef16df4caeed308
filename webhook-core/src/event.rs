//! The event and what names it: kind, key, fingerprint, envelope and record.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::headers::Headers;
use crate::scheduler::FailureReason;

/// The longest kind, in bytes.
pub const MAX_KIND_BYTES: usize = 64;

/// The longest key, in bytes: 128 characters of four bytes each.
pub const MAX_KEY_BYTES: usize = 512;

/// Which sort of payload an event carries, and the scope of its key.
///
/// 1 to [`MAX_KIND_BYTES`] bytes out of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// Checks `kind` and takes it as a kind.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when it is empty, too long, or has another character than those allowed.
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

    /// Takes `kind` as a kind; in a `const` it is checked when the program is compiled.
    ///
    /// # Panics
    ///
    /// When it is not a valid kind.
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

    /// The kind as text.
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

/// The idempotency key: one event per (kind, key).
///
/// 1 to [`MAX_KEY_BYTES`] bytes of UTF-8, none of its characters a control character (so no NUL,
/// which PostgreSQL's text cannot hold). Compared byte for byte; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks `key` and takes it as a key.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when it is empty, too long, or has a control character.
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let key = key.into();
        if key.is_empty() {
            Err(InvalidName::Empty)
        } else if key.len() > MAX_KEY_BYTES {
            Err(InvalidName::TooLong {
                bytes: key.len(),
                limit: MAX_KEY_BYTES,
            })
        } else if let Some(character) = key.chars().find(|c| c.is_control()) {
            Err(InvalidName::Character { character })
        } else {
            Ok(Self(key))
        }
    }

    /// The key as text.
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

/// Why a text cannot be a kind or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// It has no characters.
    #[error("must not be empty")]
    Empty,
    /// It is longer than its limit.
    #[error("has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It has a character that is not allowed in it.
    #[error("must not contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// Digest of the content that decides between a duplicate and a conflict: SHA-256 (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest of `fields`, in their order, each with its length, so that no two lists of
    /// fields run together.
    pub fn of<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>) -> Self {
        let mut digest = Sha256::new();
        for field in fields {
            let field = field.as_ref();
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field);
        }
        Self(digest.finalize().into())
    }

    /// A digest read back from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a backend sees of an event: names, a digest and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// Which sort of payload.
    pub kind: Kind,
    /// The idempotency key within the kind.
    pub key: Key,
    /// Digest of the content compared.
    pub fingerprint: Fingerprint,
    /// The headers kept with it. They are not compared.
    pub headers: Headers,
    /// The body as it was delivered, byte for byte.
    pub body: Bytes,
}

impl Envelope {
    /// An envelope without headers.
    pub const fn new(kind: Kind, key: Key, fingerprint: Fingerprint, body: Bytes) -> Self {
        Self {
            kind,
            key,
            fingerprint,
            headers: Headers::new(),
            body,
        }
    }

    /// The same with these headers instead.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// How many bytes its sender chose the number of: its headers and its body.
    pub(crate) fn content_len(&self) -> usize {
        self.headers.as_encoded().len() + self.body.len()
    }
}

/// Names an event for callers: its kind and its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRef {
    /// Which sort of payload.
    pub kind: Kind,
    /// The idempotency key within the kind.
    pub key: Key,
}

/// Names an event for its backend, which assigns it; never reused, greater for events accepted
/// later (to within concurrent batches).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(i64);

impl EventId {
    /// The name that a backend gave an event, or read back from where it keeps it.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The name as its backend gave it.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Accepted and not yet ended: waiting, due, or under a lease.
    Processing,
    /// Ended well. Never moves again.
    Processed,
    /// Ended badly. Moves only by a requeue.
    Failed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Processing, Self::Processed, Self::Failed];

    /// The state as the wire contract spells it: `PROCESSING`, `PROCESSED` or `FAILED`.
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

/// All that a store knows of one event. Times are the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// The backend's name for it.
    pub id: EventId,
    /// The envelope as first accepted; without headers and body where `body_deleted`.
    pub envelope: Envelope,
    /// Whether its headers and its body are deleted, its key and fingerprint kept.
    pub body_deleted: bool,
    /// Where it stands.
    pub state: State,
    /// Attempts begun since it was accepted or last requeued. A released attempt does not count.
    pub attempts: u32,
    /// When it was made durable.
    pub accepted_at: SystemTime,
    /// When it falls due, or fell due; `None` once it is settled.
    pub due_at: Option<SystemTime>,
    /// When the lease ends under which a worker holds it; `None` where nobody holds it. A lease
    /// that ran out holds nothing.
    pub leased_until: Option<SystemTime>,
    /// When it was settled as processed or failed; `None` while it is processing.
    pub settled_at: Option<SystemTime>,
    /// Why it failed, or why its last attempt is to be retried; `None` once it is processed or
    /// requeued.
    pub reason: Option<FailureReason>,
    /// How many deliveries came with this key and other content.
    pub conflict_count: u64,
    /// When the last of them came.
    pub last_conflict_at: Option<SystemTime>,
}

impl EventRecord {
    /// The record of an event of which no attempt has begun, and that no delivery conflicts with. It has no
    /// due time; a backend sets that, and whatever else it knows.
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

    /// The record without its body, as [`Admin::list`](crate::Admin::list) gives it.
    pub fn summary(&self) -> EventSummary {
        EventSummary {
            id: self.id,
            event: EventRef {
                kind: self.envelope.kind.clone(),
                key: self.envelope.key.clone(),
            },
            fingerprint: self.envelope.fingerprint,
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

/// An [`EventRecord`] without its body: small, whatever the sender sent, so that a page of many
/// events fits into memory. Each field has the meaning of the record's field of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventSummary {
    /// The backend's name for it.
    pub id: EventId,
    /// Its kind and its key.
    pub event: EventRef,
    /// Digest of the content compared.
    pub fingerprint: Fingerprint,
    /// The headers kept with it.
    pub headers: Headers,
    /// Whether its headers and its body are deleted, its key and fingerprint kept.
    pub body_deleted: bool,
    /// Where it stands.
    pub state: State,
    /// Attempts begun since it was accepted or last requeued.
    pub attempts: u32,
    /// When it was made durable.
    pub accepted_at: SystemTime,
    /// When it falls due, or fell due; `None` once it is settled.
    pub due_at: Option<SystemTime>,
    /// When the lease ends under which a worker holds it; `None` where nobody holds it.
    pub leased_until: Option<SystemTime>,
    /// When it was settled as processed or failed; `None` while it is processing.
    pub settled_at: Option<SystemTime>,
    /// Why it failed, or why its last attempt is to be retried.
    pub reason: Option<FailureReason>,
    /// How many deliveries came with this key and other content.
    pub conflict_count: u64,
    /// When the last of them came.
    pub last_conflict_at: Option<SystemTime>,
}

impl EventSummary {
    /// The summary of an event of which no attempt has begun, without headers, as
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

    /// The record that this is the summary of, with its body.
    pub fn with_body(self, body: Bytes) -> EventRecord {
        let EventRef { kind, key } = self.event;
        EventRecord {
            id: self.id,
            envelope: Envelope::new(kind, key, self.fingerprint, body).with_headers(self.headers),
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
    fn fields_of_a_fingerprint_do_not_run_together() {
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
        assert_ne!(Fingerprint::of(["ab"]), Fingerprint::of(["ab", ""]));
        assert_eq!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["ab", "c"]));
    }

    #[test]
    fn fingerprints_come_back_from_their_bytes() {
        let fingerprint = Fingerprint::of(["ab", "c"]);
        let digest = "601d5476e2ccfe2c87a2bba7a322659734a05749d5b5aa781f513e4912db0d5f";
        assert_eq!(format!("{fingerprint:?}"), digest);
        let bytes = *fingerprint.as_bytes();
        assert_eq!(bytes[..3], [0x60, 0x1d, 0x54]);
        assert_eq!(Fingerprint::from_bytes(bytes), fingerprint);
    }

    #[test]
    fn names_and_states_are_shown_as_they_are() {
        let (kind, key) = (Kind::new("order").unwrap(), Key::new("o-1").unwrap());
        assert_eq!(format!("{kind} {kind:?}"), "order \"order\"");
        assert_eq!(format!("{key} {key:?}"), "o-1 \"o-1\"");
        assert_eq!((kind.as_str(), key.as_str()), ("order", "o-1"));
        let states = State::ALL.map(|state| state.to_string());
        assert_eq!(states, ["PROCESSING", "PROCESSED", "FAILED"]);
    }
}
