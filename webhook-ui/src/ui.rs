//! [`Ui`]: the service.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use webhook_core::{Admin, Store};

use crate::access::{Access, ClientAddr, NoAccess};
use crate::api::documents::Documents;
use crate::data::{Exports, LatestCounts};
use crate::instance::{Instance, NoInstance};
use crate::jobs::Jobs;
use crate::model::Time;
use crate::session::{self, Sessions};
use crate::stream::Streams;
use crate::{Problem, UiBody, api};

/// The longest body of a request, except that of an edited replay, which may be as long as its source allows.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Where strangers may send a body.
const SIGN_IN_PATH: &str = "/dashboard/sign-in";

/// The longest body there: a token, a path and the token of a form.
const MAX_SIGN_IN_BYTES: usize = 8 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin API and the dashboard, as one service. Clones share everything.
#[derive(Clone)]
pub struct Ui(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    admin: Arc<dyn Admin>,
    instance: Arc<dyn Instance>,
    access: Arc<dyn Access>,
    mount: String,
    sessions: Sessions,
    jobs: Jobs,
    #[cfg(feature = "dashboard")]
    dashboard: crate::dashboard::Dashboard,
    streams: Streams,
    exports: Exports,
    latest_counts: LatestCounts,
    documents: Documents,
    /// What the process around it describes of its own routes.
    described: Option<Value>,
    /// Which sources were paused or resumed here, and when.
    pauses: Mutex<HashMap<String, (bool, Time)>>,
    /// What the tokens of forms are made of. It changes when the process starts again.
    form_secret: [u8; 32],
}

/// Builds a [`Ui`].
pub struct UiBuilder {
    store: Arc<dyn Store>,
    admin: Arc<dyn Admin>,
    instance: Arc<dyn Instance>,
    access: Arc<dyn Access>,
    mount: String,
    described: Option<Value>,
}

impl UiBuilder {
    /// Adds the description of other routes to the OpenAPI document, such as those that senders use: an object with
    /// `paths`, `components.schemas` and `tags` of OpenAPI 3.1.
    #[must_use]
    pub fn also_describe(self, described: Value) -> Self {
        Self {
            described: Some(described),
            ..self
        }
    }

    /// Sets what the process around the inbox knows. Default: [`NoInstance`].
    #[must_use]
    pub fn instance(self, instance: Arc<dyn Instance>) -> Self {
        Self { instance, ..self }
    }

    /// Sets who may make requests. Default: nobody.
    #[must_use]
    pub fn access(self, access: Arc<dyn Access>) -> Self {
        Self { access, ..self }
    }

    /// Sets the path below which the service is mounted, such as `/inbox`. Requests may have paths with it, or without
    /// it where a router has removed it; links always have it. Default: none.
    #[must_use]
    pub fn mounted_at(self, path: &str) -> Self {
        let path = path.trim_matches('/');
        let mount = match path {
            "" => String::new(),
            path => format!("/{path}"),
        };
        Self { mount, ..self }
    }

    /// Builds the service.
    pub fn build(self) -> Ui {
        let mut form_secret = [0; 32];
        if let Err(error) = getrandom::fill(&mut form_secret) {
            // Forms are refused by their origin all the same, and signing in needs random bytes.
            tracing::error!(%error, "failed to get random bytes");
        }
        Ui(Arc::new(Inner {
            store: self.store,
            admin: self.admin,
            instance: self.instance,
            access: self.access,
            mount: self.mount,
            sessions: Sessions::default(),
            jobs: Jobs::default(),
            #[cfg(feature = "dashboard")]
            dashboard: crate::dashboard::Dashboard::default(),
            streams: Streams::default(),
            exports: Exports::default(),
            latest_counts: LatestCounts::default(),
            documents: Documents::default(),
            described: self.described,
            pauses: Mutex::default(),
            form_secret,
        }))
    }
}

impl Ui {
    /// Builds a service for the events of `store` and `admin`, which must be of the same backend.
    pub fn builder(store: Arc<dyn Store>, admin: Arc<dyn Admin>) -> UiBuilder {
        UiBuilder {
            store,
            admin,
            instance: Arc::new(NoInstance),
            access: Arc::new(NoAccess),
            mount: String::new(),
            described: None,
        }
    }

    /// Answers a request. If its extensions have a [`ClientAddr`], that is the address of the client.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, an action may be done completely or not at all. Its audit record says so.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<UiBody>
    where
        B: Body,
    {
        let (head, body) = request.into_parts();
        let path = self.path(&head).to_owned();
        let body = match head.method {
            // Who may not write gets the same answer to any body, so none is read.
            Method::POST if !body.is_end_stream() && self.reads_body(&head) => {
                read(body, self.max_body_bytes(&path)).await
            }
            _ => Ok(Bytes::new()),
        };
        let answer = match body {
            Ok(body) => self.answer(&head, &path, body).await,
            Err(problem) => Err(problem),
        };
        answer.unwrap_or_else(Problem::into_response)
    }

    async fn answer(
        &self,
        head: &Parts,
        path: &str,
        body: Bytes,
    ) -> Result<Response<UiBody>, Problem> {
        #[cfg(feature = "dashboard")]
        if let Some(path) = path.strip_prefix("/dashboard")
            && (path.is_empty() || path.starts_with('/'))
        {
            return Ok(crate::dashboard::respond(self, head, path, body).await);
        }
        api::respond(self, head, path, body).await
    }

    /// Ends the streams and the exports, which would otherwise keep a server from stopping, and the jobs that run: each one
    /// stops after the events that it is at, and leaves its audit record. Further jobs are refused. An app calls it when
    /// it begins to stop, and closes its store afterwards.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; what runs ends all the same.
    pub async fn shutdown(&self) {
        self.0.jobs.stop().await;
    }

    /// Whether streams, exports and jobs have to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.jobs.is_stopping() || self.0.instance.is_stopping()
    }

    /// The OpenAPI document, which `GET /openapi.json` returns as well.
    pub fn openapi(&self) -> Value {
        crate::openapi::of_all(self)
    }

    /// Whether `path` is one of this service: for an app that routes by hand.
    pub fn serves(&self, path: &str) -> bool {
        let path = path.strip_prefix(&*self.0.mount).unwrap_or(path);
        let is_below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_below("/v1/operator")
            || matches!(path, "/openapi.json" | "/docs")
            || cfg!(feature = "dashboard") && is_below("/dashboard")
    }

    /// The path of a request below the mount.
    fn path<'h>(&self, head: &'h Parts) -> &'h str {
        let path = head.uri.path();
        match path.strip_prefix(&*self.0.mount) {
            Some(below) if below.starts_with('/') => below,
            _ => path,
        }
    }

    /// Whether the body of a POST with this head is read: strangers can send one only to sign in.
    pub fn reads_body(&self, head: &Parts) -> bool {
        self.path(head).trim_end_matches('/') == SIGN_IN_PATH || session::is_admitted(self, head)
    }

    /// The longest body that a POST to `path` may have, which is below the mount; longer ones get 413.
    pub fn max_body_bytes(&self, path: &str) -> usize {
        if path.trim_end_matches('/') == SIGN_IN_PATH {
            return MAX_SIGN_IN_BYTES;
        }
        api::replayed_source(path).map_or(MAX_BODY_BYTES, |source| {
            // An edited body may be written in Base64, or percent-encoded in a form.
            let limit = self.instance().max_body_bytes(&source);
            limit.saturating_mul(3).saturating_add(MAX_BODY_BYTES)
        })
    }

    /// What the paths of links begin with: `/inbox`, or nothing.
    pub(crate) fn mount(&self) -> &str {
        &self.0.mount
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    pub(crate) fn admin(&self) -> &dyn Admin {
        &*self.0.admin
    }

    pub(crate) fn instance(&self) -> &dyn Instance {
        &*self.0.instance
    }

    pub(crate) fn access(&self) -> &dyn Access {
        &*self.0.access
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    #[cfg(feature = "dashboard")]
    pub(crate) fn dashboard(&self) -> &crate::dashboard::Dashboard {
        &self.0.dashboard
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.0.exports
    }

    pub(crate) fn latest_counts(&self) -> &LatestCounts {
        &self.0.latest_counts
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.0.documents
    }

    /// What the process around it describes of its own routes.
    pub(crate) fn described(&self) -> Option<&Value> {
        self.0.described.as_ref()
    }

    /// Which sources were paused (true) or resumed (false) here, and when: samples learn of it later.
    pub(crate) fn pauses(&self) -> MutexGuard<'_, HashMap<String, (bool, Time)>> {
        self.0.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the forms of a session must send.
    pub(crate) fn form_token(&self, session: &[u8; 32]) -> String {
        let digest = Sha256::new()
            .chain_update(self.0.form_secret)
            .chain_update(session);
        hex::encode(digest.finalize())
    }

    /// The address of the client of a request, where it is known.
    pub(crate) fn client(&self, head: &Parts) -> Option<IpAddr> {
        head.extensions.get::<ClientAddr>().map(|it| it.0)
    }
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui")
            .field("mount", &self.0.mount)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UiBuilder")
            .field("mount", &self.mount)
            .finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for Ui
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<UiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<UiBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ui = self.clone();
        Box::pin(async move { Ok(ui.respond(request).await) })
    }
}

/// Reads all of a body of at most `limit` bytes.
async fn read<B: Body>(body: B, limit: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_long(limit));
    }
    let collected = async {
        let mut body = pin!(body);
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.as_mut().frame().await {
            let frame =
                frame.map_err(|_| Problem::bad_request("Body incomplete or badly framed"))?;
            // Trailers are ignored.
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.remaining() > limit {
                return Err(Problem::too_long(limit));
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                bytes.extend_from_slice(chunk);
                let read = chunk.len();
                data.advance(read);
            }
        }
        Ok(bytes.freeze())
    };
    timeout(BODY_TIMEOUT, collected).await.unwrap_or_else(|_| {
        let seconds = BODY_TIMEOUT.as_secs();
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("Body not received within {seconds} s"),
        ))
    })
}
