//! Receives notifications from other processes: events that fall due soon, and kinds that are resumed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep, timeout};
use webhook_core::Backoff;
use webhook_core::wakeup::Wakeups;

use super::notify::Notification;
use super::{POLL_INTERVAL, notify};
use crate::error::DatabaseError;

/// A connection that was silent for this long is checked by a statement.
const SILENCE: Duration = Duration::from_secs(30);

/// How long the check and connecting may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before connecting again. Workers poll meanwhile.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), POLL_INTERVAL);

/// Listens for ever, on a connection of its own.
pub(super) async fn listen(
    options: Arc<PgConnectOptions>,
    channel: String,
    local: Arc<Wakeups>,
    own: u64,
) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None);
    let mut failures = 0;
    loop {
        let connected = Instant::now();
        let pool = pool.clone().connect_lazy_with((*options).clone());
        let Err(error) = hear(PgListener::connect_with(&pool), &channel, &local, own).await;
        let error = DatabaseError::from(error);
        tracing::debug!(%error, "LISTEN connection lost, polling until it is back");
        if connected.elapsed() > BACKOFF.cap {
            failures = 0;
        }
        failures += 1;
        sleep(BACKOFF.delay(failures)).await;
    }
}

/// Returns when the connection is lost.
async fn hear(
    connecting: impl Future<Output = Result<PgListener, sqlx::Error>>,
    channel: &str,
    local: &Wakeups,
    own: u64,
) -> Result<Infallible, sqlx::Error> {
    let mut listener = connecting.await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    // Notifications from before are lost.
    local.wake_all();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(received))) => match notify::read(received.payload(), own) {
                Some((kind, Notification::DueIn(due_in))) => {
                    local.due(&kind, Instant::now() + due_in)
                }
                Some((kind, Notification::Resumed)) => local.resumed(&kind),
                None => {}
            },
            Ok(Ok(None)) => return Err(sqlx::Error::WorkerCrashed),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                timeout(ANSWER_TIMEOUT, listener.execute("SELECT 1"))
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}
