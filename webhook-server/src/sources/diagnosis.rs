//! [`Diagnosis`]: finds out why requests are refused, beside the requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::http::request::Parts;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use webhook_sources::http::RequestParts;

use super::ActiveSource;
use super::refused::RefusedRequest;

/// How many requests of all sources may wait to be looked at.
const MAX_WAITING: usize = 32;

/// A longer body is not looked at.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Looks at refused requests, one after another, with little of the processor's time.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    waiting: mpsc::Sender<Job>,
    _task: AbortOnDropHandle<()>,
}

/// A request to look at.
#[derive(Debug)]
struct Job {
    source: Arc<ActiveSource>,
    head: Parts,
    body: Bytes,
    at: SystemTime,
    request: Arc<RefusedRequest>,
}

impl Diagnosis {
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(super) fn start() -> Self {
        let (waiting, mut jobs) = mpsc::channel::<Job>(MAX_WAITING);
        let task = tokio::spawn(async move {
            while let Some(job) = jobs.recv().await {
                // A panic would be a bug, and must end nothing else.
                let _ = tokio::task::spawn_blocking(move || job.run()).await;
            }
        });
        Self {
            waiting,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Records a request that `source` refuses for this reason, and looks for what causes it later, unless too
    /// many wait. `body` is `None` if it was not read.
    pub(crate) fn record(
        &self,
        source: &Arc<ActiveSource>,
        client: Option<IpAddr>,
        head: &Parts,
        body: Option<&Bytes>,
        status: u16,
        reason: String,
    ) {
        let request = RefusedRequest::of(source, client, head, body, status, reason);
        let request = Arc::new(request);
        source.activity.note_refused(Arc::clone(&request));
        let body = body.cloned().unwrap_or_default();
        if body.len() > MAX_BODY_BYTES || !source.limits.may_diagnose() {
            return;
        }
        if let Ok(place) = self.waiting.try_reserve() {
            place.send(Job {
                source: Arc::clone(source),
                head: head.clone(),
                body,
                at: request.at,
                request,
            });
        }
    }
}

impl Job {
    fn run(&self) {
        let parts = RequestParts::new(&self.head);
        let request = parts.request(&self.body);
        let former = self.source.former.as_deref();
        if let Some(hint) = self.source.source().diagnose(&request, self.at, former) {
            // It is set only here.
            let _ = self.request.hint.set(hint.to_string());
        }
    }
}
