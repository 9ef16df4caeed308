//! The routes for transactions: receive one, show one.

use std::slice;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use webhook_core::{Accepted, Headers, Inbox, Key, TraceParent};

use super::answer::Answer;
use super::document::document;
use super::problem::Problem;
use crate::traces::{Sending, Traces};
use crate::transaction::Transaction;
use crate::views::{TransactionView, content, transaction_kind};

/// Makes a delivery durable, and answers whether it is new.
pub(super) async fn receive(
    traces: Option<&Traces>,
    inbox: &Inbox,
    body: Bytes,
) -> Result<Answer, Problem> {
    let receipt = match Sending::begin(traces, &transaction_kind(), 1) {
        None => inbox.receive::<Transaction>(body).await?,
        Some(sending) => {
            let context = sending
                .context()
                .map(|context| (TraceParent::STORED_HEADER, context));
            let headers = Headers::try_from_iter(context).map_err(Problem::internal)?;
            let received = inbox.receive_with::<Transaction>(body, headers).await;
            let key = received.as_ref().ok().map(|receipt| &receipt.key);
            let accepted = received
                .as_ref()
                .map(|receipt| slice::from_ref(&receipt.accepted));
            sending.end(traces, key, accepted);
            received?
        }
    };
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

/// Shows the content and the status of a transaction.
pub(super) async fn show(inbox: &Inbox, key: &Key) -> Result<Answer, Problem> {
    let record = inbox
        .find::<Transaction>(key)
        .await?
        .ok_or_else(Problem::no_such_transaction)?;
    let content = content(&record);
    document(
        StatusCode::OK,
        &TransactionView::of(&record, content.as_ref()),
    )
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    acknowledged: bool,
    transaction_id: &'a str,
    status: &'static str,
    message: &'static str,
}
