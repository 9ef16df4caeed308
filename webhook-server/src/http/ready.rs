//! The readiness probe of the store. Concurrent requests share one probe.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use webhook_core::Store;

/// How long the outcome of a probe is reused, so that clients cannot put load on the store.
const CACHED_FOR: Duration = Duration::from_secs(1);

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The store answered.
    Ready,
    /// The store failed.
    Unavailable,
    /// The store did not answer in time.
    TooSlow,
}

/// Probes a store, at most one probe at a time and one a second.
#[derive(Debug, Default)]
pub(super) struct ReadyProbe {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    Probing(watch::Receiver<Option<Readiness>>),
    Known(Instant, Readiness),
}

impl ReadyProbe {
    /// Returns the cached outcome, that of the running probe, or that of a new one, which takes at most
    /// `limit`.
    ///
    /// # Cancel safety
    ///
    /// The probe runs in a task of its own, so that a client that disconnects does not end it.
    pub(super) async fn check(&self, store: &Arc<dyn Store>, limit: Duration) -> Readiness {
        let mut outcome = {
            let mut state = lock(&self.state);
            match &*state {
                State::Known(at, readiness) if at.elapsed() < CACHED_FOR => return *readiness,
                // A probe that panicked closes its channel without an outcome.
                State::Probing(outcome) if outcome.has_changed().is_ok() => outcome.clone(),
                _ => {
                    let (sender, outcome) = watch::channel(None);
                    *state = State::Probing(outcome.clone());
                    let (store, state) = (Arc::clone(store), Arc::clone(&self.state));
                    tokio::spawn(async move {
                        let readiness = probe(&*store, limit).await;
                        *lock(&state) = State::Known(Instant::now(), readiness);
                        sender.send_replace(Some(readiness));
                    });
                    outcome
                }
            }
        };
        match outcome.wait_for(Option::is_some).await {
            Ok(readiness) => readiness.unwrap_or(Readiness::Unavailable),
            Err(_) => Readiness::Unavailable,
        }
    }
}

async fn probe(store: &dyn Store, limit: Duration) -> Readiness {
    match timeout(limit, store.ping()).await {
        Ok(Ok(())) => Readiness::Ready,
        Ok(Err(error)) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the store failed the readiness probe"
            );
            Readiness::Unavailable
        }
        Err(_) => Readiness::TooSlow,
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("Unknown"),
            Self::Probing(_) => f.write_str("Probing"),
            Self::Known(_, readiness) => f.debug_tuple("Known").field(readiness).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use webhook_core::MockStore;

    use super::*;

    #[tokio::test]
    async fn concurrent_readiness_checks_share_one_probe() {
        let probes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&probes);
        let mut store = MockStore::new();
        store.expect_ping().returning(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let store: Arc<dyn Store> = Arc::new(store);
        let ready = ReadyProbe::default();
        let checks = (0..1000).map(|_| ready.check(&store, CACHED_FOR));
        for readiness in futures_util::future::join_all(checks).await {
            assert_eq!(readiness, Readiness::Ready);
        }
        assert_eq!(probes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn readiness_probe_runs_again_after_a_panic() {
        let mut store = MockStore::new();
        store.expect_ping().returning(|| panic!("on purpose"));
        let store: Arc<dyn Store> = Arc::new(store);
        let ready = ReadyProbe::default();
        for _ in 0..2 {
            let readiness = ready.check(&store, CACHED_FOR).await;
            assert_eq!(readiness, Readiness::Unavailable);
        }
    }
}
