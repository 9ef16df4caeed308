//! PgBouncer between nodes and PostgreSQL, with fewer connections to PostgreSQL than to the nodes.

use std::time::Duration;

use rand::RngExt as _;
use rustix::process::Signal;
use testkit::pgbouncer::{PgBouncer, version};
use tokio::time::sleep;

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::tools::APP;

use super::Unsupported;

/// The number of connections for the pools of two nodes, which have four each.
const CONNECTIONS: u32 = 2;

/// Runs PgBouncer without support for prepared statements.
pub(super) async fn plain(run: Run) -> anyhow::Result<Tally> {
    let settings = if has_prepared_statements().await? {
        "max_prepared_statements = 0"
    } else {
        ""
    };
    behind(run, settings).await
}

/// Runs PgBouncer with support for prepared statements.
pub(super) async fn prepared(run: Run) -> anyhow::Result<Tally> {
    if !has_prepared_statements().await? {
        let (major, minor) = version().await?;
        let reason = format!("PgBouncer {major}.{minor} has no max_prepared_statements; 1.21 has");
        return Err(Unsupported(reason).into());
    }
    behind(run, "max_prepared_statements = 100").await
}

async fn has_prepared_statements() -> anyhow::Result<bool> {
    Ok(version().await? >= (1, 21))
}

async fn behind(run: Run, settings: &str) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    let folder = rig.folder.path().to_owned();
    let port = rig.database.port();
    let mut pooler = PgBouncer::start(
        &run.tools.cluster().await?.programs,
        &folder,
        port,
        APP,
        CONNECTIONS,
        settings,
    )
    .await?;
    for _ in 0..2 {
        rig.start(rig.setup_at(pooler.port()))?;
    }
    rig.ready().await?;
    let load = rig.load();
    rig.about_during(0.4).await;
    rig.nodes[0].signal(Signal::KILL);
    rig.healed().await?;
    rig.about_during(0.3).await;
    pooler.kill().await?;
    let down = rig.random.random_range(0..500);
    sleep(Duration::from_millis(down)).await;
    pooler.resume().await?;
    rig.healed().await?;
    rig.during(0.2).await;
    if !rig.nodes[1].log().contains("transaction-mode pooler") {
        let unnoticed = "a node did not notice the pooler".to_owned();
        rig.violations.push(unnoticed);
    }
    rig.finish(load).await
}
