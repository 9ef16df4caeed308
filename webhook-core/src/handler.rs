//! What an app writes: the work that an event stands for.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::Key;
use crate::payload::Payload;
use crate::scheduler::{Lease, Reason};

/// Processes events of one payload type.
///
/// A handler runs at least once per event, and again after a crash or a lost lease; its effects
/// happen exactly once where it makes them in one transaction with the settlement (see the
/// backend's `settle_in`) or where they are idempotent by the event's key.
///
/// Async closures from [`Event`] to `Result<(), HandlerError>` are handlers.
///
/// # Cancel safety
///
/// The future is dropped at an await point when its time-out passes, when its lease is lost, or
/// when the drain time of a shutdown is over.
#[async_trait]
pub trait Handler<P: Payload>: Send + Sync + 'static {
    /// Processes one attempt at one event.
    ///
    /// # Errors
    ///
    /// [`HandlerError::retry`] (which is what `?` makes of any error) tries again later, until
    /// the attempts are spent; [`HandlerError::reject`] fails the event for good. A panic and a
    /// time-out are retried.
    async fn handle(&self, event: Event<P>) -> Result<Handled, HandlerError>;
}

#[async_trait]
impl<P, F, R, T> Handler<P> for F
where
    P: Payload,
    F: Fn(Event<P>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, HandlerError>> + Send,
    T: Into<Handled>,
{
    async fn handle(&self, event: Event<P>) -> Result<Handled, HandlerError> {
        self(event).await.map(Into::into)
    }
}

/// One attempt at one event.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<P> {
    /// What was delivered.
    pub payload: P,
    /// Its idempotency key.
    pub key: Key,
    /// The right to settle it, for handlers that do so in a transaction of their own.
    pub lease: Lease,
    /// How long past its due time it was claimed.
    pub lag: Duration,
}

/// How a handler ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handled {
    /// The work is done: the worker settles the event as processed.
    #[default]
    Done,
    /// The handler has settled the event itself, in a transaction that is committed.
    Settled,
}

impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// How a handler ended badly.
///
/// Not itself a [`std::error::Error`], so that `?` can turn every error into a retry.
#[derive(Clone, Debug)]
pub struct HandlerError {
    pub(crate) reason: Reason,
    pub(crate) remedy: Remedy,
}

/// What is to happen after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Try again when the retry policy says.
    Retry,
    /// Try again after this long.
    RetryAfter(Duration),
    /// Fail for good.
    Reject,
}

impl HandlerError {
    /// Try again, when the worker's retry policy says.
    pub fn retry(reason: impl AsRef<str>) -> Self {
        Self::new(reason, Remedy::Retry)
    }

    /// Try again `after` this long, instead of when the retry policy says. The attempt is spent.
    pub fn retry_after(after: Duration, reason: impl AsRef<str>) -> Self {
        Self::new(reason, Remedy::RetryAfter(after))
    }

    /// Fail the event for good, whatever attempts are left.
    pub fn reject(reason: impl AsRef<str>) -> Self {
        Self::new(reason, Remedy::Reject)
    }

    fn new(reason: impl AsRef<str>, remedy: Remedy) -> Self {
        Self {
            reason: Reason::new(reason),
            remedy,
        }
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::retry(reason)
    }
}
