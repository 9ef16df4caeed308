//! What a request turns out to be.

use std::ops::Range;

use crate::keys::KeyRequest;
use crate::spec::Place;
use crate::verification::{Unverified, Verified};

/// After how many seconds a sender should retry whose key is not there yet.
const KEY_RETRY_SECONDS: u32 = 5;

/// What a request to a [`Source`](crate::Source) turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A delivery of the sender.
    Received(Received),
    /// A request that the sender makes to check the address: answer it, and store nothing.
    Handshake(Answer),
    /// A request that does not show that the sender made it, or that is no delivery.
    Refused(Refusal),
}

/// A verified delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The events, in their order. Store all of them in one transaction, or none.
    pub events: Vec<ReceivedEvent>,
    /// The answer, once they are stored.
    pub answer: Answer,
    /// Which secret verified the delivery.
    pub verified: Verified,
}

/// An event of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedEvent {
    /// The id: 1 to [`MAX_ID_BYTES`](crate::MAX_ID_BYTES) bytes without control characters.
    pub id: String,
    /// The name of the event's type, if the request has one: as the id.
    pub event_type: Option<String>,
    /// The bytes of the request's body that are the event.
    pub body: Range<usize>,
    /// The SHA-256 of the content that is compared. An event with the same id and another digest is a conflict.
    pub content: [u8; 32],
    /// The SHA-256 of the body, if an event with the same one and another id is a duplicate.
    pub guard: Option<[u8; 32]>,
    /// The URL that the operator has to visit before the sender delivers events, of a
    /// [confirmation](crate::spec::Handshake::Confirm). It begins with `https://`; nothing else is known about it, so
    /// visit it only after a look at its host.
    pub confirm_url: Option<String>,
    /// What is wrong with the event. It is to be stored nevertheless: a sender would repeat the same bytes.
    pub flaw: Option<Flaw>,
}

/// What is wrong with an event that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// It has no id where the source has one. Its id is the SHA-256 of its content.
    #[error("no id where the source has one; its id is the SHA-256 of its content")]
    NoId,
    /// Its id was too long, was not UTF-8, or had control characters. Its id is the SHA-256 of that.
    #[error(
        "an id that is too long, is not UTF-8 or has control characters; its id is the SHA-256 of that"
    )]
    UnusableId,
    /// Its body is not the JSON that the source's rules need. Where its id should be in there, its id is the SHA-256
    /// of its content.
    #[error("a body that is not the JSON that the source's rules need")]
    NotJson,
    /// The request, or a part of it, has no events where the source has them, or more than
    /// [`MAX_EVENTS`](crate::MAX_EVENTS). The part or the whole body is one event.
    #[error(
        "no array of events where the source has one, or one that is too long; the whole is one event"
    )]
    NotSplit,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Why. This is for the operator; tell nothing of it to whoever made the request.
    pub reason: RefusalReason,
    /// The answer.
    pub answer: Answer,
}

impl Refusal {
    /// The key that may have been missing. If it can be fetched, fetch it anew and receive the request once more; if
    /// that takes too long for the sender, or fails, answer 503, since a refusal would lose the event.
    pub const fn missing_key(&self) -> Option<&KeyRequest> {
        match &self.reason {
            RefusalReason::Unverified(
                Unverified::KeyNotFetched { request } | Unverified::UnknownKey { request },
            ) => Some(request),
            _ => None,
        }
    }

    /// The same refusal, answered 503: senders that retry at all do so then.
    #[must_use]
    pub fn postponed(self) -> Self {
        Self {
            reason: self.reason,
            answer: Answer {
                status: 503,
                headers: vec![("retry-after", KEY_RETRY_SECONDS.to_string())],
                body: Vec::new(),
            },
        }
    }
}

/// The reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// It does not show that the sender made it.
    #[error(transparent)]
    Unverified(#[from] Unverified),
    /// Neither a delivery nor a handshake of the source has its method and its form.
    #[error("no delivery or handshake of the source has this method and form")]
    Method,
    /// What is signed of a delivery is a text that a handshake of the source signs for everybody.
    #[error("only a text is signed that a handshake of the source signs for everybody")]
    Challenge,
    /// The verify token of a handshake is missing or wrong.
    #[error("the verify token of the handshake is missing or wrong")]
    VerifyToken,
    /// The value of a handshake is missing, is repeated, is not printable, or has more than
    /// [`MAX_HANDSHAKE_VALUE_BYTES`](crate::MAX_HANDSHAKE_VALUE_BYTES).
    #[error("{0} of the handshake is missing, repeated, too long or not printable")]
    HandshakeValue(Place),
    /// A sender of CloudEvents asks for an origin that is not allowed.
    #[error("the origin is not one of the allowed origins")]
    Origin,
}
