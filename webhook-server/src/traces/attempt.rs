//! The span of an attempt at an event: `CONSUMER`.

use opentelemetry::trace::{FutureExt as _, Link, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use webhook_core::{Event, Handled, Handler, HandlerError, Kind, TraceParent};

use super::Traces;
use super::open::Open;
use super::tracers::remote;
use crate::config::TraceProcess;

impl Traces {
    /// The span of an attempt at `event`. `None` if its acceptance was not recorded.
    pub(super) fn attempt<P>(&self, event: &Event<P>) -> Option<Open> {
        let accepted = TraceParent::stored_in(&event.headers).filter(TraceParent::is_sampled)?;
        let accepted = remote(&accepted);
        let kind = &event.kind;
        let mut attributes = messaging(kind, "process", "process");
        let number = i64::from(event.attempt().number());
        let body_bytes = i64::try_from(event.body.len()).unwrap_or(i64::MAX);
        attributes.extend([
            KeyValue::new("messaging.message.id", event.id().get().to_string()),
            KeyValue::new("messaging.message.body.size", body_bytes),
            KeyValue::new("webhook.attempt", number),
        ]);
        if self.shows_keys {
            attributes.push(KeyValue::new("webhook.key", event.key.to_string()));
        }
        let builder = self
            .followers
            .span_builder(format!("process {kind}"))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes);
        let (builder, parent) = match self.process {
            TraceProcess::Linked => {
                let link = Link::with_context(accepted);
                (builder.with_links(vec![link]), Context::new())
            }
            TraceProcess::Child => (builder, Context::new().with_remote_span_context(accepted)),
        };
        Open::new(self.followers.build_with_context(builder, &parent))
    }
}

/// Runs the handler within the span.
pub(super) async fn within<P, H: Handler<P>>(
    span: Open,
    event: Event<P>,
    handler: &H,
) -> Result<Handled, HandlerError> {
    let is_last = event.is_last_attempt();
    let handled = handler.handle(event).with_context(span.context()).await;
    // Reasons may quote what a stranger or the app sent.
    let (outcome, error_type) = match &handled {
        Ok(_) => ("processed", None),
        Err(error) if error.is_postponement() => ("postponed", None),
        Err(error) if error.is_rejection() => ("failed", Some("rejected")),
        Err(_) if is_last => ("failed", Some("attempts_spent")),
        Err(_) => ("retried", Some("handler_error")),
    };
    span.set([KeyValue::new("webhook.outcome", outcome)]);
    if let Some(error_type) = error_type {
        span.fail(error_type);
    }
    span.end();
    handled
}

/// The attributes that all operations with events have.
pub(super) fn messaging(kind: &Kind, name: &'static str, operation: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "webhook_inbox"),
        KeyValue::new("messaging.destination.name", kind.to_string()),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", operation),
    ]
}
