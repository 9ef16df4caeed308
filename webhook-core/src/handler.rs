//! What an app writes: the work that an event stands for.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::event::{EventId, Key, Kind};
use crate::headers::Headers;
use crate::inbox::Inbox;
use crate::payload::{self, Payload};
use crate::scheduler::{Attempt, Fence, Lease, Reason};
use crate::worker::WorkerOptions;

/// Processes events of one payload type, or of no type: [`RawEvent`]s.
///
/// A handler runs at least once per event, and again after a crash or a lost lease; its effects
/// happen exactly once where it makes them in one transaction with the settlement (see the
/// backend's `settle_in`) or where they are idempotent by the event's key.
///
/// Functions and closures from [`Event`] to a future of `Result<(), HandlerError>` are handlers, and
/// so is an [`Arc`] of a handler. A handler with state is a type of its own, or a function that
/// [`sharing`] gives the state to:
///
/// ```
/// use webhook_core::{Event, Handled, Handler, HandlerError, Payload, sharing};
/// # use webhook_core::{Fingerprint, Headers, Identity, InvalidPayload};
/// # #[derive(Debug)]
/// # struct Order(String);
/// # impl Payload for Order {
/// #     const KIND: &'static str = "order";
/// #     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
/// #         Identity::new(String::from_utf8_lossy(body), Fingerprint::of([body]))
/// #     }
/// #     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
/// #         Ok(Self(String::from_utf8_lossy(body).into_owned()))
/// #     }
/// # }
///
/// #[derive(Clone)]
/// struct Shop;
///
/// impl Handler<Order> for Shop {
///     async fn handle(&self, event: Event<Order>) -> Result<Handled, HandlerError> {
///         println!("shipping {}", event.key);
///         Ok(Handled::Done)
///     }
/// }
///
/// async fn ship(shop: Shop, event: Event<Order>) -> Result<(), HandlerError> {
///     shop.handle(event).await?;
///     Ok(())
/// }
///
/// # fn takes(_: impl Handler<Order>) {}
/// # takes(Shop);
/// # takes(std::sync::Arc::new(Shop));
/// takes(sharing(Shop, ship));
/// ```
///
/// # Testing
///
/// [`Event::new`] makes an event of a payload, and [`HandlerError`]s can be compared:
///
/// ```
/// # use webhook_core::{Event, Fingerprint, HandlerError, Headers, Identity, InvalidPayload, Payload};
/// # #[derive(Debug)]
/// # struct Order(String);
/// # impl Payload for Order {
/// #     const KIND: &'static str = "order";
/// #     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
/// #         Identity::new(String::from_utf8_lossy(body), Fingerprint::of([body]))
/// #     }
/// #     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
/// #         Ok(Self(String::from_utf8_lossy(body).into_owned()))
/// #     }
/// # }
/// async fn ship(event: Event<Order>) -> Result<(), HandlerError> {
///     if event.is_last_attempt() {
///         return Err(HandlerError::reject("no courier took it"));
///     }
///     Ok(())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let order = || Event::new(Order("order-1".to_owned()));
/// assert_eq!(ship(order()).await, Ok(()));
/// let last = order().on_attempt(3).of_attempts(3);
/// assert_eq!(ship(last).await, Err(HandlerError::reject("no courier took it")));
/// # });
/// ```
///
/// # Cancel safety
///
/// The future is dropped at an await point when its time-out passes, when its lease is lost, or
/// when the drain time of a shutdown is over.
pub trait Handler<P>: Send + Sync + 'static {
    /// Processes one attempt at one event.
    ///
    /// # Errors
    ///
    /// [`HandlerError::retry`] (which is what `?` makes of any error) tries again later, until
    /// the attempts are spent; [`HandlerError::reject`] fails the event for good. A panic and a
    /// time-out are retried.
    fn handle(&self, event: Event<P>)
    -> impl Future<Output = Result<Handled, HandlerError>> + Send;
}

impl<P, F, R, T> Handler<P> for F
where
    P: Send + 'static,
    F: Fn(Event<P>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, HandlerError>> + Send,
    T: Into<Handled>,
{
    fn handle(
        &self,
        event: Event<P>,
    ) -> impl Future<Output = Result<Handled, HandlerError>> + Send {
        let handled = self(event);
        async move { handled.await.map(Into::into) }
    }
}

impl<P: Send + 'static, H: Handler<P>> Handler<P> for Arc<H> {
    fn handle(
        &self,
        event: Event<P>,
    ) -> impl Future<Output = Result<Handled, HandlerError>> + Send {
        H::handle(self, event)
    }
}

/// A handler that calls `handler` with a clone of `state`, which is best an [`Arc`], and the event.
pub fn sharing<P, S, F, R, T>(state: S, handler: F) -> impl Handler<P>
where
    P: Send + 'static,
    S: Clone + Send + Sync + 'static,
    F: Fn(S, Event<P>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, HandlerError>> + Send,
    T: Into<Handled>,
{
    move |event: Event<P>| handler(state.clone(), event)
}

/// One attempt at one event.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<P> {
    /// What was delivered.
    pub payload: P,
    /// The headers kept with it.
    pub headers: Headers,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// Its kind.
    pub kind: Kind,
    /// Its idempotency key.
    pub key: Key,
    /// The right to settle it, for handlers that do so in a transaction of their own. It names the
    /// event and the attempt.
    pub lease: Lease,
    /// How many attempts the worker gives an event.
    pub max_attempts: NonZeroU32,
    /// When it was accepted, by the store's clock.
    pub accepted_at: SystemTime,
    /// How long past its due time it was claimed.
    pub lag: Duration,
    pub(crate) inbox: Option<Inbox>,
}

/// An event as it was accepted: of a kind that is known only when the program runs, or whose handler
/// reads the body itself.
pub type RawEvent = Event<()>;

impl RawEvent {
    /// As [`Event::new`], without a payload.
    pub fn raw(kind: Kind, body: impl Into<Bytes>) -> Self {
        Self::of_kind(kind, ()).with_body(body)
    }
}

impl<P> Event<P> {
    /// The first attempt at an event of `payload`, for tests of handlers: accepted now, with the key
    /// `test`, an empty body, no headers, a lease that no store knows, no lag, and as many attempts as a worker
    /// gives an event by default.
    ///
    pub fn new(payload: P) -> Self
    where
        P: Payload,
    {
        Self::of_kind(payload::kind_of::<P>(), payload)
    }

    fn of_kind(kind: Kind, payload: P) -> Self {
        Self {
            payload,
            headers: Headers::new(),
            body: Bytes::new(),
            kind,
            key: Key::new("test").expect("a valid key"),
            lease: Lease {
                event: EventId::new(0),
                attempt: Attempt::FIRST,
                fence: Fence::new(0),
            },
            max_attempts: WorkerOptions::default().max_attempts,
            accepted_at: SystemTime::now(),
            inbox: None,
            lag: Duration::ZERO,
        }
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }

    /// The same with this key.
    #[must_use]
    pub fn with_key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// The same with this inbox for follow-up events.
    #[must_use]
    pub fn with_inbox(self, inbox: Inbox) -> Self {
        Self {
            inbox: Some(inbox),
            ..self
        }
    }

    /// The same with these headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// The same, accepted at another time.
    #[must_use]
    pub fn with_accepted_at(self, accepted_at: SystemTime) -> Self {
        Self {
            accepted_at,
            ..self
        }
    }

    /// The same on attempt `number`, from 1; zero counts as one. Where there are fewer attempts, it
    /// is the last one.
    #[must_use]
    pub fn on_attempt(mut self, number: u32) -> Self {
        let number = NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        self.lease.attempt = Attempt::new(number);
        self.max_attempts = self.max_attempts.max(number);
        self
    }

    /// The same of a worker that gives an event `max_attempts`; zero counts as one.
    #[must_use]
    pub fn of_attempts(self, max_attempts: u32) -> Self {
        Self {
            max_attempts: NonZeroU32::new(max_attempts).unwrap_or(NonZeroU32::MIN),
            ..self
        }
    }

    /// The same, claimed `lag` after it fell due.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    /// The store's name for the event.
    pub fn id(&self) -> EventId {
        self.lease.event
    }

    /// The inbox of the pipeline, for events that follow from this one. `None` where a worker runs
    /// without a pipeline.
    pub fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// Which attempt this is.
    pub fn attempt(&self) -> Attempt {
        self.lease.attempt
    }

    /// Whether the event fails for good where this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.lease.attempt.get() >= self.max_attempts
    }
}

/// How a handler ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
/// `?` makes a retry of everything that is, or can be made, a boxed error: errors of the standard
/// library's trait, `anyhow::Error`, and text. It is therefore not itself a [`std::error::Error`].
///
/// Two of them are equal where they have the same reason and the same consequence.
#[derive(Clone)]
pub struct HandlerError {
    pub(crate) reason: Reason,
    pub(crate) remedy: Remedy,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What is to happen after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Try again when the retry policy says.
    Retry,
    /// Try again after this long.
    RetryAfter(Duration),
    /// Try again after this long, and do not count this attempt.
    Postpone(Duration),
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

    /// Try again `after` this long, as if this attempt had never begun: it is not counted. For what
    /// says nothing of the event: a throttle, or a service that is known to be down.
    ///
    /// An event that is postponed for ever never fails. Choose the delay with care: each attempt
    /// costs a claim and a settlement.
    pub fn postpone(after: Duration, reason: impl AsRef<str>) -> Self {
        Self::new(reason, Remedy::Postpone(after))
    }

    /// Fail the event for good, whatever attempts are left.
    pub fn reject(reason: impl AsRef<str>) -> Self {
        Self::new(reason, Remedy::Reject)
    }

    /// Why, in words: the error and its causes, separated by colons.
    pub fn reason(&self) -> &str {
        self.reason.as_str()
    }

    /// The error that `?` made this of; its own causes are its sources.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// Whether the event fails for good, whatever attempts are left.
    pub fn is_rejection(&self) -> bool {
        self.remedy == Remedy::Reject
    }

    /// The delay that the handler chose; `None` where the retry policy chooses it, and where
    /// nothing is retried.
    pub fn delay(&self) -> Option<Duration> {
        match self.remedy {
            Remedy::RetryAfter(after) | Remedy::Postpone(after) => Some(after),
            Remedy::Retry | Remedy::Reject => None,
        }
    }

    /// Whether the attempt is not counted.
    pub fn is_postponement(&self) -> bool {
        matches!(self.remedy, Remedy::Postpone(_))
    }

    /// The same with `what` before its reason.
    pub(crate) fn prefixed(self, what: &str) -> Self {
        Self {
            reason: Reason::new(format!("{what}: {}", self.reason)),
            ..self
        }
    }

    fn new(reason: impl AsRef<str>, remedy: Remedy) -> Self {
        Self {
            reason: Reason::new(reason),
            remedy,
            source: None,
        }
    }
}

impl PartialEq for HandlerError {
    fn eq(&self, other: &Self) -> bool {
        self.reason == other.reason && self.remedy == other.remedy
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("reason", &self.reason())
            .field("remedy", &self.remedy)
            .finish_non_exhaustive()
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let error: Arc<dyn Error + Send + Sync> = Arc::from(error.into());
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Writing to a string does not fail.
            let _ = write!(reason, ": {cause}");
            source = cause.source();
        }
        Self {
            source: Some(error),
            ..Self::retry(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("order not shipped")]
    struct NotShipped(#[source] io::Error);

    fn not_shipped() -> NotShipped {
        NotShipped(io::Error::other("no courier"))
    }

    #[test]
    fn errors_of_all_sorts_become_retries_that_keep_their_causes() {
        fn fails(sort: usize) -> Result<(), HandlerError> {
            match sort {
                0 => Err(not_shipped())?,
                1 => Err(Box::new(not_shipped()))?,
                2 => Err(Box::<dyn Error + Send + Sync>::from(not_shipped()))?,
                3 => Err(anyhow::Error::from(io::Error::other("no courier"))
                    .context("order not shipped"))?,
                4 => Err("order not shipped: no courier")?,
                _ => Err(String::from("order not shipped: no courier"))?,
            }
            Ok(())
        }
        for sort in 0..6 {
            let error = fails(sort).unwrap_err();
            let expected = HandlerError::retry("order not shipped: no courier");
            assert_eq!(error, expected, "{sort}");
            assert!(!error.is_rejection());
            assert_eq!(error.delay(), None);
            let source = error.source().unwrap();
            assert_eq!(source.source().is_some(), sort < 4, "{sort}");
        }
        let source = fails(0).unwrap_err();
        let source = source.source().unwrap().downcast_ref::<NotShipped>();
        assert_eq!(source.unwrap().0.to_string(), "no courier");
    }

    #[test]
    fn errors_can_be_looked_into() {
        let later = HandlerError::retry_after(Duration::from_secs(7), "busy");
        assert_eq!(later.delay(), Some(Duration::from_secs(7)));
        assert_eq!(later.reason(), "busy");
        assert_ne!(later, HandlerError::retry("busy"));
        assert_ne!(later, HandlerError::retry_after(Duration::ZERO, "busy"));
        let postponed = HandlerError::postpone(Duration::from_secs(7), "busy");
        assert_eq!(postponed.delay(), later.delay());
        assert!(postponed.is_postponement() && !later.is_postponement());
        assert_ne!(postponed, later);
        let rejection = HandlerError::reject("never");
        assert!(rejection.is_rejection() && rejection.source().is_none());
        assert_ne!(rejection, HandlerError::reject("ever"));
    }
}
