//! A transaction that stays open under load and prevents vacuum from removing rows.

use std::time::Duration;

use sqlx::{Connection as _, query};
use tokio::time::sleep;

use testkit::postgres::Postgres;

use crate::ledger::{self, Line, What, now_us};
use crate::reconcile::Tally;
use crate::rig::{DELAY, Rig, Run};

/// Runs the load once with such a transaction and once without, in random order, and measures how
/// many events are claimed each second at the start and at the end.
pub(super) async fn inject(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    rig.database
        .execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        .await?;
    rig.database.execute("SELECT pg_reload_conf()").await?;
    let held_first = run.seed.is_multiple_of(2);
    for is_held in [held_first, !held_first] {
        let claims = if is_held {
            let mut connection = rig.database.connect().await?;
            let mut old = connection.begin().await?;
            query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                .execute(&mut *old)
                .await?;
            query("SELECT count(*) FROM webhook.queue")
                .execute(&mut *old)
                .await?;
            let claims = claims_under_load(&mut rig).await?;
            rig.healed().await?;
            old.rollback().await?;
            claims
        } else {
            claims_under_load(&mut rig).await?
        };
        let with = if is_held { "with" } else { "without" };
        rig.notes
            .push(format!("{with} an old transaction: {claims}"));
        // The next load must begin in the same state as this one.
        rig.database.execute("VACUUM webhook.queue").await?;
    }
    let load = rig.load();
    rig.healed().await?;
    rig.finish(load).await
}

/// Runs a load, and reports the claims in its first and its last quarter.
async fn claims_under_load(rig: &mut Rig) -> anyhow::Result<String> {
    let load = rig.load();
    sleep(DELAY).await;
    let began_us = now_us();
    rig.during(1.0).await;
    let ended_us = now_us();
    load.finish().await?;
    rig.drained().await?;
    let lines = ledger::read(&rig.ledger)?;
    let quarter_us = (ended_us - began_us) / 4;
    let claims_from = |from_us: i64| {
        let during = from_us..from_us + quarter_us;
        let lines = lines.iter();
        let claims: Vec<&Line> = lines
            .filter(|line| line.what == What::Claimed && during.contains(&line.at_us))
            .collect();
        Claims::new(&claims, quarter_us)
    };
    let (first, last) = (claims_from(began_us), claims_from(ended_us - quarter_us));
    Ok(format!(
        "{:.0} events/s claimed at the start, {:.0} at the end; a claim took {:.2} ms, then {:.2} ms",
        first.events_per_second, last.events_per_second, first.median_ms, last.median_ms
    ))
}

struct Claims {
    events_per_second: f64,
    median_ms: f64,
}

impl Claims {
    fn new(claims: &[&Line], during_us: i64) -> Self {
        let events: i64 = claims.iter().map(|line| line.event).sum();
        let mut took_us: Vec<i64> = claims.iter().map(|line| line.lag_us).collect();
        took_us.sort_unstable();
        let median_us = took_us.get(took_us.len() / 2).copied().unwrap_or(0);
        Self {
            events_per_second: float(events) / float(during_us) * 1e6,
            median_ms: Duration::from_micros(median_us.unsigned_abs()).as_secs_f64() * 1_000.0,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no run has 2^52 events or microseconds"
)]
const fn float(count: i64) -> f64 {
    count as f64
}
