//! One attempt at one event: runs the handler, and handles its failures.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::settler::Finished;
use super::slots::Slot;
use super::{Context, Served, span};
use crate::event::Key;
use crate::handler::{Event, Handled, Handler, HandlerError, Next};
use crate::headers::Headers;
use crate::measures::Age;
use crate::observer::{AttemptEnd, Observed};
use crate::panics::{logging, message};
use crate::scheduler::{Attempt, ClaimedEvent, Lease, Outcome, Reason, Settlement};

/// Decodes the payload of an event from its body and headers.
type Decode<P> = fn(&[u8], &Headers) -> Result<P, HandlerError>;

const HANDLED_ONCE: &str = "an attempt is handled once";

/// How the events of one kind are processed.
pub(super) struct Handling<P, H> {
    pub(super) decode: Decode<P>,
    pub(super) handler: H,
}

/// Starts attempts at the events of one kind. Hides the type of the payload.
pub(super) trait StartAttempt: Send + Sync {
    /// Starts an attempt at `claimed`. It occupies `slot` until it ends, and sends its settlement to
    /// `finished`. Without a slot, it waits for one first.
    fn start(
        self: Arc<Self>,
        context: &Arc<Context>,
        served: &Arc<Served>,
        claimed: ClaimedEvent,
        slot: Option<Slot>,
        finished: mpsc::Sender<Finished>,
    ) -> AbortHandle;
}

impl<P: Send + 'static, H: Handler<P>> StartAttempt for Handling<P, H> {
    fn start(
        self: Arc<Self>,
        context: &Arc<Context>,
        served: &Arc<Served>,
        claimed: ClaimedEvent,
        slot: Option<Slot>,
        finished: mpsc::Sender<Finished>,
    ) -> AbortHandle {
        let unsettled = Unsettled {
            context: Arc::clone(context),
            served: Arc::clone(served),
            lease: claimed.lease,
            age: Age::at_claim(claimed.age),
            finished,
            ended: false,
        };
        let mut claimed = Some(claimed);
        let attempt = context.attempts.spawn(async move {
            let Unsettled {
                context, served, ..
            } = &unsettled;
            let slot = match slot {
                Some(slot) => slot,
                None => tokio::select! {
                    biased;
                    () = context.stop.cancelled() => return unsettled.settle(Outcome::Release).await,
                    permit = served.free_slot() => served.slot(permit, None, None),
                },
            };
            match attempt(context, served, &*self, &mut claimed).await {
                Some(outcome) => unsettled.settle(outcome).await,
                None => unsettled.settled_by_handler(),
            }
            drop(slot);
        });
        attempt.abort_handle()
    }
}

/// An attempt whose settlement has not been sent to the settler yet.
///
/// Dropping it ends the attempt. Otherwise the heartbeat would go on renewing the lease of an event that nobody
/// processes.
struct Unsettled {
    context: Arc<Context>,
    served: Arc<Served>,
    lease: Lease,
    age: Age,
    finished: mpsc::Sender<Finished>,
    ended: bool,
}

impl Unsettled {
    async fn settle(mut self, outcome: Outcome) {
        let lease = self.lease;
        self.context.leases.ended(lease);
        let sent = self.finished.send(self.finished_with(outcome)).await;
        self.ended = true;
        if sent.is_err() {
            // The settler has given up, so the lease must expire.
            self.context.leases.forget([lease]);
        }
    }

    fn settled_by_handler(mut self) {
        self.ended = true;
        self.served
            .measured(&Outcome::Processed, self.lease, &self.age);
        self.context.leases.forget([self.lease]);
    }

    fn finished_with(&self, outcome: Outcome) -> Finished {
        Finished {
            settlement: Settlement {
                lease: self.lease,
                outcome,
            },
            served: Arc::clone(&self.served),
            age: self.age,
        }
    }

    /// The outcome of an attempt whose task ended early. A panic spends the attempt, so that an event that
    /// always causes a panic finally fails. A task that was aborted gives the attempt back.
    fn outcome(&self) -> Outcome {
        if std::thread::panicking() {
            let error = HandlerError::retry("attempt panicked outside its handler");
            self.served.outcome_of(self.lease.attempt, error)
        } else {
            Outcome::Release
        }
    }
}

impl Drop for Unsettled {
    /// Logs nothing: a second panic would end the process.
    fn drop(&mut self) {
        // A lost lease is not held any more; the event belongs to another worker.
        if self.ended {
            return;
        }
        if !self.context.leases.holds(self.lease) {
            self.served.measures.lost();
            return;
        }
        self.context.leases.ended(self.lease);
        let ended = match self.finished.try_send(self.finished_with(self.outcome())) {
            Ok(()) => return,
            Err(TrySendError::Full(ended)) => ended,
            Err(TrySendError::Closed(_)) => return self.context.leases.forget([self.lease]),
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let finished = self.finished.clone();
                let sending = async move {
                    // Fails only if the settler has given up, which forgets the lease.
                    let _ = finished.send(ended).await;
                };
                self.context.attempts.spawn_on(sending, &runtime);
            }
            Err(_) => self.context.leases.forget([self.lease]),
        }
    }
}

/// Runs the handler on the event that it takes out of `claimed`, and returns the outcome to settle; `None` if the
/// handler has settled it.
///
/// A future keeps what it takes by value beside what it hands on. The event is passed by reference, since the
/// futures of attempts, one for each event, are copied when they are spawned.
async fn attempt<P: Send + 'static, H: Handler<P>>(
    context: &Context,
    served: &Served,
    handling: &Handling<P, H>,
    claimed: &mut Option<ClaimedEvent>,
) -> Option<Outcome> {
    let ClaimedEvent {
        lease, key, lag, ..
    } = claimed.as_ref().expect(HANDLED_ONCE);
    let (lease, key, lag) = (*lease, key.clone(), *lag);
    let observed = Observed {
        kind: &served.kind,
        key: &key,
        attempt: Some((lease.event, lease.attempt)),
        lag,
    };
    let began = Instant::now();
    served.measures.started(lag);
    context.observe(|observer| observer.attempt_started(&observed));
    let outcome = outcome(context, served, handling, claimed, (lease.attempt, &key)).await;
    served.measures.ended(began.elapsed());
    AttemptEnd::with(outcome.as_ref().unwrap_or(&Outcome::Processed), |end| {
        context.observe(|observer| {
            observer.attempt_ended(&observed, end, began.elapsed());
            if let AttemptEnd::Failed { reason } = end {
                observer.event_failed(&observed, reason);
            }
        });
    });
    outcome
}

async fn outcome<P: Send + 'static, H: Handler<P>>(
    context: &Context,
    served: &Served,
    handling: &Handling<P, H>,
    claimed: &mut Option<ClaimedEvent>,
    (attempt, key): (Attempt, &Key),
) -> Option<Outcome> {
    let kind = &served.kind;
    let handling = pin!(handle(context, served, handling, claimed));
    let handling = span::within(kind, key, attempt, handling);
    let limit = served.options.handler_timeout;
    let error = tokio::select! {
        biased;
        handled = timeout(limit, handling) => match handled {
            Ok(Ok(Ok(Handled::Done))) => {
                logging(|| debug!(%kind, %key, %attempt, "processed"));
                return Some(Outcome::Processed);
            }
            Ok(Ok(Ok(Handled::Settled))) => {
                logging(|| debug!(%kind, %key, %attempt, "processed and settled by its handler"));
                return None;
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(panic)) => HandlerError::retry(format!("handler panicked: {}", message(&*panic))),
            Err(_) => HandlerError::retry(format!("handler took longer than {limit:?}")),
        },
        () = context.abandon.cancelled() => return Some(Outcome::Release),
    };
    let reason = error.reason.clone();
    let outcome = served.outcome_of(attempt, error);
    logging(|| log_failure(served, key, attempt, &reason, &outcome));
    Some(outcome)
}

async fn handle<P: Send + 'static, H: Handler<P>>(
    context: &Context,
    served: &Served,
    handling: &Handling<P, H>,
    claimed: &mut Option<ClaimedEvent>,
) -> Result<Handled, HandlerError> {
    let claimed = claimed.take().expect(HANDLED_ONCE);
    let payload = (handling.decode)(&claimed.body, &claimed.headers)
        .map_err(|error| error.prefixed("stored payload is unreadable"))?;
    let event = Event {
        payload,
        event_type: claimed.event_type,
        headers: claimed.headers,
        body: claimed.body,
        kind: served.kind.clone(),
        key: claimed.key,
        lease: claimed.lease,
        max_attempts: served.options.max_attempts,
        accepted_at: claimed.accepted_at,
        lag: claimed.lag,
        age: claimed.age,
        inbox: context.inbox.clone(),
    };
    handling.handler.handle(event).await
}

impl Served {
    /// Counts an attempt whose outcome is stored.
    pub(super) fn measured(&self, outcome: &Outcome, lease: Lease, age: &Age) {
        let max_attempts = self.options.max_attempts;
        self.measures
            .settled(outcome, lease.attempt, max_attempts, age);
    }

    /// The outcome of an attempt that ended with `error`.
    fn outcome_of(&self, attempt: Attempt, error: HandlerError) -> Outcome {
        let HandlerError { reason, next, .. } = error;
        let after = match next {
            Next::Postpone(after) => return Outcome::Postpone { after },
            Next::Reject => None,
            _ if attempt.get() >= self.options.max_attempts => None,
            Next::RetryAfter(after) => Some(after),
            Next::Retry => Some(self.options.backoff.delay(attempt.number())),
        };
        match after {
            Some(after) => Outcome::Retry { after, reason },
            None => Outcome::Failed { reason },
        }
    }
}

fn log_failure(served: &Served, key: &Key, attempt: Attempt, reason: &Reason, outcome: &Outcome) {
    let kind = &served.kind;
    let max_attempts = served.options.max_attempts;
    match outcome {
        Outcome::Retry { after, .. } => {
            warn!(%kind, %key, %attempt, %max_attempts, %reason, ?after, "attempt failed, will retry");
        }
        Outcome::Failed { .. } => {
            warn!(%kind, %key, %attempt, %max_attempts, %reason, "event failed");
        }
        Outcome::Postpone { after } => {
            // A destination that is throttled may postpone thousands.
            debug!(%kind, %key, %attempt, %reason, ?after, "attempt postponed");
        }
        Outcome::Processed | Outcome::Release => {}
    }
}
