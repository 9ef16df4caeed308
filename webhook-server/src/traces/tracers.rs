//! [`Traces`]: what makes the spans of a server.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use webhook_core::TraceParent;

use super::export::{Exporter, Queue};
use crate::config::{Config, Sampling, TraceProcess};

/// The semantic conventions that names and values of attributes are from. Change them together with the table in
/// docs/operating.md.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Makes spans, and has them exported.
pub(crate) struct Traces {
    /// Begins traces, as many as are sampled.
    pub(super) roots: SdkTracer,
    /// Continues traces that are sampled.
    pub(super) followers: SdkTracer,
    pub(super) process: TraceProcess,
    /// Whether spans have the keys of events.
    pub(super) shows_keys: bool,
    /// `https`, or `http`.
    pub(super) scheme: &'static str,
    exporter: Exporter,
}

impl Traces {
    /// Starts what `config` asks for. `None` if no spans are exported.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime, unless no spans are exported.
    pub(crate) fn start(config: &Config) -> Option<Arc<Self>> {
        let otel = config.otel.as_ref()?;
        let sampler = match otel.sampling {
            Sampling::All => Sampler::AlwaysOn,
            Sampling::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
            Sampling::None => return None,
        };
        let attributes = otel.resource.iter();
        let attributes = attributes.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let resource = Resource::builder().with_attributes(attributes).build();
        let (exporter, queue) = Exporter::start(otel, &resource);
        let tracer = |sampler: Sampler, queue: Queue| {
            let provider = SdkTracerProvider::builder()
                .with_sampler(sampler)
                // Whoever makes spans exports them with the resource of the exporter.
                .with_resource(Resource::builder_empty().build())
                .with_span_processor(queue)
                .build();
            let scope = InstrumentationScope::builder("webhook-server")
                .with_version(env!("CARGO_PKG_VERSION"))
                .with_schema_url(SCHEMA_URL);
            provider.tracer_with_scope(scope.build())
        };
        Some(Arc::new(Self {
            roots: tracer(sampler, queue.clone()),
            followers: tracer(Sampler::AlwaysOn, queue),
            process: config.trace_process,
            shows_keys: config.trace_keys,
            scheme: if config.tls.is_set() { "https" } else { "http" },
            exporter,
        }))
    }

    /// Exports the spans that have ended, within a few seconds. Later ones are lost.
    pub(crate) async fn shutdown(&self) {
        self.exporter.shutdown().await;
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// The context that a header states, which may be anybody's.
pub(super) fn remote(parent: &TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(parent.trace_id()),
        SpanId::from_bytes(parent.span_id()),
        TraceFlags::NOT_SAMPLED.with_sampled(parent.is_sampled()),
        true,
        TraceState::NONE,
    )
}

/// The beginning of `text`, for attributes that a stranger chooses.
pub(super) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 256;
    text.chars().take(MAX_CHARS).collect()
}
