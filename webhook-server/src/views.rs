//! The JSON documents of events, for HTTP and for commands.
//!
//! A transaction has the fields of its body. An event of any other kind belongs to an app that embeds the
//! crates; it has its body as it is.

mod attempt;
mod body;
mod counted;
mod details;
mod event_name;
mod keys;
mod paused_kind;
mod source;
mod source_event;
mod status;

use std::borrow::Cow;
use std::fmt::Display;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use webhook_core::{EventRecord, EventSummary, EventType, FailureReason, Kind, State, payload};

use crate::transaction::{Currency, Transaction};

pub(crate) use attempt::details_line;
pub(crate) use body::{Body, BodyMembers};
pub(crate) use counted::{Count, counted, plural};
pub(crate) use details::Details;
pub(crate) use event_name::EventName;
pub(crate) use keys::{escape_key, parse_key, parse_kind};
pub(crate) use paused_kind::{PausedKind, PausedKinds};
pub(crate) use source::{duration, handshake_text, id_text, scheme_name, scheme_text};
pub(crate) use source_event::SourceEventView;
pub(crate) use status::StatusReport;

/// The kind of transactions.
pub(crate) fn transaction_kind() -> Kind {
    payload::kind_of::<Transaction>()
}

/// "transaction", or "event" for any other kind.
pub(crate) fn noun(kind: &Kind) -> &'static str {
    if *kind == transaction_kind() {
        "transaction"
    } else {
        "event"
    }
}

/// "1 transaction", or "2 events" of any other kind.
pub(crate) fn counted_of(kind: &Kind, count: impl Count) -> String {
    let noun = noun(kind);
    counted(count, noun, &format!("{noun}s"))
}

/// The transaction in a stored body. `None` if the body is deleted, cannot be read, or is not that of a
/// transaction.
pub(crate) fn content(record: &EventRecord) -> Option<Transaction> {
    if record.body_deleted || record.envelope.kind != transaction_kind() {
        return None;
    }
    Transaction::from_json(&record.envelope.body).ok()
}

/// A transaction with its status. The fields of the body are null if the body is deleted.
#[derive(Serialize)]
pub(crate) struct TransactionView<'a> {
    transaction_id: &'a str,
    source_account: Option<&'a str>,
    destination_account: Option<&'a str>,
    amount: Option<Box<RawValue>>,
    #[serde(serialize_with = "as_text_or_null")]
    currency: Option<Currency>,
    status: &'static str,
    #[serde(serialize_with = "as_instant")]
    created_at: SystemTime,
    #[serde(serialize_with = "as_instant_or_null")]
    processed_at: Option<SystemTime>,
    attempts: u32,
    error_message: Option<&'a str>,
    duplicate_conflict_count: u64,
    #[serde(serialize_with = "as_instant_or_null")]
    last_conflict_at: Option<SystemTime>,
}

impl<'a> TransactionView<'a> {
    /// The view of `record`, whose body contains `content`.
    pub(crate) fn of(record: &'a EventRecord, content: Option<&'a Transaction>) -> Self {
        Self {
            transaction_id: record.envelope.key.as_str(),
            source_account: content.map(|it| it.source_account().as_str()),
            destination_account: content.map(|it| it.destination_account().as_str()),
            // A JSON number with exactly these digits.
            amount: content.and_then(|it| RawValue::from_string(it.amount().to_string()).ok()),
            currency: content.map(Transaction::currency),
            status: record.state.as_str(),
            created_at: record.accepted_at,
            processed_at: record
                .settled_at
                .filter(|_| record.state == State::Processed),
            attempts: record.attempts,
            error_message: record.reason.as_ref().map(FailureReason::as_str),
            duplicate_conflict_count: record.conflict_count,
            last_conflict_at: record.last_conflict_at,
        }
    }
}

/// An event that is no transaction, with its status. The body is null if it is deleted.
#[derive(Serialize)]
struct EventView<'a> {
    #[serde(flatten)]
    name: EventName<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    status: &'static str,
    #[serde(serialize_with = "as_instant")]
    created_at: SystemTime,
    #[serde(serialize_with = "as_instant_or_null")]
    processed_at: Option<SystemTime>,
    attempts: u32,
    error_message: Option<&'a str>,
    duplicate_conflict_count: u64,
    #[serde(serialize_with = "as_instant_or_null")]
    last_conflict_at: Option<SystemTime>,
    headers: Vec<Header<'a>>,
    #[serde(flatten)]
    body: BodyMembers<'a>,
}

/// A header that was kept with an event.
#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    /// With U+FFFD for bytes that are not UTF-8.
    value: Cow<'a, str>,
}

impl<'a> Header<'a> {
    fn of((name, value): (&'a str, &'a [u8])) -> Self {
        Self {
            name,
            value: String::from_utf8_lossy(value),
        }
    }
}

impl<'a> EventView<'a> {
    fn of(record: &'a EventRecord) -> Self {
        let envelope = &record.envelope;
        let headers = envelope.headers.iter();
        Self {
            name: EventName::of(&envelope.kind, &envelope.key).numbered(record.id),
            event_type: envelope.event_type.as_ref().map(EventType::as_str),
            status: record.state.as_str(),
            created_at: record.accepted_at,
            processed_at: record
                .settled_at
                .filter(|_| record.state == State::Processed),
            attempts: record.attempts,
            error_message: record.reason.as_ref().map(FailureReason::as_str),
            duplicate_conflict_count: record.conflict_count,
            last_conflict_at: record.last_conflict_at,
            headers: headers.map(Header::of).collect(),
            body: (!record.body_deleted)
                .then(|| Body::of(&envelope.body))
                .into(),
        }
    }
}

/// An event in a list: its status without its content.
#[derive(Serialize)]
pub(crate) struct EventSummaryView<'a> {
    #[serde(flatten)]
    name: EventName<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    status: &'static str,
    #[serde(serialize_with = "as_instant")]
    created_at: SystemTime,
    #[serde(serialize_with = "as_instant_or_null")]
    due_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    leased_until: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    processed_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    failed_at: Option<SystemTime>,
    attempts: u32,
    error_message: Option<&'a str>,
    duplicate_conflict_count: u64,
    #[serde(serialize_with = "as_instant_or_null")]
    last_conflict_at: Option<SystemTime>,
}

impl<'a> EventSummaryView<'a> {
    pub(crate) fn of(summary: &'a EventSummary) -> Self {
        let settled_as = |state| summary.settled_at.filter(|_| summary.state == state);
        Self {
            name: EventName::of(&summary.event.kind, &summary.event.key).numbered(summary.id),
            event_type: summary.event_type.as_ref().map(EventType::as_str),
            status: summary.state.as_str(),
            created_at: summary.accepted_at,
            due_at: summary.due_at,
            leased_until: summary.leased_until,
            processed_at: settled_as(State::Processed),
            failed_at: settled_as(State::Failed),
            attempts: summary.attempts,
            error_message: summary.reason.as_ref().map(FailureReason::as_str),
            duplicate_conflict_count: summary.conflict_count,
            last_conflict_at: summary.last_conflict_at,
        }
    }
}

fn as_text_or_null<S: Serializer>(
    text: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => serializer.collect_str(text),
        None => serializer.serialize_none(),
    }
}

/// RFC 3339 in UTC, truncated to milliseconds: `2026-01-02T03:04:05.678Z`.
pub(crate) fn as_instant<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // The clock of a store may be set to any year; RFC 3339 ends with 9999.
    let instant = Timestamp::try_from(*time).unwrap_or(Timestamp::MAX);
    serializer.collect_str(&format_args!("{instant:.3}"))
}

pub(crate) fn as_instant_or_null<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_instant(time, serializer),
        None => serializer.serialize_none(),
    }
}
