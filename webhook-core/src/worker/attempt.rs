//! One attempt at one event: its handler, and what may go wrong in it.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Context;
use crate::event::Key;
use crate::handler::{Event, Handled, Handler, HandlerError, Remedy};
use crate::payload::Payload;
use crate::scheduler::{Attempt, ClaimedEvent, Outcome, Reason};

/// Runs the handler on `claimed` and says how to settle; `None` where the handler has done so.
pub(super) async fn run<P: Payload>(
    context: &Context,
    handler: &impl Handler<P>,
    claimed: ClaimedEvent,
) -> Option<Outcome> {
    let attempt = claimed.lease.attempt;
    let key = claimed.key.clone();
    let handling = AssertUnwindSafe(handle(handler, claimed)).catch_unwind();
    let limit = context.options.handler_timeout;
    let error = tokio::select! {
        biased;
        handled = timeout(limit, handling) => match handled {
            Ok(Ok(Ok(Handled::Done))) => {
                debug!(kind = %context.kind, %key, %attempt, "processed");
                return Some(Outcome::Processed);
            }
            Ok(Ok(Ok(Handled::Settled))) => {
                debug!(kind = %context.kind, %key, %attempt, "processed and settled by its handler");
                return None;
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(panic)) => HandlerError::retry(format!("handler panicked: {}", message(&*panic))),
            Err(_) => HandlerError::retry(format!("handler took longer than {limit:?}")),
        },
        () = context.abandon.cancelled() => return Some(Outcome::Release),
    };
    Some(remedy(context, &key, attempt, error))
}

async fn handle<P: Payload>(
    handler: &impl Handler<P>,
    claimed: ClaimedEvent,
) -> Result<Handled, HandlerError> {
    let payload = P::decode(&claimed.body)
        .map_err(|error| HandlerError::reject(format!("stored payload is unreadable: {error}")))?;
    let event = Event {
        payload,
        key: claimed.key,
        lease: claimed.lease,
        lag: claimed.lag,
    };
    handler.handle(event).await
}

/// What is to become of an event whose attempt failed.
fn remedy(context: &Context, key: &Key, attempt: Attempt, error: HandlerError) -> Outcome {
    let HandlerError { reason, remedy } = error;
    let max_attempts = context.options.max_attempts;
    let after = match remedy {
        Remedy::Reject => None,
        _ if attempt.0 >= max_attempts => None,
        Remedy::RetryAfter(after) => Some(after),
        Remedy::Retry => Some(context.options.backoff.delay(attempt.number())),
    };
    let kind = &context.kind;
    match after {
        Some(after) => {
            warn!(%kind, %key, %attempt, %max_attempts, %reason, ?after, "attempt failed, will retry");
            Outcome::Retry { after, reason }
        }
        None => {
            warn!(%kind, %key, %attempt, %max_attempts, %reason, "event failed");
            Outcome::Failed { reason }
        }
    }
}

/// The words of a panic, as far as it has any.
fn message(panic: &(dyn Any + Send)) -> Reason {
    Reason::new(
        panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no message)"),
    )
}
