//! The database has no connection, answer or time for the nodes.

use std::time::Duration;

use rustix::process::Signal;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Transaction, query};
use tokio::time::{Instant, sleep};

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::tools::APP;

/// Other clients hold every connection of the server.
pub(super) async fn connections(run: Run) -> anyhow::Result<Tally> {
    let settings = ["max_connections=24", "max_wal_senders=2"];
    let mut rig = Rig::with_settings(&run, &settings).await?;
    rig.database.execute("CREATE ROLE other LOGIN").await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    // Without the limit, the nodes would be quicker than the other clients to connect again.
    let limit = format!("ALTER ROLE {APP} CONNECTION LIMIT 0");
    rig.database.execute(limit).await?;
    throw_out(&rig).await?;
    let taken = take_all(&rig).await;
    let no_limit = format!("ALTER ROLE {APP} CONNECTION LIMIT -1");
    rig.database.execute(no_limit).await?;
    // One node has to start, the other to connect again, while no connection is available.
    rig.nodes[0].signal(Signal::KILL);
    rig.during(0.4).await;
    rig.refuses().await?;
    rig.notes.push(format!("{} connections taken", taken.len()));
    drop(taken);
    rig.healed().await?;
    rig.finish(load).await
}

async fn take_all(rig: &Rig) -> Vec<PgConnection> {
    let mut taken = Vec::new();
    let other = rig.database.options().clone().username("other");
    while let Ok(connection) = other.connect().await {
        taken.push(connection);
    }
    taken
}

/// Ends the nodes' sessions.
async fn throw_out(rig: &Rig) -> anyhow::Result<()> {
    rig.database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE usename = 'app' AND application_name <> 'harness'",
        )
        .await
}

/// All connections of the pools wait for a lock.
pub(super) async fn pool(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    let mut connection = rig.database.connect().await?;
    let lock = lock(&mut connection, "ACCESS EXCLUSIVE").await?;
    // This is longer than a lease.
    sleep(rig.lease + Duration::from_secs(1)).await;
    rig.refuses().await?;
    lock.rollback().await?;
    rig.healed().await?;
    rig.during(0.2).await;
    rig.finish(load).await
}

/// Locks the tables that the nodes' statements use. Statements that lock them in another order may
/// meet this one in a deadlock. The nodes' statements then end, because this connection does not
/// look for deadlocks.
async fn lock<'c>(
    connection: &'c mut PgConnection,
    mode: &str,
) -> anyhow::Result<Transaction<'c, sqlx::Postgres>> {
    let mut lock = connection.begin().await?;
    query("SET LOCAL deadlock_timeout = '1h'")
        .execute(&mut *lock)
        .await?;
    let tables = format!("LOCK TABLE webhook.events, webhook.queue IN {mode} MODE");
    query(AssertSqlSafe(tables)).execute(&mut *lock).await?;
    Ok(lock)
}

/// The role may not run a statement, wait for a lock or be idle in a transaction for longer than a
/// millisecond. Statements that still run are cancelled with the same error.
pub(super) async fn time(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.2).await;
    let settings = [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
    ];
    for setting in settings {
        let limit = format!("ALTER ROLE {APP} SET {setting} = '1ms'");
        rig.database.execute(limit).await?;
    }
    throw_out(&rig).await?;
    let mut connection = rig.database.connect().await?;
    let end = Instant::now() + Duration::from_secs_f64(run.seconds * 0.5);
    while rig.goes_on(end)? {
        // Statements have to wait for a lock, so that there is something to cancel.
        let lock = lock(&mut connection, "EXCLUSIVE").await?;
        sleep(Duration::from_millis(20)).await;
        rig.database
            .execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                 WHERE usename = 'app' AND state <> 'idle'",
            )
            .await?;
        lock.rollback().await?;
        sleep(Duration::from_millis(3)).await;
    }
    rig.database
        .execute(format!("ALTER ROLE {APP} RESET ALL"))
        .await?;
    rig.healed().await?;
    rig.finish(load).await
}
