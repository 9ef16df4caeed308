//! PostgreSQL stops under load and starts again.

use std::time::Duration;

use rand::RngExt as _;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::query_scalar;
use tokio::time::sleep;

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// Kills the first process of PostgreSQL; the others notice it and exit.
pub(super) async fn kill(run: Run) -> anyhow::Result<Tally> {
    stops(run, Signal::KILL).await
}

/// Stops PostgreSQL with `pg_ctl stop --mode=immediate`.
pub(super) async fn immediate(run: Run) -> anyhow::Result<Tally> {
    stops(run, Signal::QUIT).await
}

async fn stops(run: Run, signal: Signal) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    let starts: Vec<_> = rig.nodes.iter().map(|node| node.starts()).collect();
    for _ in 0..2 {
        rig.about_during(0.5).await;
        rig.database.end(signal).await?;
        let down = rig.random.random_range(0..800);
        sleep(Duration::from_millis(down)).await;
        rig.database.resume().await?;
        rig.healed().await?;
    }
    if rig.nodes.iter().map(|node| node.starts()).ne(starts) {
        rig.violations
            .push("a node had to be started again".to_owned());
    }
    rig.finish(load).await
}

/// Kills the process of one session, so that the server ends all other sessions and recovers.
pub(super) async fn backend(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    for _ in 0..2 {
        rig.about_during(0.5).await;
        let mut connection = rig.database.connect().await?;
        let victim: i32 = query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'app'
             ORDER BY state = 'active' DESC, query_start DESC LIMIT 1",
        )
        .fetch_one(&mut connection)
        .await?;
        if let Some(victim) = Pid::from_raw(victim) {
            kill_process(victim, Signal::KILL)?;
        }
        rig.database.recovered(&mut connection).await?;
        rig.healed().await?;
    }
    rig.finish(load).await
}
