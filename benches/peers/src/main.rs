//! Measures one queue with one kind of job: durable jobs are enqueued from 64 callers, each by its
//! own call; then a handler that does nothing drains them; then jobs are enqueued one by one at a
//! slow rate to measure the pick-up time.
//!
//! `peers QUEUE DATABASE_URL JOBS PICKUPS` prints the result as one line of JSON.

mod apalis_postgres_queue;
mod graphile_worker_queue;
mod inbox;
mod job;
mod measure;

use anyhow::{Context as _, bail};
use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().context(what);
    let queue = next("which queue?")?;
    let url = next("which database?")?;
    let jobs = next("the number of JOBS is missing")?.parse()?;
    let pickups = next("the number of PICKUPS is missing")?.parse()?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(async {
        match queue.as_str() {
            "inbox" => measure::run::<inbox::Queue>(&url, jobs, pickups).await,
            "graphile_worker" => {
                measure::run::<graphile_worker_queue::Queue>(&url, jobs, pickups).await
            }
            "apalis-postgres" => {
                measure::run::<apalis_postgres_queue::Queue>(&url, jobs, pickups).await
            }
            other => bail!("unknown queue {other}"),
        }
    })?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured)?)?;
    // Some queues leave tasks behind that hold connections.
    runtime.shutdown_background();
    Ok(())
}
