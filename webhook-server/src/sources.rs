//! The sources of a running server: which there are, their limits, and what they have received.

mod active;
mod activity;
mod copies;
mod diagnosis;
mod limits;
mod masked;
mod refused;
mod watch;
mod workers;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::info;
use webhook_core::Kind;
use webhook_sources::{Secrets, Source, SourceOptions, preset};

use crate::config::SourceConfig;
use crate::key_fetcher::KeyFetcher;

pub(crate) use active::ActiveSource;
pub(crate) use copies::{MAX_COPIES_WAIT, TakenCopies};
use diagnosis::Diagnosis;
pub(crate) use refused::RefusedRequest;
pub(crate) use watch::Watch;
pub(crate) use workers::SourceWorkers;

/// The sources. A reload replaces all of them at once; a request that has begun keeps those that it began with.
pub(crate) struct Sources {
    set: RwLock<Arc<SourceSet>>,
    /// Refuses whatever is sent to names that no source has, as a source does that signs its bodies.
    unknown: Arc<ActiveSource>,
    unknown_verifications: Arc<Semaphore>,
    diagnosis: Diagnosis,
    keys: Arc<KeyFetcher>,
}

/// The sources at one time.
#[derive(Debug, Default)]
struct SourceSet {
    by_name: HashMap<Kind, Arc<ActiveSource>>,
    /// The names of sources that are wrong in the file and that have not been right since the start.
    unusable: Vec<Kind>,
}

/// What a name stands for.
pub(crate) enum Named {
    /// A source.
    Source(Arc<ActiveSource>),
    /// A source that is configured and cannot be used.
    Unusable,
    /// Nothing.
    Unknown,
}

impl Sources {
    /// No sources yet. `keys` fetches the keys of their senders.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(crate) fn new(keys: Arc<KeyFetcher>) -> Self {
        Self {
            set: RwLock::default(),
            unknown: Arc::new(unknown()),
            unknown_verifications: Arc::new(Semaphore::new(1)),
            diagnosis: Diagnosis::start(),
            keys,
        }
    }

    /// Uses these sources from now on. Each keeps its counts, and the record of refused requests. Those in
    /// `invalid` stay as they were; deliveries to those that are new get 503.
    pub(crate) fn replace(&self, configs: Vec<SourceConfig>, invalid: &[Kind]) {
        let current = self.current();
        let mut next = SourceSet::default();
        let room = configs.len() + invalid.len();
        for config in configs {
            let name = config.name.clone();
            let former = current.by_name.get(&name);
            let source = ActiveSource::new(config, former, room);
            next.by_name.insert(name, Arc::new(source));
        }
        for name in invalid {
            match current.by_name.get(name) {
                Some(former) => {
                    next.by_name.insert(name.clone(), Arc::clone(former));
                }
                None => next.unusable.push(name.clone()),
            }
        }
        for name in current.by_name.keys() {
            if !next.by_name.contains_key(name) {
                info!(source = %name, "a source was removed; its events are kept");
            }
        }
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// Fetches the keys that the sources need for every request, and keeps them, instead of those of former sources.
    pub(crate) fn fetch_keys(&self) {
        let current = self.current();
        let sources = current.by_name.values();
        let requests = sources.flat_map(|source| source.source().key_requests());
        self.keys.keep(&requests.collect::<Vec<_>>());
    }

    /// What `name` stands for.
    pub(crate) fn named(&self, name: &str) -> Named {
        let set = self.current();
        let Ok(kind) = Kind::new(name.to_owned()) else {
            return Named::Unknown;
        };
        match set.by_name.get(&kind) {
            Some(source) => Named::Source(Arc::clone(source)),
            None if set.unusable.contains(&kind) => Named::Unusable,
            None => Named::Unknown,
        }
    }

    /// All sources, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<ActiveSource>> {
        let mut all: Vec<_> = self.current().by_name.values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        all
    }

    /// The names of all sources, including those that are wrong, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let set = self.current();
        let mut names: Vec<_> = set.by_name.keys().chain(&set.unusable).collect();
        names.sort();
        names.into_iter().map(Kind::to_string).collect()
    }

    /// Refuses whatever is sent to names that no source has.
    pub(crate) fn unknown(&self) -> &Arc<Source> {
        self.unknown.source()
    }

    /// Records what is sent to such names, so that refusing it takes as long as elsewhere. Nobody is shown it.
    pub(crate) const fn unknown_record(&self) -> &Arc<ActiveSource> {
        &self.unknown
    }

    /// Limits how many long bodies to such names are verified at a time.
    pub(crate) const fn unknown_verifications(&self) -> &Arc<Semaphore> {
        &self.unknown_verifications
    }

    /// Fetches the keys of senders.
    pub(crate) const fn keys(&self) -> &Arc<KeyFetcher> {
        &self.keys
    }

    /// Finds out later why requests are refused.
    pub(crate) const fn diagnosis(&self) -> &Diagnosis {
        &self.diagnosis
    }

    fn current(&self) -> Arc<SourceSet> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sources").field(&self.current()).finish()
    }
}

/// A source with a secret that nobody knows.
fn unknown() -> ActiveSource {
    let secret: [u8; 32] = rand::random();
    let secrets = Secrets::of([hex::encode(secret)]);
    let made = preset::get("github").and_then(|preset| {
        let options = SourceOptions::default();
        Source::new(preset.spec.clone(), &secrets, options).ok()
    });
    let source = made.expect("there is a preset for GitHub, which takes every text as a secret");
    let config = SourceConfig {
        name: Kind::from_static("unknown"),
        preset: None,
        source: Arc::new(source),
        secrets,
        secret_places: Vec::new(),
        public_url: None,
        enabled: true,
        retired: false,
        delay: Duration::ZERO,
        max_attempts: NonZeroU32::MIN,
        concurrency: 1,
        forward: None,
        max_body_bytes: 0,
        requests_per_second: None,
        max_queued: 1,
        max_queued_bytes: 1,
        max_stored: None,
        keep: None,
        keep_keys: None,
        reads_need_token: true,
        expect_every: None,
        keep_refused_bodies: false,
    };
    ActiveSource::unseen(config)
}
