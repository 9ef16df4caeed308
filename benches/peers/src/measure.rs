//! The measurement, the same for every queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::job::{Job, PICKUP_FROM, Watch};

/// The number of concurrent callers that enqueue. Each may have its own connection.
pub const CALLERS: u32 = 64;

const PICKUPS_PER_SECOND: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(300);

/// The property that a worker is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Throughput,
    Latency,
}

/// A queue.
pub trait Peer: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// The crate that contains the queue.
    const CRATE: &'static str;
    /// The settings that differ from the defaults.
    const SETTINGS: &'static str;
    /// The query that counts the unfinished jobs.
    const UNFINISHED: &'static str;

    type Sender: Send + 'static;
    type Worker: Send;

    /// Sets up an empty database. `pool` has a connection for every caller.
    fn open(url: &str, pool: &PgPool) -> impl Future<Output = anyhow::Result<Self>> + Send;
    /// Returns the handle with which a caller enqueues.
    fn sender(&self) -> Self::Sender;
    /// Returns when the job is durable.
    fn enqueue(
        sender: &mut Self::Sender,
        job: Job,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Starts a worker that is connected and ready when this returns. Its handler only calls
    /// [`Watch::begin`].
    fn start(
        &self,
        aim: Aim,
        watch: Arc<Watch>,
    ) -> impl Future<Output = anyhow::Result<Self::Worker>> + Send;
    fn stop(&self, worker: Self::Worker) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub queue: &'static str,
    pub version: &'static str,
    pub settings: &'static str,
    pub enqueue_per_second: f64,
    pub drain_per_second: f64,
    /// The time from the call that enqueues to the start of the handler, in milliseconds.
    pub pickup_p50: f64,
    pub pickup_p99: f64,
    /// The time from the return of that call to the start of the handler; zero if the handler
    /// started first.
    pub after_enqueue_p50: f64,
    pub after_enqueue_p99: f64,
}

pub async fn run<P: Peer>(url: &str, jobs: u64, pickups: u64) -> anyhow::Result<Measured> {
    let pool = PgPoolOptions::new()
        .max_connections(CALLERS)
        .min_connections(CALLERS)
        .connect(url)
        .await?;
    let queue = P::open(url, &pool).await?;

    let enqueue_per_second = enqueue(&queue, jobs).await?;
    let durable: i64 = sqlx::query_scalar(P::UNFINISHED).fetch_one(&pool).await?;
    ensure!(
        durable == i64::try_from(jobs)?,
        "{durable} of {jobs} jobs are in the database"
    );
    for statement in ["VACUUM (ANALYZE)", "CHECKPOINT"] {
        sqlx::raw_sql(statement).execute(&pool).await?;
    }
    let drain_per_second = drain(&queue, &pool, jobs).await?;
    let mut pickup = pick_up(&queue, &pool, pickups).await?;

    Ok(Measured {
        queue: P::NAME,
        version: version(P::CRATE),
        settings: P::SETTINGS,
        enqueue_per_second,
        drain_per_second,
        pickup_p50: percentile(&mut pickup.from_call, 0.5),
        pickup_p99: percentile(&mut pickup.from_call, 0.99),
        after_enqueue_p50: percentile(&mut pickup.from_return, 0.5),
        after_enqueue_p99: percentile(&mut pickup.from_return, 0.99),
    })
}

async fn enqueue<P: Peer>(queue: &P, jobs: u64) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let mut sender = queue.sender();
        callers.spawn(async move {
            for number in (u64::from(caller)..jobs).step_by(CALLERS as usize) {
                P::enqueue(&mut sender, Job::new(number)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(jobs as f64 / start.elapsed().as_secs_f64())
}

/// Returns the time from the start of a worker until the database has no unfinished job.
async fn drain<P: Peer>(queue: &P, pool: &PgPool, jobs: u64) -> anyhow::Result<f64> {
    let watch = Arc::new(Watch::default());
    let worker = queue.start(Aim::Throughput, Arc::clone(&watch)).await?;
    let start = Instant::now();
    await_count(&watch, jobs).await?;
    await_finished::<P>(pool).await?;
    let elapsed = start.elapsed();
    queue.stop(worker).await?;
    Ok(jobs as f64 / elapsed.as_secs_f64())
}

#[derive(Debug, Default)]
struct Pickup {
    from_call: Vec<Duration>,
    from_return: Vec<Duration>,
}

async fn pick_up<P: Peer>(queue: &P, pool: &PgPool, pickups: u64) -> anyhow::Result<Pickup> {
    let watch = Arc::new(Watch::default());
    let worker = queue.start(Aim::Latency, Arc::clone(&watch)).await?;
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..pickups {
        let due = Duration::from_secs(number) / PICKUPS_PER_SECOND;
        sleep_until((start + due).into()).await;
        let mut sender = queue.sender();
        callers.spawn(async move {
            let called = Instant::now();
            P::enqueue(&mut sender, Job::new(PICKUP_FROM + number)).await?;
            anyhow::Ok((number, called, Instant::now()))
        });
    }
    let mut pickup = Pickup::default();
    await_count(&watch, pickups).await?;
    let mut begun = watch.begun();
    begun.sort_unstable();
    while let Some(caller) = callers.join_next().await {
        let (number, called, returned) = caller??;
        let (_, begun) = begun[usize::try_from(number)?];
        pickup.from_call.push(begun - called);
        pickup
            .from_return
            .push(begun.saturating_duration_since(returned));
    }
    await_finished::<P>(pool).await?;
    queue.stop(worker).await?;
    Ok(pickup)
}

async fn await_count(watch: &Watch, count: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    while watch.count() < count {
        let seen = watch.count();
        ensure!(
            start.elapsed() < PATIENCE,
            "only {seen} of {count} jobs were handled"
        );
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn await_finished<P: Peer>(pool: &PgPool) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let unfinished: i64 = sqlx::query_scalar(P::UNFINISHED).fetch_one(pool).await?;
        if unfinished == 0 {
            return Ok(());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "{unfinished} jobs were never finished"
        );
        sleep(Duration::from_millis(2)).await;
    }
}

fn percentile(durations: &mut [Duration], share: f64) -> f64 {
    durations.sort_unstable();
    let index = (durations.len() as f64 * share) as usize;
    let duration = durations.get(index.min(durations.len().saturating_sub(1)));
    duration.map_or(0.0, |duration| duration.as_secs_f64() * 1000.0)
}

/// Returns the version of a crate that this program was built with.
fn version(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
    entry
        .and_then(|(_, version)| version.split('"').next())
        .unwrap_or("unknown version")
}
