//! Schemas that are incomplete, older or newer than the program.

use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use rustix::process::Signal;
use sqlx::{query, query_scalar};
use testkit::wait::Limit;
use tokio::time::sleep;

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// How often a migration is interrupted by the death of each side.
const INTERRUPTIONS: u32 = 3;

/// The delay at every step of the migration.
const SLOW: &str = "
    CREATE FUNCTION public.dawdle() RETURNS event_trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_sleep(0.03); END $$;
    CREATE EVENT TRIGGER dawdle ON ddl_command_end EXECUTE FUNCTION public.dawdle()";

/// The migrating process dies during the migration, and so does PostgreSQL: nothing of the schema
/// is left, and the next process creates all of it.
pub(super) async fn half_migrated(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.database.execute(SLOW).await?;
    let mut interrupted = 0;
    for number in 0..2 * INTERRUPTIONS {
        let mut migrating = rig
            .server_command(&["migrate"])
            .stderr(Stdio::null())
            .spawn()?;
        await_migration(&rig).await?;
        let pause = rig.random.random_range(0..300);
        sleep(Duration::from_millis(pause)).await;
        if number % 2 == 0 {
            migrating.kill().await?;
            until_alone(&rig).await?;
        } else {
            rig.database.end(Signal::KILL).await?;
            rig.database.resume().await?;
            migrating.kill().await?;
        }
        let mut connection = rig.database.connect().await?;
        let relations: i64 = query_scalar(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('webhook')",
        )
        .fetch_one(&mut connection)
        .await?;
        if relations == 0 {
            interrupted += 1;
        } else if !is_whole(&mut rig).await? {
            rig.violations
                .push(format!("half a schema: {relations} relations"));
        }
    }
    ensure!(interrupted > 0, "no migration was interrupted");
    rig.notes
        .push(format!("{interrupted} migrations interrupted"));
    rig.database
        .execute("DROP EVENT TRIGGER dawdle; DROP FUNCTION public.dawdle()")
        .await?;
    // All nodes migrate at once while there is still something to do.
    rig.start_nodes(3).await?;
    let load = rig.load();
    rig.healed().await?;
    rig.during(0.4).await;
    rig.finish(load).await
}

/// Waits until the migration has begun to create objects.
async fn await_migration(rig: &Rig) -> anyhow::Result<()> {
    let mut connection = rig.database.connect().await?;
    let limit = Limit::of(Duration::from_secs(30));
    loop {
        let under_way: bool = query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE usename = 'app' AND wait_event = 'PgSleep')
             OR to_regclass('webhook.migrations') IS NOT NULL",
        )
        .fetch_one(&mut connection)
        .await?;
        if under_way {
            return Ok(());
        }
        limit.pause(|| "the migration begins").await?;
    }
}

/// Waits until PostgreSQL has noticed that the migrating process is dead.
async fn until_alone(rig: &Rig) -> anyhow::Result<()> {
    let mut connection = rig.database.connect().await?;
    let limit = Limit::of(Duration::from_secs(30));
    loop {
        let sessions: i64 =
            query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
                .fetch_one(&mut connection)
                .await?;
        if sessions == 0 {
            return Ok(());
        }
        limit.pause(|| "the migration's session ends").await?;
    }
}

/// Returns whether the server accepts the schema as complete, without rights to change it.
async fn is_whole(rig: &mut Rig) -> anyhow::Result<bool> {
    Ok(rig.server(&["status"], &[]).await?.code == Some(0))
}

/// The schema is newer than the server, which refuses to start. Running nodes continue.
pub(super) async fn newer(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.2).await;
    rig.database
        .execute("INSERT INTO webhook.migrations (version, name) VALUES (999, 'of_tomorrow')")
        .await?;
    for arguments in [&[][..], &["migrate"]] {
        let ended = rig.server(arguments, &[]).await?;
        rig.must_refuse(
            &ended,
            "has version 999, but this program only knows versions up to",
        );
    }
    // Running nodes lose nothing, and the restarted one does no harm.
    rig.acknowledges(20).await?;
    rig.nodes[0].signal(Signal::KILL);
    rig.about_during(0.3).await;
    rig.database
        .execute("DELETE FROM webhook.migrations WHERE version = 999")
        .await?;
    rig.healed().await?;
    rig.finish(load).await
}

/// The schema seems older than the server. Nodes that may not migrate say so; the one that may
/// fails on existing objects and changes nothing.
pub(super) async fn older(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.2).await;
    let mut connection = rig.database.connect().await?;
    // Removes the records of all migrations, because the latest ones alone might be repeatable.
    let (versions, names): (Vec<i32>, Vec<String>) = sqlx::query_as(
        "WITH gone AS (DELETE FROM webhook.migrations RETURNING version, name)
         SELECT array_agg(version), array_agg(name) FROM gone",
    )
    .fetch_one(&mut connection)
    .await?;
    let ended = rig.server(&["migrate"], &[]).await?;
    rig.must_refuse(&ended, "already exists");
    let ended = rig.server(&["status"], &[]).await?;
    rig.must_refuse(&ended, "run the migration");
    let mut setup = rig.setup();
    setup.variables.push(("MIGRATE", "off".to_owned()));
    rig.start(setup)?;
    let node = rig.nodes.len() - 1;
    let limit = Limit::of(Duration::from_secs(30));
    let readiness = loop {
        if let Some(status) = rig.nodes[node].readiness().await {
            break status;
        }
        limit.pause(|| "the node answers /readyz").await?;
    };
    if readiness != 503 {
        let ready = format!("/readyz of a node without its schema: {readiness}");
        rig.violations.push(ready);
    }
    query("INSERT INTO webhook.migrations (version, name) SELECT * FROM unnest($1, $2)")
        .bind(versions)
        .bind(names)
        .execute(&mut connection)
        .await?;
    rig.ready().await?;
    rig.healed().await?;
    rig.during(0.2).await;
    rig.finish(load).await
}
