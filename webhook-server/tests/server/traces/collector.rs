//! A collector of OTLP.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use crate::forwarding::receiver::Receiver;
use crate::support::process::Starter;

/// Takes spans.
pub(super) struct Collector {
    pub(super) receiver: Receiver,
    spans: Vec<Collected>,
}

/// A span, and what it came with.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    pub(super) span: Span,
    pub(super) resource: BTreeMap<String, String>,
    pub(super) scope: InstrumentationScope,
    pub(super) schema_url: String,
}

impl Collector {
    pub(super) async fn start() -> Self {
        Self {
            receiver: Receiver::start().await,
            spans: Vec::new(),
        }
    }

    /// Has `server` export to it, without delay.
    pub(super) fn of(&self, server: Starter) -> Starter {
        server
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.receiver.url(""))
            .env("OTEL_BSP_SCHEDULE_DELAY", "10")
    }

    /// Whether it got no request.
    pub(super) fn is_unused(&self) -> bool {
        self.receiver.is_unused()
    }

    /// Waits for a span of this name that was not taken before.
    pub(super) async fn next(&mut self, name: &str) -> Collected {
        loop {
            if let Some(at) = self.spans.iter().position(|it| it.span.name == name) {
                return self.spans.remove(at);
            }
            let received = self.receiver.next().await;
            assert_eq!(received.target, "/v1/traces");
            assert_eq!(received.header("content-type"), "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(received.body).unwrap();
            for of_resource in request.resource_spans {
                let resource = attributes(&of_resource.resource.unwrap().attributes);
                for of_scope in of_resource.scope_spans {
                    let scope = of_scope.scope.unwrap();
                    self.spans
                        .extend(of_scope.spans.into_iter().map(|span| Collected {
                            span,
                            resource: resource.clone(),
                            scope: scope.clone(),
                            schema_url: of_scope.schema_url.clone(),
                        }));
                }
            }
        }
    }
}

impl Collected {
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        attributes(&self.span.attributes)
    }

    pub(super) fn is(&self, kind: SpanKind) -> bool {
        self.span.kind == i32::from(kind)
    }

    /// The value of the header that states it.
    pub(super) fn traceparent(&self) -> String {
        let [trace_id, span_id] = [&self.span.trace_id, &self.span.span_id].map(hex::encode);
        format!("00-{trace_id}-{span_id}-01")
    }

    /// The ids of what it links to.
    pub(super) fn links(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let links = self.span.links.iter();
        links
            .map(|it| (it.trace_id.clone(), it.span_id.clone()))
            .collect()
    }

    pub(super) fn ids(&self) -> (Vec<u8>, Vec<u8>) {
        (self.span.trace_id.clone(), self.span.span_id.clone())
    }

    /// Asserts that it is a part of `parent`.
    #[track_caller]
    pub(super) fn assert_child_of(&self, parent: &Self) {
        let span = &self.span;
        let of_parent = (span.trace_id.clone(), span.parent_span_id.clone());
        assert_eq!(of_parent, parent.ids(), "{self:?}");
    }

    /// Asserts that it has these attributes.
    #[track_caller]
    pub(super) fn assert_has(&self, expected: &[(&str, &str)]) {
        let attributes = self.attributes();
        for (name, value) in expected {
            let found = attributes.get(*name).map(String::as_str);
            assert_eq!(found, Some(*value), "{name}: {attributes:?}");
        }
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    };
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(pair).unwrap()))
        .collect()
}
