//! [`ActiveSource`]: one source, ready to receive.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hyper::http::request::Parts;
use webhook_sources::Source;

use super::activity::Activity;
use super::limits::{Admitted, Limits, OverLimit};
use super::masked::Masking;
use super::refused::{MAX_REFUSED, RefusedRequest};
use crate::config::SourceConfig;
use crate::metrics::Requests;

/// A source that receives.
#[derive(Debug)]
pub(crate) struct ActiveSource {
    pub(crate) config: SourceConfig,
    /// The source as it was before its specification or its secrets were changed last, to tell who still signs
    /// with a former secret.
    pub(super) former: Option<Arc<Source>>,
    pub(crate) limits: Limits,
    pub(crate) activity: Arc<Activity>,
    pub(crate) requests: Arc<Requests>,
    pub(super) masking: Masking,
    /// How many deliveries each secret has verified.
    verified: Arc<[AtomicU64]>,
    /// Since when it verifies with these secrets.
    pub(crate) secrets_since: SystemTime,
}

impl ActiveSource {
    /// Makes a source, which follows `former`. `sources` is how many share the room for refused requests.
    pub(super) fn new(config: SourceConfig, former: Option<&Arc<Self>>, sources: usize) -> Self {
        let requests = former.map_or_else(
            || Arc::new(Requests::new(&config.name)),
            |former| Arc::clone(&former.requests),
        );
        Self::with_requests(config, former, sources, requests)
    }

    /// Makes a source without metrics, which has the smallest share of the room for refused requests.
    pub(super) fn unseen(config: SourceConfig) -> Self {
        Self::with_requests(config, None, MAX_REFUSED, Arc::new(Requests::unseen()))
    }

    fn with_requests(
        config: SourceConfig,
        former: Option<&Arc<Self>>,
        sources: usize,
        requests: Arc<Requests>,
    ) -> Self {
        let activity = former.map_or_else(Arc::default, |former| Arc::clone(&former.activity));
        activity.resize(sources);
        let unchanged = former.filter(|former| is_same_sender(&former.config, &config));
        let secrets = config.source.verification().secret_count();
        Self {
            former: match unchanged {
                Some(former) => former.former.clone(),
                None => former.map(|former| Arc::clone(&former.config.source)),
            },
            verified: match unchanged {
                Some(former) => Arc::clone(&former.verified),
                None => (0..secrets).map(|_| AtomicU64::default()).collect(),
            },
            secrets_since: unchanged.map_or_else(SystemTime::now, |former| former.secrets_since),
            limits: Limits::new(&config),
            masking: Masking::of(config.source.spec()),
            activity,
            requests,
            config,
        }
    }

    /// The name, which is the kind of the events as well.
    pub(crate) fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The source itself.
    pub(crate) const fn source(&self) -> &Arc<Source> {
        &self.config.source
    }

    /// Lists a request that is refused whatever its signature is, such as one whose body is too long. Its body was not
    /// read.
    pub(crate) fn note_refused(
        &self,
        client: Option<IpAddr>,
        head: &Parts,
        status: u16,
        reason: String,
    ) {
        let request = RefusedRequest::of(self, client, head, None, status, reason);
        self.activity.note_refused(Arc::new(request));
    }

    /// Notes that the secret with this index has verified a delivery.
    pub(crate) fn note_verified(&self, secret_index: usize) {
        if let Some(count) = self.verified.get(secret_index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many deliveries each secret has verified since it was read.
    pub(crate) fn verified_by_secret(&self) -> Vec<u64> {
        let counts = self.verified.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Since when it has received nothing, if that is longer than the operator expects.
    pub(crate) fn silent_since(&self) -> Option<SystemTime> {
        let receives = self.config.enabled && !self.config.retired;
        let expect_every = self.config.expect_every.filter(|_| receives)?;
        self.activity.silent_since(expect_every)
    }

    /// Admits a verified delivery with a body of `bytes`, which waits for the store until the result is dropped.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Admitted<'_>, OverLimit> {
        if !self.has_room() {
            return Err(OverLimit::Stored);
        }
        self.limits.admit(bytes)
    }

    /// Whether it may store more events, as far as the number of its unsettled ones is known.
    pub(super) fn has_room(&self) -> bool {
        let limit = self.config.max_stored;
        limit.is_none_or(|limit| self.activity.unsettled() < limit.get())
    }
}

/// Whether two configurations verify requests in the same way.
fn is_same_sender(former: &SourceConfig, new: &SourceConfig) -> bool {
    let (old, current) = (&former.secrets, &new.secrets);
    former.source.spec() == new.source.spec()
        && former.public_url == new.public_url
        && old.names().eq(current.names())
        && old
            .names()
            .all(|name| old.named(name).eq(current.named(name)))
}
