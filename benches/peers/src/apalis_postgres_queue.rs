//! apalis with its PostgreSQL backend.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use sqlx::postgres::PgPool;
use tokio::task::JoinHandle;

use crate::job::{Job, Watch};
use crate::measure::{Aim, Peer};

pub struct Queue {
    storage: PostgresStorage<Job>,
}

impl Peer for Queue {
    const NAME: &'static str = "apalis-postgres";
    const CRATE: &'static str = "apalis-postgres";
    const SETTINGS: &'static str =
        "batches of 1,000, LISTEN and a poll every 50 ms, tasks not locked a second time";
    const UNFINISHED: &'static str = "SELECT count(*) FROM apalis.jobs WHERE status <> 'Done'";

    type Sender = PostgresStorage<Job>;
    type Worker = JoinHandle<()>;

    async fn open(_: &str, pool: &PgPool) -> anyhow::Result<Self> {
        PostgresStorage::setup(pool).await?;
        let config = Config::default()
            .queue("jobs")
            .batch_size(1_000)
            .lock_tasks(false);
        let storage = PostgresStorage::new(pool).with_config(config);
        Ok(Self { storage })
    }

    fn sender(&self) -> PostgresStorage<Job> {
        self.storage.clone()
    }

    async fn enqueue(storage: &mut PostgresStorage<Job>, job: Job) -> anyhow::Result<()> {
        storage.push(job).await?;
        Ok(())
    }

    async fn start(&self, aim: Aim, watch: Arc<Watch>) -> anyhow::Result<JoinHandle<()>> {
        // A notification that arrives while the worker fetches is lost to it until its next
        // heartbeat.
        let backend = self
            .storage
            .clone()
            .with_pubsub()
            .poll_with_interval(Duration::from_millis(50));
        let worker = WorkerBuilder::new(format!("{aim:?}"))
            .backend(backend)
            .data(watch)
            .build(handle);
        Ok(tokio::spawn(async move {
            if let Err(error) = worker.run().await {
                eprintln!("apalis: {error}");
            }
        }))
    }

    async fn stop(&self, worker: JoinHandle<()>) -> anyhow::Result<()> {
        worker.abort();
        Ok(())
    }
}

async fn handle(job: Job, watch: Data<Arc<Watch>>) -> Result<(), BoxDynError> {
    watch.begin(&job);
    Ok(())
}
