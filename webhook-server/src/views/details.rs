//! One event with its failed attempts and conflicts.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;
use webhook_core::{
    Admin, ConflictRecord, EventRecord, EventRef, FailedAttempt, Store, StoreError,
};

use super::attempt::Attempt;
use super::{
    Body, BodyMembers, EventView, TransactionView, as_instant, as_instant_or_null, content,
    transaction_kind,
};
use crate::transaction::Transaction;

/// An event with its failed attempts and conflicts.
pub(crate) struct Details {
    pub(crate) record: EventRecord,
    /// The content of the body, if it is that of a transaction and can be read.
    pub(crate) content: Option<Transaction>,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) conflicts: Vec<ConflictRecord>,
}

#[derive(Serialize)]
pub(crate) struct Document<'a> {
    #[serde(flatten)]
    event: View<'a>,
    #[serde(serialize_with = "as_instant_or_null")]
    due_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    leased_until: Option<SystemTime>,
    body_deleted: bool,
    failed_attempts: Vec<Attempt<'a>>,
    conflicts: Vec<Conflict<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum View<'a> {
    Transaction(TransactionView<'a>),
    Event(EventView<'a>),
}

#[derive(Serialize)]
struct Conflict<'a> {
    #[serde(serialize_with = "as_instant")]
    received_at: SystemTime,
    body_bytes: u64,
    #[serde(flatten)]
    body: ConflictBody<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ConflictBody<'a> {
    /// The stored part of the body of a transaction, with U+FFFD for bytes that are not UTF-8.
    Transaction {
        body: Cow<'a, str>,
    },
    Event(BodyMembers<'a>),
}

impl Details {
    /// Reads the details of `event`; `None` if it does not exist.
    pub(crate) async fn find(
        store: &dyn Store,
        operator: &dyn Admin,
        event: &EventRef,
    ) -> Result<Option<Self>, StoreError> {
        let found = store.find(std::slice::from_ref(event)).await?;
        let Some(record) = found.into_iter().flatten().next() else {
            return Ok(None);
        };
        let attempts = operator.failed_attempts(event).await?;
        let conflicts = operator.conflicts(event).await?;
        Ok(Some(Self {
            content: content(&record),
            record,
            attempts,
            conflicts,
        }))
    }

    pub(crate) fn is_of_transaction(&self) -> bool {
        self.record.envelope.kind == transaction_kind()
    }

    pub(crate) fn document(&self) -> Document<'_> {
        let is_of_transaction = self.is_of_transaction();
        Document {
            event: if is_of_transaction {
                View::Transaction(TransactionView::of(&self.record, self.content.as_ref()))
            } else {
                View::Event(EventView::of(&self.record))
            },
            due_at: self.record.due_at,
            leased_until: self.record.leased_until,
            body_deleted: self.record.body_deleted,
            failed_attempts: self.attempts.iter().map(Attempt::of).collect(),
            conflicts: self
                .conflicts
                .iter()
                .map(|conflict| Conflict::of(conflict, is_of_transaction))
                .collect(),
        }
    }
}

impl<'a> Conflict<'a> {
    fn of(conflict: &'a ConflictRecord, is_of_transaction: bool) -> Self {
        Self {
            received_at: conflict.received_at,
            body_bytes: conflict.body_bytes,
            body: if is_of_transaction {
                ConflictBody::Transaction {
                    body: String::from_utf8_lossy(&conflict.body),
                }
            } else {
                ConflictBody::Event(Some(Body::of_conflict(conflict)).into())
            },
        }
    }
}
