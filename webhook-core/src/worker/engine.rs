//! [`Engine`]: the tasks of a worker for one partition of its backend, or for a backend without partitions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::claim::Claiming;
use super::{Context, Drained, heartbeat, settler};
use crate::panics::logging;

/// How long a shutdown waits, after its drain time, until the last settlements are stored.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// The claim loop, the settler and the heartbeat of one partition. It stops in the background if it is dropped.
pub(super) struct Engine {
    pub(super) context: Arc<Context>,
    claiming: JoinHandle<()>,
    settling: JoinHandle<()>,
    beating: JoinHandle<()>,
}

impl Engine {
    pub(super) fn start(context: Context) -> Self {
        let context = Arc::new(context);
        let slots: usize = context.kinds.iter().map(|it| it.options.concurrency).sum();
        let (finished, to_settle) = mpsc::channel(slots.clamp(1, Semaphore::MAX_PERMITS));
        let claiming = Claiming::new(Arc::clone(&context), finished);
        Self {
            claiming: tokio::spawn(claiming.run()),
            settling: tokio::spawn(settler::run(Arc::clone(&context), to_settle)),
            beating: tokio::spawn(heartbeat::run(Arc::clone(&context))),
            context,
        }
    }

    /// Stops claiming.
    pub(super) fn stop(&self) {
        self.context.stop.cancel();
    }

    /// See [`Worker::shutdown`](super::Worker::shutdown).
    pub(super) async fn shutdown(mut self, deadline: Instant) -> Drained {
        self.stop();
        let context = Arc::clone(&self.context);
        let finish = async {
            // The claim under way may lease events, which must be released.
            let _ = (&mut self.claiming).await;
            context.attempts.close();
            context.attempts.wait().await;
        };
        let mut drained = Drained::default();
        if timeout_at(deadline, finish).await.is_err() {
            drained.released = context.leases.running();
            logging(|| {
                info!(
                    released = drained.released,
                    "drain time is over, releasing the events of running handlers"
                )
            });
            context.abandon.cancel();
        }
        // The settler ends when the claim loop and every attempt have dropped their sender.
        if timeout(SETTLE_GRACE, &mut self.settling).await.is_err() {
            drained.unsettled = context.leases.held();
            logging(|| {
                warn!(
                    unsettled = drained.unsettled,
                    "failed to store the results of the last attempts in time; their events are due again when the leases expire"
                )
            });
            self.settling.abort();
        }
        self.claiming.abort();
        // The settler does this itself, unless it was aborted.
        context.settled.cancel();
        let _ = (&mut self.beating).await;
        drained
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.context.stop.cancel();
        self.context.abandon.cancel();
    }
}
