//! The sources of `CONFIG_FILE` in a running server: who receives, who processes, and what a reload changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};
use webhook_core::{Drained, Inbox, Placement};

use super::access::blocking;
use super::error::StartError;
use crate::backend::Backend;
use crate::config::{Config, Role, SourceConfig, SourcesFile};
use crate::destinations::Destinations;
use crate::http::{App, DECISION_TIME};
use crate::key_fetcher::KeyFetcher;
use crate::sources::{SourceWorkers, Sources, Watch};
use crate::traces::Traces;

/// The sources, with the tasks that they need.
#[derive(Debug)]
pub(super) struct RunningSources {
    sources: Arc<Sources>,
    /// An inbox of their own: however much they receive, transactions do not wait for it. `None` in a process
    /// that does not receive.
    inbox: Option<Inbox>,
    /// `None` in a process that does not process.
    workers: Option<SourceWorkers>,
    /// The longest body that there is room for.
    longest_body: usize,
    /// How events are divided among partitions, if they are.
    placement: Option<Arc<Placement>>,
    _watch: Option<Watch>,
}

impl RunningSources {
    /// Starts the sources of `file`. `None` without a configuration file: then the server has no source but
    /// transactions.
    pub(super) fn start(
        file: SourcesFile,
        keys: Arc<KeyFetcher>,
        backend: &Backend,
        destinations: &Arc<Destinations>,
        traces: Option<&Arc<Traces>>,
        config: &Config,
    ) -> Option<Self> {
        config.config_file.as_ref()?;
        let receives = config.role != Role::Worker;
        let longest = file
            .sources
            .iter()
            .map(|source| source.max_body_bytes)
            .max();
        let longest_body = longest.unwrap_or_default().max(config.max_queued_bytes / 4);
        let sources = Arc::new(Sources::new(keys));
        sources.replace(file.sources, &[]);
        if receives {
            sources.fetch_keys();
        }
        let options = config.inbox_options().with_delay(Duration::ZERO);
        let options = options.with_name("sources");
        let options = options.with_accept_timeout(config.accept_timeout_seconds.min(DECISION_TIME));
        let inbox = || Inbox::new(Arc::clone(&backend.store), options);
        let workers = (config.role != Role::Api).then(|| {
            let workers = SourceWorkers::new(
                Arc::clone(&backend.scheduler),
                backend.admin.clone(),
                Arc::clone(destinations),
                traces.cloned(),
                config.worker_options(),
                config.drain_seconds,
            );
            workers.follow(&sources);
            workers
        });
        Some(Self {
            inbox: receives.then(inbox),
            workers,
            longest_body,
            placement: backend.store.placement(),
            _watch: receives.then(|| Watch::start(&sources, backend.admin.clone())),
            sources,
        })
    }

    /// Adds the routes of the sources to the public `app`.
    pub(super) fn serve(&self, app: App, backend: &Backend) -> App {
        match &self.inbox {
            Some(inbox) => {
                let sources = Arc::clone(&self.sources);
                app.receiving_for(sources, inbox.clone(), backend.admin.clone())
            }
            None => app,
        }
    }

    /// The sources that operators see: those of a process that receives.
    pub(super) fn shown(&self) -> Option<Arc<Sources>> {
        let receives = self.inbox.is_some();
        receives.then(|| Arc::clone(&self.sources))
    }

    /// The sources.
    pub(super) fn sources(&self) -> Arc<Sources> {
        Arc::clone(&self.sources)
    }

    /// Reads the file and its secrets again, and uses every source in it that is right. Logs what is wrong; a
    /// source that is wrong stays as it is, and so do all of them if the file cannot be parsed. Returns whether
    /// all were right.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it changes nothing.
    pub(super) async fn reload(&self, config: &Config) -> bool {
        let keys = Arc::<KeyFetcher>::clone(self.sources.keys());
        let read = blocking(config, move |config| {
            SourcesFile::read_usable(config, Some(keys)).map_err(StartError::Sources)
        });
        match read.await {
            Ok((mut file, wrong)) => {
                for warning in &file.warnings {
                    warn!("{warning}");
                }
                for line in wrong.iter().flat_map(|wrong| wrong.lines()) {
                    error!("{line}");
                }
                self.leave_out_new_guards(&mut file);
                let too_long = file.sources.iter();
                for source in too_long.filter(|it| it.max_body_bytes > self.longest_body) {
                    warn!(
                        source = %source.name,
                        "max_body_bytes is larger than the room for bodies of one client, which is sized at \
                         the start: restart the server"
                    );
                }
                let (read, invalid) = (file.sources.len(), file.invalid.len());
                self.sources.replace(file.sources, &file.invalid);
                if self.inbox.is_some() {
                    self.sources.fetch_keys();
                }
                if let Some(workers) = &self.workers {
                    workers.follow(&self.sources);
                }
                if invalid > 0 {
                    error!(
                        sources = read,
                        invalid,
                        "sources reloaded, except those that are wrong, which stay as they were"
                    );
                } else {
                    info!(sources = read, "sources reloaded");
                }
                invalid == 0
            }
            Err(StartError::Sources(wrong)) => {
                for line in wrong.lines() {
                    error!("{line}");
                }
                let path = config.config_file.as_deref().map(Path::display);
                error!(
                    path = path.map(tracing::field::display),
                    "failed to reload the sources; the current ones stay in use"
                );
                false
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                error!(
                    error,
                    "failed to reload the sources; the current ones stay in use"
                );
                false
            }
        }
    }

    /// Which kinds are in one partition each is decided when the partitions are opened.
    fn leave_out_new_guards(&self, file: &mut SourcesFile) {
        let Some(placement) = &self.placement else {
            return;
        };
        let is_spread =
            |source: &mut SourceConfig| source.has_guard() && !placement.is_whole(&source.name);
        for source in file.sources.extract_if(.., is_spread) {
            error!(
                source = %source.name,
                "a source cannot get a guard while the server runs, since all of its events must then be in one \
                 partition: restart the server"
            );
            file.invalid.push(source.name);
        }
    }

    /// Lets the handlers finish, and releases the events of those that do not.
    pub(super) async fn stop_workers(&self) -> Drained {
        match &self.workers {
            Some(workers) => workers.shutdown().await,
            None => Drained::default(),
        }
    }

    /// Stores what was accepted, and refuses everything else.
    pub(super) async fn close(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.close().await;
        }
    }
}
