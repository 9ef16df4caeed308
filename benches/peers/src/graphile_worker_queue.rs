//! graphile_worker, the Rust crate, with the settings of its documentation and its own benches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use sqlx::postgres::PgPool;
use tokio::task::JoinHandle;

use crate::job::{Job, Watch};
use crate::measure::{Aim, Peer};

const SCHEMA: &str = "graphile_worker";

#[derive(Clone)]
struct Watching(Arc<Watch>);

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watching")
    }
}

impl TaskHandler for Job {
    const IDENTIFIER: &'static str = "job";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(watching) = context.get_ext::<Watching>() {
            watching.0.begin(&self);
        }
        Ok::<(), String>(())
    }
}

pub struct Queue {
    pool: PgPool,
}

impl Peer for Queue {
    const NAME: &'static str = "graphile_worker (Rust)";
    const CRATE: &'static str = "graphile_worker";
    const SETTINGS: &'static str = "drain: concurrency 500, local queue of 5,000, completions \
        batched for 5 ms, as its own bench; pick-up: concurrency 8, no batching";
    const UNFINISHED: &'static str = "SELECT count(*) FROM graphile_worker._private_jobs";

    type Sender = WorkerUtils;
    type Worker = JoinHandle<()>;

    async fn open(_: &str, pool: &PgPool) -> anyhow::Result<Self> {
        WorkerUtils::new(pool.clone(), SCHEMA).migrate().await?;
        // Registers the task, as its first worker would.
        WorkerOptions::default()
            .pg_pool(pool.clone())
            .schema(SCHEMA)
            .define_job::<Job>()
            .init()
            .await?;
        Ok(Self { pool: pool.clone() })
    }

    fn sender(&self) -> WorkerUtils {
        WorkerUtils::new(self.pool.clone(), SCHEMA)
    }

    async fn enqueue(utils: &mut WorkerUtils, job: Job) -> anyhow::Result<()> {
        utils.add_job(job, JobSpec::default()).await?;
        Ok(())
    }

    async fn start(&self, aim: Aim, watch: Arc<Watch>) -> anyhow::Result<JoinHandle<()>> {
        let options = WorkerOptions::default()
            .pg_pool(self.pool.clone())
            .schema(SCHEMA)
            .listen_os_shutdown_signals(false)
            .add_extension(Watching(watch))
            .define_job::<Job>();
        let options = match aim {
            Aim::Throughput => options
                .concurrency(500)
                .poll_interval(Duration::from_millis(5))
                .complete_job_batch_delay(Duration::from_millis(5))
                .local_queue(LocalQueueConfig::default().with_size(5_000)),
            Aim::Latency => options.concurrency(8),
        };
        let worker = options.init().await?;
        Ok(tokio::spawn(async move {
            if let Err(error) = worker.run().await {
                eprintln!("graphile_worker: {error}");
            }
        }))
    }

    async fn stop(&self, worker: JoinHandle<()>) -> anyhow::Result<()> {
        worker.abort();
        Ok(())
    }
}
