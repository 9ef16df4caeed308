//! [`Watch`]: notices sources that are silent, counts the events that are not settled, and forgets copies that nobody
//! asks for any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::{Admin, Kind};

use super::{ActiveSource, Sources};

/// How often sources are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the events of a source are counted at most. Each count reads all events of the source.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// How long a count may take.
const COUNT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long it may take where there are other partitions, which wait for it.
const PARTITION_COUNT_TIMEOUT: Duration = Duration::from_secs(5);

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
    let partitions = match admin.partitions() {
        none if none.is_empty() => vec![admin],
        partitions => partitions,
    };
    // By source, the latest count of each partition, which stands for one that does not answer: otherwise the source
    // would soon seem to be full, for all partitions.
    let mut latest: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
    let mut begins = Instant::now();
    loop {
        let all = sources.all();
        let limited = all
            .iter()
            .filter(|source| source.config.max_stored.is_some());
        let mut is_full = false;
        let mut took = Duration::ZERO;
        for source in limited {
            let latest = latest.entry(source.config.name.clone());
            let latest = latest.or_insert_with(|| vec![0; partitions.len()]);
            took += source.count(&partitions, latest).await;
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
    /// Returns how long the partitions took that answered.
    async fn count(&self, partitions: &[Arc<dyn Admin>], latest: &mut [u64]) -> Duration {
        let before = self.activity.unsettled();
        let started = Instant::now();
        let limit = match partitions.len() {
            1 => COUNT_TIMEOUT,
            _ => PARTITION_COUNT_TIMEOUT,
        };
        let counts = partitions.iter().map(async |partition| {
            let counts = timeout(limit, partition.counts(&self.config.name)).await;
            (counts, started.elapsed())
        });
        let mut took = None;
        for (latest, (counts, after)) in latest.iter_mut().zip(join_all(counts).await) {
            match counts {
                Ok(Ok(counts)) => {
                    *latest = counts.waiting + counts.due + counts.leased;
                    took = took.max(Some(after));
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
        let Some(took) = took else {
            return started.elapsed();
        };
        self.activity.set_unsettled(before, latest.iter().sum());
        took
    }
}
