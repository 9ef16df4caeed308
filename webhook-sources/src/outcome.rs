//! What a request turns out to be.

use std::ops::Range;

use crate::verification::{Unverified, Verified};

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
    /// Its id was too long or had control characters. Its id is the SHA-256 of that.
    #[error("an id that is too long or has control characters; its id is the SHA-256 of that")]
    UnusableId,
    /// Its body is not the JSON that the source's rules need.
    #[error("a body that is not JSON")]
    NotJson,
    /// The request has no events where the source has them. The whole body is one event.
    #[error("no array of events where the source has one; the whole body is one event")]
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
    pub reason: Unverified,
    /// The answer.
    pub answer: Answer,
}
