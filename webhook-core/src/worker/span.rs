//! The tracing span of an attempt, which has the log lines of its handler.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use tracing::{Span, info_span};

use crate::event::{Key, Kind};
use crate::panics::logging;
use crate::scheduler::Attempt;

/// Runs `handling` in a span named `attempt`, with the fields `kind`, `key` and `attempt`, and catches its
/// panics. Panics of the log subscriber have no effect.
pub(super) async fn within<F: Future>(
    kind: &Kind,
    key: &Key,
    attempt: Attempt,
    mut handling: Pin<&mut F>,
) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut span = Span::none();
    logging(|| span = info_span!("attempt", %kind, %key, %attempt));
    let ended = poll_fn(|context| {
        let mut entered = None;
        logging(|| entered = Some(span.enter()));
        let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(context)));
        logging(|| drop(entered));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(handled)) => Poll::Ready(Ok(handled)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    logging(|| drop(span));
    ended
}
