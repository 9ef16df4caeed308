//! An accept-only process: it stores orders on PostgreSQL for `worker_only` to process.
//!
//! ```text
//! terminal 1:  export DATABASE_URL=postgres://…
//!              cargo run -p examples --example producer -- 1000
//! ```
//!
//! It prints `1000 accepted: 1000 new, 0 duplicates` and ends. In a second run, the same thousand
//! are duplicates. Without a number it sends a hundred orders.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

mod order;

use std::sync::Arc;

use tokio::task::JoinSet;
use webhook_core::{Accepted, Error, Inbox, InboxOptions};
use webhook_postgres::PgStore;

use order::Order;

/// The number of concurrent deliveries. The inbox combines them in few commits.
const CONCURRENCY: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL must name a database")?;
    let count: usize = std::env::args().nth(1).map_or(Ok(100), |it| it.parse())?;

    let store = PgStore::connect(&url).await?;
    store.migrate().await?;
    let inbox = Inbox::new(Arc::new(store.clone()), InboxOptions::default());

    let mut deliveries = JoinSet::new();
    let mut tally = Tally::default();
    for number in 0..count {
        if deliveries.len() == CONCURRENCY {
            finish_one(&mut deliveries, &mut tally).await?;
        }
        let inbox = inbox.clone();
        let order = Order {
            id: format!("demo-{number:06}"),
            total_cents: 1050,
        };
        deliveries.spawn(async move { inbox.accept(&order).await });
    }
    while !deliveries.is_empty() {
        finish_one(&mut deliveries, &mut tally).await?;
    }
    let Tally { new, duplicates } = tally;
    println!("{count} accepted: {new} new, {duplicates} duplicates");
    inbox.close().await;
    store.close().await;
    Ok(())
}

#[derive(Default)]
struct Tally {
    new: usize,
    duplicates: usize,
}

/// Waits for the answer to a delivery, and counts it.
async fn finish_one(
    deliveries: &mut JoinSet<Result<Accepted, Error>>,
    tally: &mut Tally,
) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(delivery) = deliveries.join_next().await {
        match delivery?? {
            Accepted::New => tally.new += 1,
            _ => tally.duplicates += 1,
        }
    }
    Ok(())
}
