//! The stock handler: the delay stands for the work.

use webhook_core::{Event, Handled, Handler, HandlerError};

use crate::transaction::Transaction;

/// Marks a transaction processed when it falls due, and logs it.
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
