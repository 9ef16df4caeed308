//! Hears of events that fall due soon, and of kinds that are resumed, from other processes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep, timeout};

use super::local::Local;
use super::notify::News;
use super::{POLL_INTERVAL, notify};
use crate::error::DatabaseError;

/// A connection that was silent for as long is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(30);

/// How long it has to answer, and how long connecting may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before connecting again: at first, and at most. Workers look by themselves
/// meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = POLL_INTERVAL;

/// Listens for as long as it runs, on a connection of its own.
pub(super) async fn listen(
    options: Arc<PgConnectOptions>,
    channel: String,
    local: Arc<Local>,
    own: u64,
) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None);
    let mut pause = FIRST_PAUSE;
    loop {
        let connected = Instant::now();
        let pool = pool.clone().connect_lazy_with((*options).clone());
        let Err(error) = hear(PgListener::connect_with(&pool), &channel, &local, own).await;
        let error = DatabaseError::from(error);
        tracing::debug!(%error, "no notifications for a while");
        pause = if connected.elapsed() > LONGEST_PAUSE {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        sleep(pause).await;
    }
}

/// Ends when the connection does.
async fn hear(
    connecting: impl Future<Output = Result<PgListener, sqlx::Error>>,
    channel: &str,
    local: &Local,
    own: u64,
) -> Result<Infallible, sqlx::Error> {
    let mut listener = connecting.await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    // What was told while nobody listened is lost.
    local.wake_all();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(told))) => match notify::read(told.payload(), own) {
                Some((kind, News::DueIn(due_in))) => local.due(&kind, Instant::now() + due_in),
                Some((kind, News::Resumed)) => local.resumed(&kind),
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
