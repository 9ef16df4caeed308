//! [`Traced`]: a handler whose attempts are traced.

use std::sync::Arc;

#[cfg(feature = "otel")]
use futures_util::FutureExt as _;
use webhook_core::{ClaimLimit, Event, Handled, Handler, HandlerError};

use super::Traces;

/// A handler whose attempts are traced, where the acceptance of their events was.
#[derive(Clone, Debug)]
pub(crate) struct Traced<H> {
    handler: H,
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "it is always none"))]
    traces: Option<Arc<Traces>>,
}

impl<H> Traced<H> {
    pub(crate) const fn new(handler: H, traces: Option<Arc<Traces>>) -> Self {
        Self { handler, traces }
    }
}

impl<P: Send + 'static, H: Handler<P>> Handler<P> for Traced<H> {
    #[cfg(not(feature = "otel"))]
    fn handle(
        &self,
        event: Event<P>,
    ) -> impl Future<Output = Result<Handled, HandlerError>> + Send {
        self.handler.handle(event)
    }

    // The future has no room for a trace, which few attempts have: the futures of attempts are copied when they are
    // spawned.
    #[cfg(feature = "otel")]
    fn handle(
        &self,
        event: Event<P>,
    ) -> impl Future<Output = Result<Handled, HandlerError>> + Send {
        let span = self.traces.as_ref().and_then(|it| it.attempt(&event));
        match span {
            Some(span) => {
                Box::pin(super::attempt::within(span, event, &self.handler)).right_future()
            }
            None => self.handler.handle(event).left_future(),
        }
    }

    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        self.handler.claim_limit()
    }
}
