//! One job through one queue: durable jobs, each enqueued by a call of its own from 64 callers;
//! then drained by a handler that does nothing; then picked up one by one at a slow rate.
//!
//! `peers QUEUE DATABASE_URL JOBS PICKUPS` prints what it measured as one line of JSON.

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
    let jobs = next("how many jobs?")?.parse()?;
    let pickups = next("how many to pick up?")?.parse()?;

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
            other => bail!("there is no queue {other}"),
        }
    })?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured)?)?;
    // Some of them leave tasks behind that hold connections.
    runtime.shutdown_background();
    Ok(())
}
