//! A worker-only process. Any number of them share the work of one database.
//!
//! ```text
//! terminal 1:  export DATABASE_URL=postgres://…
//!              cargo run -p examples --example producer -- 1000
//! terminal 2:  export DATABASE_URL=postgres://…
//!              cargo run -p examples --example worker_only
//! terminal 3:  the same as terminal 2
//! ```
//!
//! A worker prints `working`, and writes one row into the table `effects` for each order, in one
//! database transaction with the settlement. If you kill one with `kill -9`, the others take over
//! its events within a lease, and still no order has two rows:
//!
//! ```text
//! SELECT count(*), count(DISTINCT order_id) FROM effects;
//! ```
//!
//! Ctrl-C drains the worker: it prints `drained, 0 released` and ends. `WORK_MS` is how long the
//! work of one order takes (default 0), `PROCESSING_STALE_TIMEOUT_SECONDS` how long a lease lasts
//! (default 120).

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

mod order;

use std::sync::Arc;
use std::time::Duration;

use webhook_core::{Event, Handled, Handler, HandlerError, Settled, Worker, WorkerOptions};
use webhook_postgres::PgStore;
use webhook_postgres::sqlx::{self, PgPool, postgres::PgPoolOptions};

use order::Order;

/// The number of concurrent handlers. Each holds a connection while it works.
const CONCURRENCY: u32 = 8;

/// The table has no unique constraint, because the fence guarantees one row for each order.
const EFFECTS: &str = "
    SELECT pg_advisory_xact_lock(hashtext('effects'));
    CREATE TABLE IF NOT EXISTS effects (
        order_id text NOT NULL,
        attempt bigint NOT NULL,
        process bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL must name a database")?;
    let work = Duration::from_millis(number_from("WORK_MS", 0)?);
    let lease = Duration::from_secs(number_from("PROCESSING_STALE_TIMEOUT_SECONDS", 120)?);

    let store = PgStore::connect(&url).await?;
    store.migrate().await?;
    let app = PgPoolOptions::new()
        .max_connections(CONCURRENCY)
        .connect(&url)
        .await?;
    // One string of statements is one transaction, and workers may start together.
    sqlx::raw_sql(EFFECTS).execute(&app).await?;

    let handler = WriteEffect {
        app: app.clone(),
        store: store.clone(),
        work,
    };
    let options = WorkerOptions::default()
        .with_concurrency(CONCURRENCY as usize)
        .with_lease(lease);
    let worker = Worker::start(Arc::new(store.clone()), options, handler);
    println!("working");

    tokio::signal::ctrl_c().await?;
    let drained = worker.shutdown(Duration::from_secs(10)).await;
    println!("drained, {} released", drained.released);
    app.close().await;
    store.close().await;
    Ok(())
}

struct WriteEffect {
    app: PgPool,
    store: PgStore,
    work: Duration,
}

impl Handler<Order> for WriteEffect {
    async fn handle(&self, event: Event<Order>) -> Result<Handled, HandlerError> {
        let mut transaction = self.app.begin().await?;
        sqlx::query("INSERT INTO effects (order_id, attempt, process) VALUES ($1, $2, $3)")
            .bind(&event.payload.id)
            .bind(i64::from(event.lease.attempt.number()))
            .bind(i64::from(std::process::id()))
            .execute(&mut *transaction)
            .await?;
        tokio::time::sleep(self.work).await;
        let settled = self
            .store
            .settle_processed_in(&mut transaction, event.lease)
            .await?;
        if settled == Settled::LeaseLost {
            // Dropped, the transaction is rolled back: somebody else does this work.
            return Err(HandlerError::retry("lease was lost"));
        }
        transaction.commit().await?;
        Ok(Handled::Settled)
    }
}

fn number_from(variable: &str, default: u64) -> Result<u64, String> {
    match std::env::var(variable) {
        Ok(value) => value
            .parse()
            .map_err(|_| format!("{variable}={value}: must be a whole number")),
        Err(_) => Ok(default),
    }
}
