//! [`Traced`]: a handler whose attempts are traced.

use std::sync::Arc;

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
    async fn handle(&self, event: Event<P>) -> Result<Handled, HandlerError> {
        self.handler.handle(event).await
    }

    #[cfg(feature = "otel")]
    async fn handle(&self, event: Event<P>) -> Result<Handled, HandlerError> {
        let span = self.traces.as_ref().and_then(|it| it.attempt(&event));
        match span {
            Some(span) => super::attempt::within(span, event, &self.handler).await,
            None => self.handler.handle(event).await,
        }
    }

    fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
        self.handler.claim_limit()
    }
}
