//! The handlers of the server. They do no work: the processing delay stands for it.

use webhook_core::{Event, Handled, Handler, HandlerError, RawEvent};

use crate::transaction::Transaction;

/// Logs a transaction when it is due. The worker then marks it PROCESSED.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogTransaction;

impl Handler<Transaction> for LogTransaction {
    async fn handle(&self, event: Event<Transaction>) -> Result<Handled, HandlerError> {
        let transaction = &event.payload;
        tracing::info!(
            transaction_id = transaction.id(),
            amount = %transaction.amount(),
            currency = %transaction.currency(),
            source_account = %transaction.source_account().masked(),
            destination_account = %transaction.destination_account().masked(),
            attempt = event.attempt().number(),
            lag_ms = u64::try_from(event.lag.as_millis()).unwrap_or(u64::MAX),
            "transaction processed"
        );
        Ok(Handled::Done)
    }
}

/// Logs an event of a source when it is due. The worker then marks it PROCESSED.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogEvent;

impl Handler<()> for LogEvent {
    async fn handle(&self, event: RawEvent) -> Result<Handled, HandlerError> {
        tracing::info!(
            source = %event.kind,
            id = %event.key,
            body_bytes = event.body.len(),
            attempt = event.attempt().number(),
            lag_ms = u64::try_from(event.lag.as_millis()).unwrap_or(u64::MAX),
            "event processed"
        );
        Ok(Handled::Done)
    }
}
