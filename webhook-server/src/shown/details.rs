//! One transaction, with all that is known of it.

use std::time::SystemTime;

use serde::Serialize;
use webhook_core::{
    ConflictRecord, Error, EventRecord, EventRef, FailedAttempt, Key, Operator, Store, Transaction,
};

use super::{Shown, as_instant, as_instant_or_null, content, kind};

/// All of it, as it was found.
pub(crate) struct Details {
    pub(crate) record: EventRecord,
    pub(crate) content: Option<Transaction>,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) conflicts: Vec<ConflictRecord>,
}

#[derive(Serialize)]
pub(crate) struct Document<'a> {
    #[serde(flatten)]
    transaction: Shown<'a>,
    #[serde(serialize_with = "as_instant_or_null")]
    due_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    leased_until: Option<SystemTime>,
    body_forgotten: bool,
    failed_attempts: Vec<Attempt<'a>>,
    conflicts: Vec<Conflict>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    attempt: u32,
    #[serde(serialize_with = "as_instant")]
    ended_at: SystemTime,
    reason: &'a str,
}

#[derive(Serialize)]
struct Conflict {
    #[serde(serialize_with = "as_instant")]
    received_at: SystemTime,
    body_bytes: u64,
    /// What is kept of it, with U+FFFD for what is not UTF-8.
    body: String,
}

impl Details {
    /// Those of the transaction that has `key`; `None` where there is none.
    pub(crate) async fn find(
        store: &dyn Store,
        operator: &dyn Operator,
        key: Key,
    ) -> Result<Option<Self>, Error> {
        let event = EventRef { kind: kind(), key };
        let found = store.find(std::slice::from_ref(&event)).await?;
        let Some(record) = found.into_iter().flatten().next() else {
            return Ok(None);
        };
        let attempts = operator.failed_attempts(&event).await?;
        let conflicts = operator.conflicts(&event).await?;
        Ok(Some(Self {
            content: content(&record),
            record,
            attempts,
            conflicts,
        }))
    }

    pub(crate) fn document(&self) -> Document<'_> {
        Document {
            transaction: Shown::of(&self.record, self.content.as_ref()),
            due_at: self.record.due_at,
            leased_until: self.record.leased_until,
            body_forgotten: self.record.stripped,
            failed_attempts: self.attempts.iter().map(Attempt::of).collect(),
            conflicts: self.conflicts.iter().map(Conflict::of).collect(),
        }
    }
}

impl<'a> Attempt<'a> {
    fn of(attempt: &'a FailedAttempt) -> Self {
        Self {
            attempt: attempt.attempt.number(),
            ended_at: attempt.ended_at,
            reason: &attempt.reason,
        }
    }
}

impl Conflict {
    fn of(conflict: &ConflictRecord) -> Self {
        Self {
            received_at: conflict.received_at,
            body_bytes: conflict.body_bytes,
            body: String::from_utf8_lossy(&conflict.body).into_owned(),
        }
    }
}
