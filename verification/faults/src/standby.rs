//! A standby server, which replicates the first one.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;
use sqlx::query_scalar;
use testkit::postgres::{ADMIN, Postgres};
use testkit::process::run;
use testkit::wait::Limit;

use crate::rig::Rig;

/// The time-out of starting to replicate, and of the promotion.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts a standby of the rig's server. From then on a commit returns when both servers have it.
pub(crate) async fn follow(rig: &Rig) -> anyhow::Result<Postgres> {
    let data = rig.folder.path().join("standby");
    let cluster = rig.run.tools.cluster().await?;
    let mut backup = cluster.programs.command("pg_basebackup");
    backup
        .args(["--host=127.0.0.1", "--username", ADMIN, "--port"])
        .arg(rig.database.port().to_string())
        .arg("--pgdata")
        .arg(&data)
        .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
    run(&mut backup).await?;
    let standby = cluster.start(&data, &[]).await?;
    for setting in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        rig.database.execute(setting).await?;
    }
    let mut primary = rig.database.connect().await?;
    let limit = Limit::of(LIMIT);
    loop {
        let synchronous: bool = query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')",
        )
        .fetch_one(&mut primary)
        .await?;
        if synchronous {
            return Ok(standby);
        }
        limit
            .pause(|| format!("the standby is synchronous: {}", standby.last_words()))
            .await?;
    }
}

/// Promotes the standby to the primary.
pub(crate) async fn promote(standby: &Postgres) -> anyhow::Result<()> {
    let limit = Limit::of(LIMIT);
    loop {
        // A statement that waits for the promotion may be in the way of what is replayed before it, and
        // is cancelled then.
        let mut connection = standby.connect().await?;
        let asked = query_scalar("SELECT pg_is_in_recovery() AND pg_promote(wait => false)");
        let is_standby: Result<bool, sqlx::Error> = asked.fetch_one(&mut connection).await;
        if matches!(is_standby, Ok(false)) {
            return Ok(());
        }
        limit
            .pause(|| format!("{is_standby:?} is promoted: {}", standby.last_words()))
            .await?;
    }
}

/// Returns the standby's process that receives the WAL.
pub(crate) async fn receiver(standby: &Postgres) -> anyhow::Result<Pid> {
    let mut connection = standby.connect().await?;
    let pid: i32 = query_scalar("SELECT pid FROM pg_stat_wal_receiver")
        .fetch_one(&mut connection)
        .await?;
    Pid::from_raw(pid).context("a pid is positive")
}
