//! Receiving and showing transactions.

use std::fmt::Display;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::StatusCode;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use webhook_core::transaction::Currency;
use webhook_core::{Accepted, EventRecord, Inbox, Key, Payload, State, Transaction};

use super::answer::{Answer, json};
use super::problem::Problem;

/// Makes a delivery durable, and says what became of it.
pub(super) async fn receive(inbox: &Inbox, body: Bytes) -> Result<Answer, Problem> {
    let receipt = inbox.receive::<Transaction>(body).await?;
    let (status, message) = match receipt.accepted {
        Accepted::New | Accepted::Requeued => ("ACCEPTED", "Transaction queued for processing"),
        Accepted::Duplicate => ("DUPLICATE", "Transaction already received"),
        Accepted::Conflict => (
            "CONFLICT",
            "Transaction already received with other content; the first is kept",
        ),
    };
    document(
        StatusCode::ACCEPTED,
        &Acknowledged {
            acknowledged: true,
            transaction_id: receipt.key.as_str(),
            status,
            message,
        },
    )
}

/// Shows where a transaction stands.
pub(super) async fn show(inbox: &Inbox, key: &Key) -> Result<Answer, Problem> {
    let record = inbox
        .find::<Transaction>(key)
        .await?
        .ok_or_else(Problem::no_such_transaction)?;
    // Stored only after it decoded; a body that no longer does is a mistake of ours.
    let transaction = Transaction::decode(&record.envelope.body).map_err(Problem::internal)?;
    document(StatusCode::OK, &Shown::of(&record, &transaction)?)
}

fn document(status: StatusCode, document: &impl Serialize) -> Result<Answer, Problem> {
    let mut body = Vec::with_capacity(256);
    serde_json::to_writer(&mut body, document).map_err(Problem::internal)?;
    Ok(json(status, body))
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    acknowledged: bool,
    transaction_id: &'a str,
    status: &'static str,
    message: &'static str,
}

#[derive(Serialize)]
struct Shown<'a> {
    transaction_id: &'a str,
    source_account: &'a str,
    destination_account: &'a str,
    amount: Box<RawValue>,
    #[serde(serialize_with = "as_text")]
    currency: Currency,
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

impl<'a> Shown<'a> {
    fn of(record: &'a EventRecord, transaction: &'a Transaction) -> Result<Self, Problem> {
        Ok(Self {
            transaction_id: record.envelope.key.as_str(),
            source_account: transaction.source_account().as_str(),
            destination_account: transaction.destination_account().as_str(),
            // A JSON number, digit by digit.
            amount: RawValue::from_string(transaction.amount().to_string())
                .map_err(Problem::internal)?,
            currency: transaction.currency(),
            status: record.state.as_str(),
            created_at: record.accepted_at,
            processed_at: record
                .settled_at
                .filter(|_| record.state == State::Processed),
            attempts: record.attempts,
            error_message: record.reason.as_deref(),
            duplicate_conflict_count: record.conflict_count,
            last_conflict_at: record.last_conflict_at,
        })
    }
}

fn as_text<S: Serializer>(text: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}

/// RFC 3339 in UTC with milliseconds, cut and not rounded: `2026-01-02T03:04:05.678Z`.
fn as_instant<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let instant = Timestamp::try_from(*time).map_err(serde::ser::Error::custom)?;
    serializer.collect_str(&format_args!("{instant:.3}"))
}

fn as_instant_or_null<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_instant(time, serializer),
        None => serializer.serialize_none(),
    }
}
