//! [`Health`]: whether the store answers, or each of its partitions.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use metrics::{Gauge, gauge};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::{Partitioned, Store, StoreError, with_causes};
use webhook_ui::model::Outage;

use super::Backend;
use crate::metrics::PARTITION_UP;

/// How often the store is pinged.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long it may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The partitions of an inbox.
#[derive(Clone)]
pub(crate) struct Partitions(Vec<Arc<dyn Store>>);

impl Partitions {
    pub(super) fn of(inbox: &Partitioned) -> Self {
        Self(inbox.stores())
    }

    /// Pings each partition now. Answer *i* is why partition *i* does not answer.
    pub(crate) async fn ping(&self) -> Vec<Option<String>> {
        join_all(self.0.iter().map(|partition| ping(&**partition))).await
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Partitions").field(&self.0.len()).finish()
    }
}

async fn ping(store: &dyn Store) -> Option<String> {
    match timeout(PING_TIMEOUT, store.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(reason(&error)),
        Err(_) => Some(format!("no answer within {PING_TIMEOUT:?}")),
    }
}

/// Why the store does not answer, without the number of the partition: that is said beside it.
fn reason(error: &StoreError) -> String {
    let in_partition = error.partition().and_then(|_| error.source());
    let own = in_partition.and_then(|it| it.source());
    with_causes(own.unwrap_or(error))
}

/// Pings the store, or each of its partitions, again and again, until it is dropped. The log tells when one stops to
/// answer, and when it answers again.
#[derive(Debug)]
pub(crate) struct Health {
    watched: Arc<[Watched]>,
    watching: AbortOnDropHandle<()>,
}

impl Health {
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(crate) fn watch(backend: &Backend) -> Self {
        let watched: Arc<[Watched]> = match &backend.partitions {
            None => Arc::new([Watched::whole(Arc::clone(&backend.store))]),
            Some(Partitions(partitions)) => {
                let count = partitions.len();
                let partitions = partitions.iter().enumerate();
                partitions
                    .map(|(index, it)| Watched::partition(Arc::clone(it), index, count))
                    .collect()
            }
        };
        let watching = watch(Arc::clone(&watched));
        Self {
            watched,
            watching: AbortOnDropHandle::new(tokio::spawn(watching)),
        }
    }

    /// Ends the pings, before the store is closed.
    pub(crate) fn stop(&self) {
        self.watching.abort();
    }

    /// What does not answer now.
    pub(crate) fn outages(&self) -> Vec<Outage> {
        self.watched.iter().filter_map(Watched::outage).collect()
    }
}

async fn watch(watched: Arc<[Watched]>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let problems = join_all(watched.iter().map(|it| ping(&*it.store))).await;
        for (watched, problem) in watched.iter().zip(problems) {
            watched.note(problem);
        }
    }
}

/// A store whose pings are noted.
struct Watched {
    store: Arc<dyn Store>,
    /// Which partition it is, if it is not the whole store.
    place: Option<Place>,
    /// Since when it does not answer.
    away_since: Mutex<Option<SystemTime>>,
}

struct Place {
    index: usize,
    count: usize,
    is_up: Gauge,
}

impl Watched {
    fn whole(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            place: None,
            away_since: Mutex::default(),
        }
    }

    fn partition(partition: Arc<dyn Store>, index: usize, count: usize) -> Self {
        Self {
            place: Some(Place {
                index,
                count,
                is_up: gauge!(PARTITION_UP, "partition" => index.to_string()),
            }),
            ..Self::whole(partition)
        }
    }

    /// Notes why it has not answered, or that it has.
    fn note(&self, problem: Option<String>) {
        if let Some(place) = &self.place {
            place.is_up.set(f64::from(u8::from(problem.is_none())));
        }
        let was_up = {
            let mut since = self.away_since();
            let was_up = since.is_none();
            match &problem {
                Some(_) => _ = since.get_or_insert_with(SystemTime::now),
                None => *since = None,
            }
            was_up
        };
        match (&self.place, problem) {
            (Some(Place { index, count, .. }), Some(error)) if was_up => warn!(
                partition = index,
                count,
                error,
                "a partition does not answer; deliveries of its keys get 503 until it does"
            ),
            (Some(Place { index, count, .. }), None) if !was_up => {
                info!(partition = index, count, "a partition answers again");
            }
            (None, Some(error)) if was_up => warn!(
                error,
                "the store does not answer; deliveries get 503 until it does"
            ),
            (None, None) if !was_up => info!("the store answers again"),
            _ => {}
        }
    }

    fn outage(&self) -> Option<Outage> {
        let since = (*self.away_since())?.into();
        Some(match &self.place {
            None => Outage {
                problem: "the store does not answer".to_owned(),
                effect: "events wait, and deliveries get 503 until it does".to_owned(),
                since,
            },
            Some(Place { index, count, .. }) => Outage {
                problem: format!("partition {index} of {count} does not answer"),
                effect: "its events wait, and deliveries of its keys get 503 until it does"
                    .to_owned(),
                since,
            },
        })
    }

    fn away_since(&self) -> MutexGuard<'_, Option<SystemTime>> {
        self.away_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("outage", &self.outage())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use webhook_core::{Accepted, EventRecord, EventRef, NewEvent, Partition, PartitionOptions};
    use webhook_memory::MemoryStore;

    use super::*;

    /// A store that may be away.
    #[derive(Default)]
    struct Cut {
        is_cut: AtomicBool,
        hangs: AtomicBool,
    }

    #[async_trait]
    impl Store for Cut {
        async fn accept(&self, _events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
            unreachable!("it is only pinged")
        }

        async fn find(&self, _events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
            unreachable!("it is only pinged")
        }

        async fn ping(&self) -> Result<(), StoreError> {
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            match self.is_cut.load(Ordering::Relaxed) {
                true => Err(StoreError::unavailable(io::Error::other("gone"))),
                false => Ok(()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_an_outage_until_it_answers() {
        let store = Arc::new(Cut::default());
        let backend = Backend::new(store.clone(), Arc::new(MemoryStore::default()));
        let health = Health::watch(&backend);
        let problems = || -> Vec<String> {
            let outages = health.outages().into_iter();
            outages.map(|it| it.problem).collect()
        };
        let round = || tokio::time::sleep(INTERVAL + PING_TIMEOUT);
        round().await;
        assert_eq!(problems(), [""; 0]);
        for kind in [&store.is_cut, &store.hangs] {
            kind.store(true, Ordering::Relaxed);
            round().await;
            assert_eq!(problems(), ["the store does not answer"]);
            let since = health.outages()[0].since;
            round().await;
            assert_eq!(health.outages()[0].since, since);
            kind.store(false, Ordering::Relaxed);
            round().await;
            assert_eq!(problems(), [""; 0]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn outages_name_the_partitions() {
        let partition = |_| Arc::new(MemoryStore::default()) as Arc<dyn Partition>;
        let partitions = (0..3).map(partition).collect();
        let inbox = Partitioned::open(partitions, PartitionOptions::default()).await;
        let backend = Backend {
            partitions: Some(Partitions::of(&inbox.unwrap())),
            ..Backend::new(Arc::new(Cut::default()), Arc::new(MemoryStore::default()))
        };
        let health = Health::watch(&backend);
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(health.outages(), []);
        health.watched[2].note(Some("gone".to_owned()));
        let outages = health.outages();
        assert_eq!(outages.len(), 1);
        assert_eq!(outages[0].problem, "partition 2 of 3 does not answer");
        health.watched[2].note(None);
        assert_eq!(health.outages(), []);
    }
}
