//! Hooks for the traces of requests.

use bytes::Bytes;
use http::Request;
use webhook_core::RawEvent;

use crate::client::Exchange;

/// Traces the requests of a [`Forwarder`](crate::Forwarder), which
/// [`Forwarder::with_tracer`](crate::Forwarder::with_tracer) registers.
///
/// The forwarder waits for each call, so methods must be quick and must not block.
pub trait RequestTracer: Send + Sync + 'static {
    /// Called before the request of an attempt at `event` is sent. May set headers, such as `traceparent`.
    ///
    /// Returns the span of the request, or `None` if it is not traced.
    fn start(&self, event: &RawEvent, request: &mut Request<Bytes>)
    -> Option<Box<dyn RequestSpan>>;
}

/// The span of a request.
///
/// It is dropped without a call of [`end`](Self::end) if the attempt is aborted.
pub trait RequestSpan: Send {
    /// Called when the exchange is over.
    fn end(self: Box<Self>, exchange: &Exchange);
}
