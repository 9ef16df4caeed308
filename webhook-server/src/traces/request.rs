//! The span of a request: `SERVER`.

use std::future::Future;
use std::net::IpAddr;

use hyper::Method;
use hyper::header::USER_AGENT;
use hyper::http::request::Parts;
use opentelemetry::trace::{FutureExt as _, Span as _, SpanKind, Tracer as _};
use opentelemetry::{Context, KeyValue};
use webhook_core::TraceParent;

use super::Traces;
use super::open::Open;
use super::tracers::{remote, shortened};
use crate::http::Answer;

/// The routes of senders and readers. What probes and operators ask for is not traced.
const ROUTES: [(&str, &str); 4] = [
    ("/v1/webhooks/transactions", "/v1/webhooks/transactions"),
    ("/v1/webhooks/", "/v1/webhooks/{source}"),
    ("/v1/transactions/", "/v1/transactions/{id}"),
    ("/v1/events/", "/v1/events/{source}/{id}"),
];

impl Traces {
    /// Answers a request within a span of its own, if it is traced.
    pub(crate) async fn request(
        &self,
        head: &Parts,
        client: Option<IpAddr>,
        answering: impl Future<Output = Answer>,
    ) -> Answer {
        let Some(span) = self.start_request(head, client) else {
            return answering.await;
        };
        let answer = answering.with_context(span.context()).await;
        let status = answer.status();
        span.set([KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        )]);
        // By the conventions, an answer 4xx is no error of the server.
        if status.is_server_error() {
            span.fail(status.as_str().to_owned());
        }
        span.end();
        answer
    }

    fn start_request(&self, head: &Parts, client: Option<IpAddr>) -> Option<Open> {
        let path = head.uri.path();
        let mut routes = ROUTES.into_iter();
        let (_, route) = routes.find(|(prefix, _)| path.starts_with(prefix))?;
        // The parent is nobody's: a stranger must not choose what is recorded, nor join what is told to others.
        let builder = self
            .roots
            .span_builder("request")
            .with_kind(SpanKind::Server);
        let mut span = self.roots.build_with_context(builder, &Context::new());
        if !span.is_recording() {
            return None;
        }
        let method = known(&head.method);
        span.update_name(format!("{} {route}", method.unwrap_or("HTTP")));
        // A source is no secret, and everything behind it in a path is an id of an event.
        let has_key = !route.starts_with("/v1/webhooks/");
        let shown = if has_key && !self.shows_keys {
            route
        } else {
            path
        };
        span.set_attributes([
            KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
            KeyValue::new("http.route", route),
            KeyValue::new("url.path", shortened(shown)),
            KeyValue::new("url.scheme", self.scheme),
            KeyValue::new("network.protocol.version", "1.1"),
        ]);
        if let Some(client) = client {
            span.set_attribute(KeyValue::new("client.address", client.to_string()));
        }
        let agent = head.headers.get(USER_AGENT);
        if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
            span.set_attribute(KeyValue::new("user_agent.original", shortened(agent)));
        }
        if let Some(sender) = context_of_sender(head) {
            span.add_link(remote(&sender), Vec::new());
        }
        Open::new(span)
    }
}

/// What the sender says about its own trace. Several headers say nothing (W3C Trace Context, section 3.2).
fn context_of_sender(head: &Parts) -> Option<TraceParent> {
    let mut values = head.headers.get_all("traceparent").iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceParent::parse(value.to_str().ok()?)
}

/// The method, if the conventions know it: clients may make up others.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
