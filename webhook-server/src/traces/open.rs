//! [`Open`]: a span that has not ended.

use opentelemetry::trace::{Span as _, SpanContext, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;
use webhook_core::TraceParent;

/// A span that is recorded and has not ended. If it is dropped before its end, as with the future of a request
/// whose client has gone, it ends as `aborted`.
#[derive(Debug)]
pub(super) struct Open(Context);

impl Open {
    /// `None` if the span is not recorded.
    pub(super) fn new(span: Span) -> Option<Self> {
        let is_recorded = span.is_recording() && span.span_context().is_sampled();
        is_recorded.then(|| Self(Context::new().with_span(span)))
    }

    /// The context for what is done within the span.
    pub(super) fn context(&self) -> Context {
        self.0.clone()
    }

    pub(super) fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.0.span().set_attributes(attributes);
    }

    /// Says that it failed, and why, in a word of a small number.
    pub(super) fn fail(&self, error_type: impl Into<opentelemetry::Value>) {
        self.set([KeyValue::new("error.type", error_type)]);
        self.0.span().set_status(Status::error(""));
    }

    pub(super) fn end(self) {
        self.0.span().end();
    }

    /// The header for those who continue the trace.
    pub(super) fn traceparent(&self) -> Option<TraceParent> {
        of_span(self.0.span().span_context())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.span().is_recording() {
            self.fail("aborted");
            self.0.span().end();
        }
    }
}

/// The context of the span within which this thread works now, if there is one.
pub(crate) fn current() -> Option<TraceParent> {
    Context::map_current(|context| {
        let has_span = context.has_active_span();
        has_span.then(|| of_span(context.span().span_context()))?
    })
}

fn of_span(span: &SpanContext) -> Option<TraceParent> {
    let (trace_id, span_id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
    TraceParent::new(trace_id, span_id, span.is_sampled())
}
