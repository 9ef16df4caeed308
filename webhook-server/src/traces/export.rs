//! Exports spans by OTLP over HTTP, as protobuf.
//!
//! Spans wait in a bounded queue, and a task sends them in batches. Whoever ends a span never waits: a span that
//! does not fit into the queue is lost. A collector that does not answer costs one request at a time, with growing
//! delays between them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use opentelemetry::Context;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prost::Message as _;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use webhook_core::Backoff;
use webhook_forward::{Client, ClientOptions, Exchange};

use crate::config::Otel;

/// How often the log says how many spans were lost.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// How long the export of the last spans may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The delays between attempts to export a batch.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));

const USER_AGENT_VALUE: &str = concat!("webhook-server/", env!("CARGO_PKG_VERSION"));

/// The task that exports.
pub(super) struct Exporter {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Puts ended spans into the queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    spans: Sender<SpanData>,
    overflown: Arc<AtomicU64>,
}

impl Exporter {
    /// Exports spans of `resource` from now on.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(super) fn start(otel: &Otel, resource: &Resource) -> (Self, Queue) {
        let (spans, waiting) = mpsc::channel(otel.queue);
        let overflown = Arc::<AtomicU64>::default();
        let stop = CancellationToken::new();
        let client = Client::new({
            let mut options = ClientOptions::default();
            options.timeout = otel.timeout;
            options.connect_timeout = options.connect_timeout.min(otel.timeout);
            options.max_idle = 1;
            options
        });
        let export = Export {
            otel: otel.clone(),
            resource: resource.into(),
            client,
            waiting,
            stop: stop.clone(),
            losses: Losses {
                overflown: Arc::clone(&overflown),
                failed: 0,
                error: None,
                reported: None,
            },
        };
        let exporter = Self {
            stop,
            task: Mutex::new(Some(tokio::spawn(export.run()))),
        };
        (exporter, Queue { spans, overflown })
    }

    /// Exports what is in the queue, and ends, within [`SHUTDOWN_TIMEOUT`].
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        let task = {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.take()
        };
        if let Some(mut task) = task
            && timeout(SHUTDOWN_TIMEOUT, &mut task).await.is_err()
        {
            task.abort();
            warn!("the last spans were not exported in time, and are lost");
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.overflown.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What the task has.
struct Export {
    otel: Otel,
    resource: ResourceAttributesWithSchema,
    client: Client,
    waiting: Receiver<SpanData>,
    stop: CancellationToken,
    losses: Losses,
}

/// Spans that were lost since the log was told so last.
struct Losses {
    /// That did not fit into the queue.
    overflown: Arc<AtomicU64>,
    /// That the collector did not take.
    failed: u64,
    /// Why it did not.
    error: Option<String>,
    reported: Option<Instant>,
}

/// Why the collector did not take spans.
struct Refused {
    error: String,
    is_final: bool,
    retry_after: Option<Duration>,
}

impl Export {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            self.gather(&mut batch).await;
            if !batch.is_empty() {
                self.export(std::mem::take(&mut batch)).await;
            } else if self.stop.is_cancelled() {
                break;
            }
            self.losses.report(false);
        }
        self.losses.report(true);
    }

    /// Waits for spans: until there is a batch of them, or the first one has waited long enough. Returns none if losses
    /// are to be reported, or at the end.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) {
        let most = self.otel.batch;
        let due = self.losses.due();
        let report = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            count = self.waiting.recv_many(batch, most) => if count == 0 {
                // Nobody makes spans any more.
                self.stop.cancel();
            },
            () = self.stop.cancelled() => return,
            () = report => return,
        }
        let until = Instant::now() + self.otel.delay;
        while batch.len() < most {
            tokio::select! {
                biased;
                count = self.waiting.recv_many(batch, most - batch.len()) => if count == 0 {
                    return;
                },
                () = self.stop.cancelled() => return,
                () = sleep_until(until) => return,
            }
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let body = Bytes::from(body.encode_to_vec());
        let until = Instant::now() + self.otel.export_timeout;
        let mut failures = 0;
        loop {
            let sent = timeout_at(until, self.client.send(self.request(body.clone()))).await;
            let refused = match sent {
                Ok(exchange) => match outcome(&exchange) {
                    Ok(rejected) => return self.losses.add(rejected, None),
                    Err(refused) => refused,
                },
                Err(_) => return self.losses.add(count, Some("took too long".to_owned())),
            };
            failures += 1;
            let pause = BACKOFF.delay(failures);
            let pause = refused.retry_after.map_or(pause, |asked| asked.max(pause));
            let is_too_late = Instant::now() + pause >= until;
            if refused.is_final || is_too_late || self.stop.is_cancelled() {
                return self.losses.add(count, Some(refused.error));
            }
            tokio::select! {
                () = sleep(pause) => {}
                // One more attempt.
                () = self.stop.cancelled() => {}
            }
        }
    }

    fn request(&self, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.otel.endpoint.uri().clone();
        let headers = request.headers_mut();
        headers.extend(self.otel.headers.iter().cloned());
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        request
    }
}

/// How many spans the collector rejected, or why it took none.
fn outcome(exchange: &Exchange) -> Result<u64, Refused> {
    let answer = exchange.result.as_ref().map_err(|failure| Refused {
        error: failure.message.clone(),
        is_final: false,
        retry_after: None,
    })?;
    if answer.status.is_success() {
        let decoded = ExportTraceServiceResponse::decode(answer.body.clone());
        let partial = decoded.ok().and_then(|decoded| decoded.partial_success);
        let rejected = partial.map_or(0, |partial| partial.rejected_spans);
        return Ok(rejected.try_into().unwrap_or(0));
    }
    Err(Refused {
        error: format!("the collector answered {}", answer.status),
        // By the specification of OTLP, all others are final.
        is_final: !matches!(
            answer.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        retry_after: exchange.retry_after(),
    })
}

impl Losses {
    fn add(&mut self, failed: u64, error: Option<String>) {
        self.failed += failed;
        if failed > 0 {
            self.error = error.or_else(|| Some("the collector rejected a part".to_owned()));
        }
    }

    /// When there is something to report.
    fn due(&self) -> Option<Instant> {
        let is_none = self.failed == 0 && self.overflown.load(Ordering::Relaxed) == 0;
        let due = || {
            self.reported
                .map_or_else(Instant::now, |it| it + REPORT_INTERVAL)
        };
        (!is_none).then(due)
    }

    /// Logs losses, unless there are none or the last line about them is too recent.
    fn report(&mut self, is_last: bool) {
        if !self
            .due()
            .is_some_and(|due| is_last || due <= Instant::now())
        {
            return;
        }
        self.reported = Some(Instant::now());
        let overflown = self.overflown.swap(0, Ordering::Relaxed);
        warn!(
            not_taken = std::mem::take(&mut self.failed),
            overflown,
            error = self.error.take(),
            "spans were lost: the collector of OTEL_EXPORTER_OTLP_ENDPOINT did not take them, or not fast enough"
        );
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}
