//! Events, what failed about them, and what operators did to them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use webhook_core::State;

use super::Time;
use crate::data::body_of;

/// The state of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventState {
    /// Accepted, and not settled yet: waiting, due or leased.
    Processing,
    /// Processed. This state is final.
    Processed,
    /// Failed for good, until somebody requeues it.
    Failed,
}

impl From<State> for EventState {
    fn from(state: State) -> Self {
        match state {
            State::Processing => Self::Processing,
            State::Processed => Self::Processed,
            State::Failed => Self::Failed,
        }
    }
}

impl EventState {
    /// The state as documents have it: `PROCESSING`, `PROCESSED` or `FAILED`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => State::Processing.as_str(),
            Self::Processed => State::Processed.as_str(),
            Self::Failed => State::Failed.as_str(),
        }
    }
}

/// An event in a list, without its headers and its body.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventSummary {
    /// The name of the source.
    pub source: String,
    /// The idempotency key, unique within the source.
    pub key: String,
    /// The number that the store gave the event. Later events have greater ones.
    pub id: i64,
    /// The event type, if it has one.
    pub event_type: Option<String>,
    /// The state.
    pub state: EventState,
    /// When it was accepted.
    pub received_at: Time,
    /// When it falls or fell due; null once it is settled.
    pub due_at: Option<Time>,
    /// When its lease ends; null if no worker holds it.
    pub leased_until: Option<Time>,
    /// When it became PROCESSED or FAILED.
    pub settled_at: Option<Time>,
    /// How many attempts began since it was accepted or last requeued.
    pub attempts: u32,
    /// Why it failed, or why its last attempt is retried.
    pub error: Option<String>,
    /// How many deliveries had its key and other content.
    pub conflicts: u64,
    /// When the last of those deliveries was received.
    pub last_conflict_at: Option<Time>,
    /// Whether its headers and its body were deleted.
    pub body_deleted: bool,
}

/// A page of events, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events that match.
    pub events: Vec<EventSummary>,
    /// The `before` of the next page; null on the last one.
    pub next_before: Option<i64>,
    /// Whether the search ended before the page was full, because it had examined as many events, or taken as
    /// long, as one search may. The next page goes on behind the last event that was examined.
    pub stopped_early: bool,
}

/// A header that is stored with an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value, with U+FFFD for bytes that are not UTF-8; null if it is masked.
    pub value: Option<String>,
}

/// Where the acceptance of an event is in a distributed trace.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Trace {
    /// The id of the trace, in hexadecimal digits.
    pub trace_id: String,
    /// The id of the span in which the event became durable, in hexadecimal digits.
    pub span_id: String,
    /// The page that shows the trace, where it is configured.
    pub url: Option<String>,
}

/// How a body is written in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyEncoding {
    /// The JSON value itself, with its numbers as the sender wrote them.
    Json,
    /// A string with the text.
    Text,
    /// A string with the bytes in Base64.
    Base64,
}

/// A body, or the stored part of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Body {
    /// How `content` is written.
    pub encoding: BodyEncoding,
    /// The content: any JSON value with the encoding `json`, otherwise a string.
    #[schema(value_type = serde_json::Value)]
    pub content: Box<RawValue>,
    /// Whether values are masked in it.
    pub masked: bool,
    /// The length of the whole body in bytes.
    pub bytes: u64,
    /// Whether `content` is only the beginning.
    pub truncated: bool,
}

impl Body {
    /// The stored beginning of a body of `whole_bytes`, in which values under names that hold secrets are masked.
    pub fn masked(stored: &[u8], whole_bytes: u64) -> Self {
        body_of(stored, whole_bytes, true)
    }
}

/// A failed attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// Its number. The numbers begin with 1 again after a requeue.
    pub attempt: u32,
    /// When it was settled, or when its lease expired.
    pub ended_at: Time,
    /// Why it failed.
    pub reason: String,
    /// What the handler kept about it, if that is a JSON object: for a forwarded event `error_class`, `status`,
    /// `peer`, `timings_ms`, `headers` and `body`.
    #[schema(value_type = Option<Object>)]
    pub details: Option<Box<RawValue>>,
    /// Any other details, in Base64.
    pub details_base64: Option<String>,
}

/// A delivery with the key of an event and other content.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Conflict {
    /// When it was received.
    pub received_at: Time,
    /// The digest of its content, in hexadecimal digits.
    pub fingerprint: String,
    /// Its body, or the beginning of it.
    pub body: Body,
}

/// An event with its failed attempts and its conflicts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Event {
    /// What lists show of it.
    #[serde(flatten)]
    pub summary: EventSummary,
    /// The digest of the content that is compared, in hexadecimal digits.
    pub fingerprint: String,
    /// The headers that are stored with it.
    pub headers: Vec<Header>,
    /// The trace of the request that delivered it; null if no trace was stored.
    pub trace: Option<Trace>,
    /// The body; null if it was deleted.
    pub body: Option<Body>,
    /// The failed attempts, the latest first: at most 16.
    pub failed_attempts: Vec<Attempt>,
    /// The latest conflicting deliveries, the latest first: at most 8.
    pub conflicting_deliveries: Vec<Conflict>,
}

/// An event that is scheduled again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Scheduled {
    /// The name of the source.
    pub source: String,
    /// The idempotency key.
    pub key: String,
    /// The state now.
    pub state: EventState,
}

/// FAILED events of one source with the same reason, but for the numbers in it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FailureGroup {
    /// The name of the source.
    pub source: String,
    /// Where its events are forwarded to, if they are.
    pub destination: Option<String>,
    /// The reason, with `#` for each number.
    pub reason: String,
    /// How many of the examined events are in the group.
    pub count: u64,
    /// When the first of them failed.
    pub first_failed_at: Option<Time>,
    /// When the last of them failed.
    pub last_failed_at: Option<Time>,
    /// How many of them failed in each of the last 24 hours, the oldest hour first.
    pub last_24_hours: Vec<u64>,
    /// The event that failed last.
    pub sample: EventSummary,
}

/// Why events have failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Failures {
    /// The groups, the one with the latest failure first.
    pub groups: Vec<FailureGroup>,
    /// How many FAILED events were examined: the newest ones.
    pub examined: u64,
    /// Whether there are more FAILED events than were examined.
    pub more: bool,
    /// Whether the search ended early, since it had looked at as many events as one search may, or for as long: there
    /// may be FAILED events that it did not find.
    pub stopped_early: bool,
}

/// What an operator did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditRecord {
    /// The number of the record. Later records have greater ones.
    pub id: i64,
    /// When it happened, by the store's clock.
    pub at: Time,
    /// Who did it: the name of a token, or the user who ran a command.
    pub actor: String,
    /// What was done, such as `requeue`.
    pub action: String,
    /// What it was done to: a source, an event (`SOURCE/KEY`) or a filter.
    pub target: String,
    /// More about it, as a JSON object; null if there is no more.
    #[schema(value_type = Option<Object>)]
    pub details: Box<RawValue>,
    /// How many events it changed, if that is known.
    pub count: Option<u64>,
    /// How it ended: `done`, or what went wrong.
    pub result: String,
}

/// A page of audit records, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<AuditRecord>,
    /// The `before` of the next page; null on the last one.
    pub next_before: Option<i64>,
}
