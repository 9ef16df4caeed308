//! [`Watch`]: notices sources that are silent, counts the events that are not settled, and forgets copies that nobody
//! asks for any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::Admin;

use super::{ActiveSource, Sources};

/// How often sources are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the events of a source are counted at most. Each count reads all events of the source.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// How long a count may take.
const COUNT_TIMEOUT: Duration = Duration::from_secs(30);

/// Counting takes at most one part in this many of the time.
const COUNT_FRACTION: u32 = 20;

/// The tasks that watch the sources, until they are dropped.
#[derive(Debug)]
pub(crate) struct Watch(
    #[expect(dead_code, reason = "they end when it is dropped")] Vec<AbortOnDropHandle<()>>,
);

impl Watch {
    /// Watches `sources`. Without `admin`, `max_stored` has no effect.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(crate) fn start(sources: &Arc<Sources>, admin: Option<Arc<dyn Admin>>) -> Self {
        let silence = {
            let sources = Arc::clone(sources);
            tokio::spawn(async move {
                loop {
                    sleep(INTERVAL).await;
                    for source in sources.all() {
                        source.log_silence();
                        source.activity.copies.forget_unwanted();
                    }
                }
            })
        };
        let counts = admin.map(|admin| tokio::spawn(count(Arc::clone(sources), admin)));
        let tasks = [Some(silence), counts].into_iter().flatten();
        Self(tasks.map(AbortOnDropHandle::new).collect())
    }
}

impl ActiveSource {
    /// Logs once that the source is silent for longer than the operator expects, and once that it is no longer.
    fn log_silence(&self) {
        let since = self.silent_since();
        if !self.activity.set_silent(since.is_some()) {
            return;
        }
        let source = self.name();
        if let Some(since) = since {
            let silent_seconds = since.elapsed().unwrap_or_default().as_secs();
            warn!(
                source,
                silent_seconds, "a source is silent: no delivery for longer than expect_every"
            );
        } else {
            info!(source, "a source that was silent has received a delivery");
        }
    }
}

/// Counts the unsettled events of each source with a limit on them: again and again, one source after another,
/// and more often while a source is at its limit.
async fn count(sources: Arc<Sources>, admin: Arc<dyn Admin>) {
    let mut begins = Instant::now();
    loop {
        let all = sources.all();
        let limited = all
            .iter()
            .filter(|source| source.config.max_stored.is_some());
        let mut is_full = false;
        let mut took = Duration::ZERO;
        for source in limited {
            let started = Instant::now();
            source.count(&*admin).await;
            took += started.elapsed();
            is_full |= !source.has_room();
        }
        let pause = if is_full { INTERVAL } else { COUNT_INTERVAL };
        begins += pause.max(took * COUNT_FRACTION);
        begins = begins.max(Instant::now() + INTERVAL);
        while Instant::now() < begins {
            sleep(INTERVAL).await;
        }
    }
}

impl ActiveSource {
    async fn count(&self, admin: &dyn Admin) {
        let before = self.activity.unsettled();
        match timeout(COUNT_TIMEOUT, admin.counts(&self.config.name)).await {
            Ok(Ok(counts)) => {
                let unsettled = counts.waiting + counts.due + counts.leased;
                self.activity.set_unsettled(before, unsettled);
            }
            // The store is down or slow; deliveries notice that themselves.
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(
                    source = self.name(),
                    "failed to count the events of a source"
                );
            }
        }
    }
}
