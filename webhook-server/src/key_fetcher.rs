//! [`KeyFetcher`]: fetches the keys that senders publish at a URL, and keeps them.
//!
//! Key sets whose URL is known are fetched at the start and after a reload; those that only a request names, such as the
//! certificate of SNS, when the first request names them. Each is fetched again before its lifetime ends, as long as it
//! is used. Forged requests can name keys too, so that each source has a budget for such fetches.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, info, warn};
use webhook_sources::{KeyRequest, Keys};

use crate::https_client::{self, HttpsClient};

/// How long a sender may wait for a key.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// How many keys that only requests name are fetched for one source in a second on average, and at once.
const FETCHES_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).expect("one is not zero");
const FETCHES_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

/// How many fetches run for one source at the same time, and how many of key sets whose URL is known.
const MAX_RUNNING: usize = 4;

/// The most hosts whose state the log tells of.
const MAX_LOGGED_HOSTS: usize = 100;

/// How long the log is silent about a host after it has told of it, so that a host that fails now and then does not
/// fill the log.
const LOG_PAUSE: Duration = Duration::from_secs(600);

/// The part of a lifetime after which a document is fetched again, in tenths.
const RENEWED_AFTER_TENTHS: u32 = 9;

/// How documents are fetched and kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyFetcherOptions {
    /// The shortest and the longest lifetime, whatever the answer says. Default: 5 minutes and 24 hours.
    pub(crate) min_lifetime: Duration,
    pub(crate) max_lifetime: Duration,
    /// The lifetime if the answer says nothing. Default: 1 hour.
    pub(crate) default_lifetime: Duration,
    /// How often at most a key set is fetched again because a request names a key that is not in it. Default: 30
    /// seconds.
    pub(crate) renew_interval: Duration,
    /// When a fetch that failed is repeated, and how long a document that only a request named counts as missing.
    /// Default: 10 seconds.
    pub(crate) retry: Duration,
    /// How long a fetch may take. Default: 5 seconds.
    pub(crate) timeout: Duration,
    /// The largest document. Default: 64 KiB.
    pub(crate) max_bytes: usize,
}

impl Default for KeyFetcherOptions {
    fn default() -> Self {
        Self {
            min_lifetime: Duration::from_secs(5 * 60),
            max_lifetime: Duration::from_secs(24 * 60 * 60),
            default_lifetime: Duration::from_secs(60 * 60),
            renew_interval: Duration::from_secs(30),
            retry: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            max_bytes: 64 * 1024,
        }
    }
}

/// Fetches keys and keeps them. Its tasks end when it is dropped.
pub(crate) struct KeyFetcher {
    network: OnceLock<Network>,
    options: KeyFetcherOptions,
    documents: Mutex<HashMap<KeyRequest, Arc<Document>>>,
    /// What each source may still fetch because of requests.
    budgets: RateLimiter<String, HashMapStateStore<String>, DefaultClock>,
    slots: Mutex<HashMap<String, Arc<Semaphore>>>,
    fixed_slots: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, HostState>>,
}

/// What is read from the system when it is first needed.
struct Network {
    authorities: Vec<CertificateDer<'static>>,
    client: HttpsClient,
}

/// A document, or one that is being fetched.
struct Document {
    request: KeyRequest,
    state: Mutex<State>,
    /// Wakes the task that keeps the document.
    wake: Notify,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    /// Limits how many fetches run.
    slots: Arc<Semaphore>,
    /// Whether a source needs it for every request.
    is_fixed: AtomicBool,
    /// Whether a request has needed it since it was fetched last.
    is_used: AtomicBool,
}

struct State {
    content: Option<Arc<[u8]>>,
    expires: Instant,
    /// When the last fetch began.
    attempted: Instant,
    is_running: bool,
    has_failed: bool,
}

/// What the log has told of a host.
struct HostState {
    is_failing: bool,
    told: Instant,
}

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("failed to build the request")]
    Request(#[from] hyper::http::Error),
    #[error("no answer")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("answered with status {0}")]
    Status(StatusCode),
    #[error("failed to read the answer, or it is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an empty answer")]
    Empty,
    #[error("took too long")]
    TimedOut,
}

impl KeyFetcher {
    /// A fetcher that trusts the authorities that the system trusts.
    pub(crate) fn new() -> Self {
        Self {
            network: OnceLock::new(),
            options: KeyFetcherOptions::default(),
            documents: Mutex::default(),
            budgets: RateLimiter::hashmap(
                Quota::per_second(FETCHES_PER_SECOND).allow_burst(FETCHES_AT_ONCE),
            ),
            slots: Mutex::default(),
            fixed_slots: Arc::new(Semaphore::new(MAX_RUNNING)),
            hosts: Mutex::default(),
        }
    }

    /// Fetches these now and then, as long as they are kept, and stops to do so with others.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime, unless there is nothing to fetch.
    pub(crate) fn keep(self: &Arc<Self>, requests: &[KeyRequest]) {
        let mut documents = lock(&self.documents);
        for document in documents.values() {
            let is_fixed = requests.contains(&document.request);
            if document.is_fixed.swap(is_fixed, Ordering::Relaxed) && !is_fixed {
                document.wake.notify_one();
            }
        }
        for request in requests {
            if !documents.contains_key(request) {
                let document = self.start(request, Arc::clone(&self.fixed_slots), true);
                documents.insert(request.clone(), document);
            }
        }
    }

    /// Fetches what `source` needs for a request, unless it was fetched a moment ago, and waits for it up to
    /// [`MAX_WAIT`]. Whether what is there is recent: if it does not have the key then, nobody has it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the fetch goes on.
    pub(crate) async fn renew(self: &Arc<Self>, source: &str, request: &KeyRequest) -> bool {
        let Some(document) = self.document(source, request) else {
            return false;
        };
        let mut ended = document.ended.subscribe();
        {
            let mut state = lock(&document.state);
            if !state.is_running {
                if state.attempted.elapsed() < self.options.renew_interval {
                    return !state.has_failed;
                }
                state.is_running = true;
                document.is_used.store(true, Ordering::Relaxed);
                document.wake.notify_one();
            }
        }
        let in_time = timeout(MAX_WAIT, ended.changed()).await;
        matches!(in_time, Ok(Ok(()))) && !lock(&document.state).has_failed
    }

    /// The document, which is fetched from now on if it is a new one and `source` may still have some fetched.
    fn document(self: &Arc<Self>, source: &str, request: &KeyRequest) -> Option<Arc<Document>> {
        let mut documents = lock(&self.documents);
        if let Some(document) = documents.get(request) {
            return Some(Arc::clone(document));
        }
        self.budgets.check_key(&source.to_owned()).ok()?;
        let mut slots = lock(&self.slots);
        let slots = slots.entry(source.to_owned());
        let slots = Arc::clone(slots.or_insert_with(|| Arc::new(Semaphore::new(MAX_RUNNING))));
        let document = self.start(request, slots, false);
        documents.insert(request.clone(), Arc::clone(&document));
        Some(document)
    }

    fn start(
        self: &Arc<Self>,
        request: &KeyRequest,
        slots: Arc<Semaphore>,
        is_fixed: bool,
    ) -> Arc<Document> {
        let now = Instant::now();
        let document = Arc::new(Document {
            request: request.clone(),
            state: Mutex::new(State {
                content: None,
                expires: now,
                attempted: now,
                is_running: true,
                has_failed: false,
            }),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
            slots,
            is_fixed: AtomicBool::new(is_fixed),
            is_used: AtomicBool::new(false),
        });
        tokio::spawn(maintain(Arc::downgrade(self), Arc::clone(&document)));
        document
    }

    /// Fetches a document, and returns when to do so again.
    async fn fetch(self: &Arc<Self>, document: &Document) -> Duration {
        {
            let mut state = lock(&document.state);
            state.is_running = true;
            state.attempted = Instant::now();
        }
        let fetched = {
            // It is never closed.
            let _slot = document.slots.acquire().await;
            match timeout(self.options.timeout, self.download(&document.request)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(FetchError::TimedOut),
            }
        };
        self.tell(document, fetched.as_ref().err());
        let pause = {
            let mut state = lock(&document.state);
            state.is_running = false;
            state.has_failed = fetched.is_err();
            match fetched {
                Ok((content, lifetime)) => {
                    state.content = Some(content);
                    state.expires = Instant::now() + lifetime;
                    lifetime * RENEWED_AFTER_TENTHS / 10
                }
                Err(_) => self.options.retry,
            }
        };
        document.ended.send_modify(|ended| *ended += 1);
        pause
    }

    /// The content of the answer, and how long it is valid.
    async fn download(
        self: &Arc<Self>,
        wanted: &KeyRequest,
    ) -> Result<(Arc<[u8]>, Duration), FetchError> {
        let request = Request::builder()
            .uri(wanted.url())
            .header(
                USER_AGENT,
                concat!("webhook-server/", env!("CARGO_PKG_VERSION")),
            )
            .header(ACCEPT, "*/*");
        let request = match wanted.body() {
            None => request.method(Method::GET).body(Full::default())?,
            Some(body) => request
                .method(Method::POST)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?,
        };
        let answer = self.client().await.request(request).await?;
        // Only this: an answer to a redirect may come from anywhere.
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let lifetime = self.lifetime(answer.headers());
        let body = Limited::new(answer.into_body(), self.options.max_bytes);
        let content = body.collect().await.map_err(FetchError::Body)?.to_bytes();
        if content.is_empty() {
            return Err(FetchError::Empty);
        }
        Ok((content.as_ref().into(), lifetime))
    }

    /// The client, which is made when it is first needed: that blocks.
    async fn client(self: &Arc<Self>) -> HttpsClient {
        if self.network.get().is_none() {
            let this = Arc::clone(self);
            // If it panics, the next line does the same.
            let _ = tokio::task::spawn_blocking(move || this.network().client.clone()).await;
        }
        self.network().client.clone()
    }

    fn network(&self) -> &Network {
        self.network
            .get_or_init(|| Network::new(webhook_forward::system_authorities()))
    }

    /// How long an answer with these headers is valid (RFC 9111), within the limits of the options.
    fn lifetime(&self, headers: &HeaderMap) -> Duration {
        let options = &self.options;
        let text = |name| {
            headers
                .get_all(name)
                .into_iter()
                .filter_map(|it| it.to_str().ok())
        };
        let directives = text(CACHE_CONTROL).flat_map(|value| value.split(','));
        let max_age = directives.filter_map(|directive| {
            let (name, seconds) = directive.trim().split_once('=')?;
            let is_max_age = name.eq_ignore_ascii_case("max-age");
            is_max_age
                .then(|| seconds.trim_matches('"').parse::<u64>().ok())
                .flatten()
        });
        let age = text(AGE).find_map(|age| age.trim().parse::<u64>().ok());
        let left = max_age.min().map(|it| it.saturating_sub(age.unwrap_or(0)));
        left.map_or(options.default_lifetime, Duration::from_secs)
            .clamp(options.min_lifetime, options.max_lifetime)
    }

    /// Tells the operator once that a host fails, and once that it does not any more.
    fn tell(&self, document: &Document, error: Option<&FetchError>) {
        let url = document.request.url();
        // Whoever forges a request chooses such a URL, so that it may well not be there.
        let is_forgers_fault = matches!(error, Some(FetchError::Status(status)) if status.is_client_error())
            && !document.is_fixed.load(Ordering::Relaxed)
            && document.request.body().is_none();
        if is_forgers_fault {
            debug!(
                url,
                "there is no certificate at the URL that a request named"
            );
            return;
        }
        let mut hosts = lock(&self.hosts);
        let host = document.request.host();
        let has_room = hosts.len() < MAX_LOGGED_HOSTS;
        let known = hosts.get_mut(host);
        let Some(error) = error else {
            if let Some(known) = known.filter(|known| known.is_failing) {
                known.is_failing = false;
                info!(url, "keys of a sender can be fetched again");
            }
            return;
        };
        let error = error as &(dyn std::error::Error + 'static);
        match known {
            Some(known) if known.is_failing || known.told.elapsed() < LOG_PAUSE => {
                known.is_failing = true;
                debug!(url, error, "failed to fetch keys of a sender");
                return;
            }
            Some(known) => {
                known.is_failing = true;
                known.told = Instant::now();
            }
            None if has_room => {
                let state = HostState {
                    is_failing: true,
                    told: Instant::now(),
                };
                hosts.insert(host.to_owned(), state);
            }
            None => return,
        }
        warn!(
            url,
            error,
            "failed to fetch keys of a sender; its deliveries get 503 when there is no valid key"
        );
    }

    fn forget(&self, document: &Arc<Document>) {
        let mut documents = lock(&self.documents);
        let known = documents.get(&document.request);
        // `keep` may have come in between.
        if known.is_some_and(|known| Arc::ptr_eq(known, document)) {
            documents.remove(&document.request);
        }
    }
}

/// Fetches a document, and again before it expires, as long as it is needed.
async fn maintain(fetcher: Weak<KeyFetcher>, document: Arc<Document>) {
    loop {
        let Some(strong) = fetcher.upgrade() else {
            return;
        };
        let pause = strong.fetch(&document).await;
        drop(strong);
        let _ = timeout(pause, document.wake.notified()).await;
        let Some(strong) = fetcher.upgrade() else {
            return;
        };
        if !document.is_needed() {
            strong.forget(&document);
            return;
        }
    }
}

impl Document {
    /// Whether it is to be fetched again. Requests that name something that is not there do not count, so that forgers
    /// cannot have it fetched for ever.
    fn is_needed(&self) -> bool {
        let is_used = self.is_used.swap(false, Ordering::Relaxed);
        let is_there = || {
            let state = lock(&self.state);
            state.content.is_some() && (!state.has_failed || Instant::now() < state.expires)
        };
        self.is_fixed.load(Ordering::Relaxed) || (is_used && is_there())
    }
}

impl Network {
    fn new(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self {
            client: https_client::client(&authorities),
            authorities,
        }
    }
}

impl Keys for KeyFetcher {
    fn find(&self, request: &KeyRequest) -> Option<Arc<[u8]>> {
        let document = lock(&self.documents).get(request).map(Arc::clone)?;
        document.is_used.store(true, Ordering::Relaxed);
        let state = lock(&document.state);
        state
            .content
            .clone()
            .filter(|_| Instant::now() < state.expires)
    }

    fn authorities(&self) -> Vec<Vec<u8>> {
        let authorities = self.network().authorities.iter();
        authorities.map(|it| it.to_vec()).collect()
    }
}

/// Ends the tasks, which would sleep until the next renewal otherwise.
impl Drop for KeyFetcher {
    fn drop(&mut self) {
        for document in lock(&self.documents).values() {
            document.wake.notify_one();
        }
    }
}

impl fmt::Debug for KeyFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFetcher")
            .field("options", &self.options)
            .field("documents", &lock(&self.documents).len())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
