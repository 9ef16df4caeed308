//! An event of a source, as its readers see it.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;
use webhook_core::{ConflictRecord, EventRecord, EventType, FailureReason, State};

use super::{Header, as_instant, as_instant_or_null};

/// An event of a source with its state, without its body.
#[derive(Serialize)]
pub(crate) struct SourceEventView<'a> {
    source: &'a str,
    id: &'a str,
    event_type: Option<&'a str>,
    status: &'static str,
    #[serde(serialize_with = "as_instant")]
    created_at: SystemTime,
    #[serde(serialize_with = "as_instant_or_null")]
    due_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    processed_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    failed_at: Option<SystemTime>,
    attempts: u32,
    error_message: Option<&'a str>,
    /// What was wrong with the delivery, which was stored nevertheless.
    flaw: Option<Cow<'a, str>>,
    body_bytes: Option<usize>,
    headers: Vec<Header<'a>>,
    duplicate_conflict_count: u64,
    #[serde(serialize_with = "as_instant_or_null")]
    last_conflict_at: Option<SystemTime>,
    conflicts: Vec<Conflict>,
}

/// A delivery with other content.
#[derive(Serialize)]
struct Conflict {
    #[serde(serialize_with = "as_instant")]
    received_at: SystemTime,
    body_bytes: u64,
    /// The SHA-256 of the content that is compared.
    content_sha256: String,
}

impl<'a> SourceEventView<'a> {
    /// The view of `record`. The flaw is in the header `flaw_header`.
    pub(crate) fn of(
        record: &'a EventRecord,
        conflicts: &[ConflictRecord],
        flaw_header: &str,
    ) -> Self {
        let envelope = &record.envelope;
        let settled_as = |state| record.settled_at.filter(|_| record.state == state);
        let is_flaw = |(name, _): &(&str, &[u8])| *name == flaw_header;
        let flaw = envelope.headers.get(flaw_header);
        Self {
            source: envelope.kind.as_str(),
            id: envelope.key.as_str(),
            event_type: envelope.event_type.as_ref().map(EventType::as_str),
            status: record.state.as_str(),
            created_at: record.accepted_at,
            due_at: record.due_at,
            processed_at: settled_as(State::Processed),
            failed_at: settled_as(State::Failed),
            attempts: record.attempts,
            error_message: record.reason.as_ref().map(FailureReason::as_str),
            flaw: flaw.map(String::from_utf8_lossy),
            body_bytes: (!record.body_deleted).then_some(envelope.body.len()),
            headers: envelope
                .headers
                .iter()
                .filter(|header| !is_flaw(header))
                .map(Header::of)
                .collect(),
            duplicate_conflict_count: record.conflict_count,
            last_conflict_at: record.last_conflict_at,
            conflicts: conflicts.iter().map(Conflict::of).collect(),
        }
    }
}

impl Conflict {
    fn of(conflict: &ConflictRecord) -> Self {
        Self {
            received_at: conflict.received_at,
            body_bytes: conflict.body_bytes,
            content_sha256: hex::encode(conflict.fingerprint.as_bytes()),
        }
    }
}
