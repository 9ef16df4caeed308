//! Other programs use an SQLite file under load.

use std::time::Duration;

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Connection as _, query, query_scalar};
use testkit::wait::Limit;
use tokio::time::sleep;

use crate::backend::{Backend as _, SqliteFile};
use crate::disk::Image;
use crate::ledger::now_us;
use crate::reconcile::Tally;
use crate::rig::{Promised, Rig, Run};

/// What the write-ahead log is cut to, once it can be: as in `webhook-sqlite`.
const LOG_LIMIT_BYTES: u64 = 64 << 20;

/// The number of backups.
const BACKUPS: u32 = 3;

/// The time until the log is short again.
const SHORTENED: Duration = Duration::from_secs(30);

/// Another program holds the lock of writers for longer than the nodes wait for it.
pub(super) async fn writer(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    for _ in 0..2 {
        let mut setup = rig.setup();
        let timeout = ("FAULTS_BUSY_TIMEOUT_MS", "300".to_owned());
        setup.variables.push(timeout);
        rig.start(setup)?;
    }
    rig.ready().await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    let mut other = rig.database.connect_to_write().await?;
    let lock = other.begin_with("BEGIN IMMEDIATE").await?;
    // This is longer than a lease.
    sleep(rig.lease + Duration::from_millis(500)).await;
    rig.refuses().await?;
    lock.rollback().await?;
    rig.healed().await?;
    rig.during(0.2).await;
    if !rig
        .nodes
        .iter()
        .any(|node| node.log().contains("locks the file"))
    {
        let unsaid = "no log says that another process locks the file".to_owned();
        rig.violations.push(unsaid);
    }
    rig.finish(load).await
}

/// Another program reads in one transaction for as long as the load lasts, so that the write-ahead
/// log cannot start again from its beginning. Nobody may notice, and afterwards the log must become
/// short again.
pub(super) async fn reader(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    // Nothing may be late; the limit leaves room for a busy machine.
    rig.patience = Duration::from_secs(7);
    rig.lease = Duration::from_secs(10);
    rig.start_nodes(1).await?;
    let load = rig.load();
    rig.acknowledges(1).await?;
    let mut reader = rig.database.connect().await?;
    let mut snapshot = reader.begin().await?;
    let before: i64 = query_scalar("SELECT count(*) FROM events")
        .fetch_one(&mut *snapshot)
        .await?;
    lengthen_log(&rig).await?;
    rig.during(1.0).await;
    let after: i64 = query_scalar("SELECT count(*) FROM events")
        .fetch_one(&mut *snapshot)
        .await?;
    ensure!(before == after, "the reader has no snapshot");
    let held = log_bytes(&rig)?;
    ensure!(held > LOG_LIMIT_BYTES, "the log was not held: {held} bytes");
    rig.must_not_be_noticed();
    snapshot.rollback().await?;
    let limit = Limit::of(SHORTENED);
    while log_bytes(&rig)? > LOG_LIMIT_BYTES {
        limit.pause(|| "the log is short again").await?;
    }
    rig.healed().await?;
    let released = log_bytes(&rig)?;
    rig.notes.push(format!(
        "log of {held} bytes while it was held, {released} afterwards"
    ));
    rig.finish(load).await
}

/// Makes the log longer than its limit, which would take the load minutes.
async fn lengthen_log(rig: &Rig<SqliteFile>) -> anyhow::Result<()> {
    let mut other = rig.database.connect_to_write().await?;
    query("CREATE TABLE ballast (zeroes BLOB)")
        .execute(&mut other)
        .await?;
    while log_bytes(rig)? <= LOG_LIMIT_BYTES {
        // Each write is short, because the nodes wait for it.
        for write in [
            "INSERT INTO ballast VALUES (zeroblob(1000000))",
            "DELETE FROM ballast",
        ] {
            query(write).execute(&mut other).await?;
            sleep(Duration::from_millis(10)).await;
        }
    }
    query("DROP TABLE ballast").execute(&mut other).await?;
    Ok(())
}

fn log_bytes(rig: &Rig<SqliteFile>) -> std::io::Result<u64> {
    Ok(std::fs::metadata(rig.database.wal())?.len())
}

/// Another program makes backups under load. Each must be whole, and have all that was acknowledged
/// before it began.
pub(super) async fn backup(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    rig.start_nodes(1).await?;
    let load = rig.load();
    let mut other = rig.database.connect().await?;
    for number in 0..BACKUPS {
        rig.acknowledges(20).await?;
        let began_us = now_us();
        let copy = rig.folder.path().join(format!("backup-{number}"));
        let sql = format!("VACUUM INTO '{}'", copy.display());
        query(AssertSqlSafe(sql)).execute(&mut other).await?;
        let image = Image::read(&copy)?;
        let found = rig
            .violations_of(&image, Promised::Before(began_us))
            .await?;
        rig.found(&format!("backup {number}"), found);
    }
    rig.healed().await?;
    rig.finish(load).await
}
