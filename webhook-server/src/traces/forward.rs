//! The span of a request that forwards an event: `CLIENT`. The app gets its context.

use bytes::Bytes;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use webhook_core::RawEvent;
use webhook_forward::{Exchange, RequestSpan, RequestTracer};

use super::Traces;
use super::open::Open;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

impl RequestTracer for Traces {
    fn start(&self, _: &RawEvent, request: &mut Request<Bytes>) -> Option<Box<dyn RequestSpan>> {
        let attempt = Context::current();
        if !attempt.has_active_span() {
            return None;
        }
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        let port = match (uri.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, "https") => 443,
            (None, _) => 80,
        };
        // Without its query, as everywhere: it may hold a secret.
        let authority = uri.authority().map_or("", |it| it.as_str());
        let url = format!("{scheme}://{authority}{}", uri.path());
        let attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("server.address", host.trim_matches(['[', ']']).to_owned()),
            KeyValue::new("server.port", i64::from(port)),
            KeyValue::new("url.full", url),
        ];
        let builder = self
            .followers
            .span_builder("POST")
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        let span = Open::new(self.followers.build_with_context(builder, &attempt))?;
        let context = span.traceparent()?;
        let context = HeaderValue::try_from(context.to_string()).ok()?;
        let headers = request.headers_mut();
        headers.insert(TRACEPARENT, context);
        // That of a sender, which belongs to another trace.
        headers.remove(TRACESTATE);
        Some(Box::new(Forwarding(span)))
    }
}

/// A request under way.
struct Forwarding(Open);

impl RequestSpan for Forwarding {
    fn end(self: Box<Self>, exchange: &Exchange) {
        let Self(span) = *self;
        if let Some(peer) = exchange.peer {
            span.set([
                KeyValue::new("network.peer.address", peer.ip().to_string()),
                KeyValue::new("network.peer.port", i64::from(peer.port())),
            ]);
        }
        match &exchange.result {
            Ok(answer) => {
                let status = answer.status;
                let code = i64::from(status.as_u16());
                span.set([KeyValue::new("http.response.status_code", code)]);
                if status.is_client_error() || status.is_server_error() {
                    span.fail(status.as_str().to_owned());
                }
            }
            Err(failure) => span.fail(failure.class.as_str()),
        }
        span.end();
    }
}
