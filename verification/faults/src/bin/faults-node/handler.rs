//! The handler: it records its start and end in the ledger, and behaves as the key says.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use faults::behaviour::{Behaviour, PANIC, REJECTED};
use faults::ledger::{Ledger, Line, What};
use rand::RngExt;
use tokio::time::sleep;
use webhook_core::{Event, Handled, Handler, HandlerError, Settled};
use webhook_server::transaction::Transaction;

use crate::store::{Watched, die};

/// The longest time that an ordinary handler works.
const WORK_MS: u64 = 10;

/// Longer than any lease in these tests.
const LONG: Duration = Duration::from_millis(2_500);

/// The time until the retry of an event that failed once.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The time before a failed transaction is tried again.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct LedgerHandler {
    ledger: Arc<Ledger>,
    store: Arc<Watched>,
}

impl LedgerHandler {
    pub(crate) const fn new(ledger: Arc<Ledger>, store: Arc<Watched>) -> Self {
        Self { ledger, store }
    }

    /// Tries the transaction until its result is known. If the answer to a commit was lost, the
    /// next try finds that the lease has ended.
    async fn book(&self, event: &Event<Transaction>) -> Result<Handled, HandlerError> {
        loop {
            match self.store.book(event.lease).await {
                Ok(Settled::Applied) => return Ok(Handled::Settled),
                Ok(Settled::LeaseLost) => return Err(HandlerError::retry("lease was lost")),
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "not booked");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn write(&self, what: What, event: &Event<Transaction>) {
        self.ledger.write(Line {
            event: event.lease.event.get(),
            attempt: event.lease.attempt.number(),
            fence: event.lease.fence.get(),
            lag_us: i64::try_from(event.lag.as_micros()).unwrap_or(i64::MAX),
            key: event.key.as_str().to_owned(),
            ..Line::of(what)
        });
    }
}

impl Handler<Transaction> for LedgerHandler {
    async fn handle(&self, event: Event<Transaction>) -> Result<Handled, HandlerError> {
        self.write(What::Begun, &event);
        let work = Duration::from_millis(rand::rng().random_range(0..=WORK_MS));
        match Behaviour::of(event.key.as_str()) {
            Behaviour::Once if event.lease.attempt.number() == 1 => {
                return Err(HandlerError::retry_after(RETRY_AFTER, "told to fail once"));
            }
            Behaviour::Well | Behaviour::Once => sleep(work).await,
            Behaviour::Booked => {
                sleep(work).await;
                self.write(What::Ended, &event);
                return self.book(&event).await;
            }
            Behaviour::Long => sleep(LONG).await,
            Behaviour::Reject => return Err(HandlerError::reject(REJECTED)),
            Behaviour::Kill => die(),
            Behaviour::Hang => pending().await,
            Behaviour::Panic => panic!("{PANIC}"),
        }
        self.write(What::Ended, &event);
        Ok(Handled::Done)
    }
}
