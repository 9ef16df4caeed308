//! [`Handler`]: the code of an app that processes events.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::claim_limit::ClaimLimit;
use crate::error::with_causes;
use crate::event::{EventId, EventType, Key, Kind};
use crate::headers::Headers;
use crate::inbox::Inbox;
use crate::payload::{self, Payload};
use crate::scheduler::{Attempt, Fence, Lease, Reason};
use crate::worker::WorkerOptions;

/// Processes events of one payload type, or [`RawEvent`]s, which have none.
///
/// A handler runs at least once per event, and again after a crash or a lost lease. Its effects happen exactly
/// once if they are in one transaction with the settlement (see the backend's `settle_in`), or if they are
/// idempotent by the event's key.
///
/// Functions and closures from [`Event`] to a future of `Result<(), HandlerError>` are handlers, and so is an
/// [`Arc`] of a handler. A handler with state is a type of its own, or a function to which [`sharing`] passes
/// the state:
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
/// [`Event::new`] creates an event from a payload, and [`HandlerError`]s can be compared:
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
/// The worker drops the future at an await point when its time limit is over, when its lease is lost, or when
/// the drain time of a shutdown is over.
pub trait Handler<P>: Send + Sync + 'static {
    /// Processes one attempt at one event.
    ///
    /// # Errors
    ///
    /// After [`HandlerError::retry`], to which `?` converts any error, the event is tried again later, until
    /// its attempts are spent. [`HandlerError::reject`] fails the event for good. Panics and time-outs are
    /// retried.
    fn handle(&self, event: Event<P>)
    -> impl Future<Output = Result<Handled, HandlerError>> + Send;

    /// Returns the limit of the claims of its kind, for a handler that knows when it cannot process more events.
    /// Default: none. The worker asks for it once, before it starts.
    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        None
    }
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

    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        H::claim_limit(self)
    }
}

/// Returns a handler that calls `handler` with a clone of `state` and the event. The state is best an [`Arc`].
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
    /// The payload.
    pub payload: P,
    /// The event type that was stored with it.
    pub event_type: Option<EventType>,
    /// The headers that were stored with it.
    pub headers: Headers,
    /// The body, byte for byte.
    pub body: Bytes,
    /// The kind.
    pub kind: Kind,
    /// The idempotency key.
    pub key: Key,
    /// The lease, for handlers that settle the event in a transaction of their own. It identifies the event and
    /// the attempt.
    pub lease: Lease,
    /// How many attempts an event has before it fails.
    pub max_attempts: NonZeroU32,
    /// When it was accepted, by the store's clock.
    pub accepted_at: SystemTime,
    /// How long after its due time it was claimed.
    pub lag: Duration,
    /// How long before this claim it was accepted, by the store's clock: for handlers that give up after some
    /// time. The age grows while the event waits, and a requeue does not change that.
    pub age: Duration,
    pub(crate) inbox: Option<Inbox>,
}

/// An event without a payload type: its kind is known only at run time, or its handler reads the body itself.
pub type RawEvent = Event<()>;

impl RawEvent {
    /// Like [`Event::new`], without a payload.
    pub fn raw(kind: Kind, body: impl Into<Bytes>) -> Self {
        Self::of_kind(kind, ()).with_body(body)
    }
}

impl<P> Event<P> {
    /// Creates the first attempt at an event with `payload`, for tests of handlers.
    ///
    /// The event is accepted now and has the key `test`, an empty body, no event type, no headers, no lag, an
    /// age of zero, a lease that no store knows, and the default number of attempts.
    pub fn new(payload: P) -> Self
    where
        P: Payload,
    {
        Self::of_kind(payload::kind_of::<P>(), payload)
    }

    fn of_kind(kind: Kind, payload: P) -> Self {
        Self {
            payload,
            event_type: None,
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
            age: Duration::ZERO,
        }
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// Sets the inbox for follow-up events.
    #[must_use]
    pub fn with_inbox(self, inbox: Inbox) -> Self {
        Self {
            inbox: Some(inbox),
            ..self
        }
    }

    /// Sets the event type.
    #[must_use]
    pub fn with_event_type(self, event_type: impl Into<Option<EventType>>) -> Self {
        Self {
            event_type: event_type.into(),
            ..self
        }
    }

    /// Sets the headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// Sets the time of acceptance.
    #[must_use]
    pub fn with_accepted_at(self, accepted_at: SystemTime) -> Self {
        Self {
            accepted_at,
            ..self
        }
    }

    /// Sets the number of the attempt, from 1; zero counts as one. If the event has fewer attempts, this
    /// becomes the last one.
    #[must_use]
    pub fn on_attempt(mut self, number: u32) -> Self {
        let number = NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        self.lease.attempt = Attempt::new(number);
        self.max_attempts = self.max_attempts.max(number);
        self
    }

    /// Sets how many attempts the event has; zero counts as one.
    #[must_use]
    pub fn of_attempts(self, max_attempts: u32) -> Self {
        Self {
            max_attempts: NonZeroU32::new(max_attempts).unwrap_or(NonZeroU32::MIN),
            ..self
        }
    }

    /// Sets how long after its due time the event was claimed.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    /// Sets how long before the claim the event was accepted.
    #[must_use]
    pub fn with_age(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// Returns the id of the event.
    pub fn id(&self) -> EventId {
        self.lease.event
    }

    /// Returns the inbox of the pipeline, for events that follow from this one. `None` if the worker runs
    /// without a pipeline.
    pub fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// Returns the number of this attempt.
    pub fn attempt(&self) -> Attempt {
        self.lease.attempt
    }

    /// Whether the event fails for good if this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.lease.attempt.get() >= self.max_attempts
    }
}

/// The success of a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// The work is done: the worker settles the event as processed.
    #[default]
    Done,
    /// The handler has settled the event itself, in a transaction that is committed already.
    Settled,
}

impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// The failure of a handler.
///
/// `?` converts every type that converts into a boxed error to a retry: types that implement
/// [`std::error::Error`], `anyhow::Error`, and text. For that reason `HandlerError` does not implement
/// [`std::error::Error`] itself.
///
/// Two errors are equal if they have the same reason, the same details and the same consequence.
#[derive(Clone)]
pub struct HandlerError {
    pub(crate) reason: Reason,
    pub(crate) next: Next,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What happens after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again after the delay of the worker's backoff.
    Retry,
    /// Try again after this long.
    RetryAfter(Duration),
    /// Try again after this long, without counting this attempt.
    Postpone(Duration),
    /// Fail for good.
    Reject,
}

impl HandlerError {
    /// Try again, after the delay of [`WorkerOptions::backoff`].
    pub fn retry(reason: impl AsRef<str>) -> Self {
        Self::new(reason, Next::Retry)
    }

    /// Try again `after` this delay instead of that of [`WorkerOptions::backoff`]. The attempt is spent.
    pub fn retry_after(after: Duration, reason: impl AsRef<str>) -> Self {
        Self::new(reason, Next::RetryAfter(after))
    }

    /// Try again `after` this delay, without counting this attempt. For causes that have nothing to do with the
    /// event, such as a rate limit or a service that is known to be down.
    ///
    /// An event that is always postponed never fails. Choose the delay with care, since each attempt costs a
    /// claim and a settlement.
    pub fn postpone(after: Duration, reason: impl AsRef<str>) -> Self {
        Self::new(reason, Next::Postpone(after))
    }

    /// Fail the event for good, even if it has attempts left.
    pub fn reject(reason: impl AsRef<str>) -> Self {
        Self::new(reason, Next::Reject)
    }

    /// Returns the reason as text: the error and its causes, separated by colons.
    pub fn reason(&self) -> &str {
        self.reason.as_str()
    }

    /// Adds details, which are kept with the failed attempt: see [`Reason::with_details`]. A postponed attempt
    /// does not count, and its details are not kept.
    #[must_use]
    pub fn with_details(self, details: impl Into<Bytes>) -> Self {
        Self {
            reason: self.reason.with_details(details.into()),
            ..self
        }
    }

    /// Returns the details.
    pub fn details(&self) -> Option<&Bytes> {
        self.reason.details()
    }

    /// Returns the error that `?` converted. Its causes are its sources.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// Whether the event fails for good, even if it has attempts left.
    pub fn is_rejection(&self) -> bool {
        self.next == Next::Reject
    }

    /// Returns the delay that the handler chose; `None` if it chose none, or if the event fails for good.
    pub fn delay(&self) -> Option<Duration> {
        match self.next {
            Next::RetryAfter(after) | Next::Postpone(after) => Some(after),
            Next::Retry | Next::Reject => None,
        }
    }

    /// Whether the attempt does not count.
    pub fn is_postponement(&self) -> bool {
        matches!(self.next, Next::Postpone(_))
    }

    /// Puts `what` before the reason.
    pub(crate) fn prefixed(self, what: &str) -> Self {
        Self {
            reason: self.reason.prefixed(what),
            ..self
        }
    }

    fn new(reason: impl AsRef<str>, next: Next) -> Self {
        Self {
            reason: Reason::new(reason),
            next,
            source: None,
        }
    }
}

impl PartialEq for HandlerError {
    fn eq(&self, other: &Self) -> bool {
        self.reason == other.reason && self.next == other.next
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("reason", &self.reason())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let error: Arc<dyn Error + Send + Sync> = Arc::from(error.into());
        let reason = with_causes(&*error);
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
    fn errors_of_every_type_convert_to_retries_and_keep_their_causes() {
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
    fn errors_tell_their_reason_delay_and_consequence() {
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

    #[test]
    fn errors_keep_their_details() {
        let plain = HandlerError::reject("answered 404");
        assert_eq!(plain.details(), None);
        let detailed = plain.clone().with_details("{}");
        assert_ne!(detailed, plain);
        let prefixed = detailed.prefixed("failed to ship");
        assert_eq!(prefixed.reason(), "failed to ship: answered 404");
        assert_eq!(prefixed.details().unwrap(), "{}");
    }
}
