//! The span of the acceptance of events: `PRODUCER`. Its context is stored with them.

use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use webhook_core::{Accepted, Error, ErrorKind, Key, Kind};

use super::Traces;
use super::attempt::messaging;
use super::open::Open;

/// Events that are being made durable.
#[derive(Debug)]
pub(crate) struct Sending(Open);

impl Sending {
    /// Begins with `count` events of `kind`. `None` if this request is not traced.
    pub(crate) fn begin(traces: Option<&Traces>, kind: &Kind, count: usize) -> Option<Self> {
        let traces = traces?;
        let request = Context::current();
        if !request.has_active_span() {
            return None;
        }
        let mut attributes = messaging(kind, "send", "send");
        if count != 1 {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("messaging.batch.message_count", count));
        }
        let builder = traces
            .followers
            .span_builder(format!("send {kind}"))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes);
        Open::new(traces.followers.build_with_context(builder, &request)).map(Self)
    }

    /// What is stored with the events, as
    /// [`TraceParent::STORED_HEADER`](webhook_core::TraceParent::STORED_HEADER).
    pub(crate) fn context(&self) -> Option<String> {
        self.0.traceparent().map(|context| context.to_string())
    }

    /// Ends with the key of the only event, if the configuration allows to tell it, and with what came of the events.
    pub(crate) fn end(
        self,
        traces: Option<&Traces>,
        key: Option<&Key>,
        accepted: Result<&[Accepted], &Error>,
    ) {
        if let Some(key) = key.filter(|_| traces.is_some_and(|traces| traces.shows_keys)) {
            self.0.set([KeyValue::new("webhook.key", key.to_string())]);
        }
        match accepted {
            Ok([one]) => self.0.set([KeyValue::new("webhook.outcome", word(*one))]),
            Ok(_) => {}
            Err(error) => self.0.fail(match error.kind() {
                ErrorKind::Invalid => "invalid",
                ErrorKind::Temporary => "unavailable",
                _ => "internal",
            }),
        }
        self.0.end();
    }
}

const fn word(accepted: Accepted) -> &'static str {
    match accepted {
        Accepted::New => "accepted",
        Accepted::Duplicate => "duplicate",
        Accepted::Conflict => "conflict",
        Accepted::Requeued => "requeued",
    }
}
