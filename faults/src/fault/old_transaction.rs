//! A transaction that stays open for the whole run, and holds vacuum back.

use std::time::Duration;

use sqlx::{Connection as _, query};
use tokio::time::sleep;

use crate::ledger::{self, Line, What};
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// First without, then with such a transaction: how claims slow down from the start to the end.
pub(super) async fn inject(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::new(&run).await?;
    rig.start_nodes(2).await?;
    rig.postgres
        .execute("ALTER SYSTEM SET autovacuum_naptime = 1; ")
        .await?;
    rig.postgres.execute("SELECT pg_reload_conf()").await?;

    let before = measure(&mut rig).await?;
    let mut connection = rig.postgres.connect().await?;
    let mut old = connection.begin().await?;
    query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *old)
        .await?;
    query("SELECT count(*) FROM webhook.queue")
        .execute(&mut *old)
        .await?;
    let with = measure(&mut rig).await?;
    rig.notes.push(format!("without: {before}; with: {with}"));
    let load = rig.load();
    rig.healed().await?;
    old.rollback().await?;
    rig.finish(load).await
}

/// A load, and how long claims took in its first and its last quarter.
async fn measure(rig: &mut Rig) -> anyhow::Result<String> {
    let known = ledger::read(&rig.ledger)?.len();
    let load = rig.load();
    rig.during(1.0).await;
    load.finish().await?;
    rig.drained().await?;
    sleep(Duration::from_millis(50)).await;
    let lines = ledger::read(&rig.ledger)?;
    let claims: Vec<&Line> = lines[known..]
        .iter()
        .filter(|line| line.what == What::Claimed)
        .collect();
    let quarter = claims.len() / 4;
    let events: i64 = claims.iter().map(|line| line.event).sum();
    Ok(format!(
        "{events} events in {} claims, median {:.2} ms in the first quarter, {:.2} ms in the last",
        claims.len(),
        median_ms(&claims[..quarter]),
        median_ms(&claims[claims.len() - quarter..]),
    ))
}

fn median_ms(claims: &[&Line]) -> f64 {
    let mut took: Vec<i64> = claims.iter().map(|line| line.lag_us).collect();
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or(0);
    Duration::from_micros(u64::try_from(median).unwrap_or(0)).as_secs_f64() * 1_000.0
}
