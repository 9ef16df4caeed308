//! The handler of the server. It does no work: the processing delay stands for it.

use webhook_core::{Event, Handled, Handler, HandlerError};

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
