//! Server settings and foreign objects that could change the meaning of the nodes' statements.

use anyhow::ensure;
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// The WAL is written late by itself, so that a commit that does not wait for it would be lost.
const RELOADED: [&str; 6] = [
    "wal_writer_delay = '10s'",
    "synchronous_commit = off",
    "search_path = public",
    "lock_timeout = 1",
    "default_transaction_isolation = serializable",
    "enable_indexscan = off",
];

/// Changes the settings by a reload under load, then kills PostgreSQL.
pub(super) async fn reloaded(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    for setting in RELOADED {
        rig.database
            .execute(format!("ALTER SYSTEM SET {setting}"))
            .await?;
    }
    for _ in 0..2 {
        rig.database.execute("SELECT pg_reload_conf()").await?;
        rig.about_during(0.3).await;
        rig.database.end(Signal::KILL).await?;
        rig.database.resume().await?;
        rig.healed().await?;
    }
    rig.finish(load).await
}

/// Functions and operators that match the nodes' statements, and fail when they are called.
const TRAPS: &str = "
    CREATE FUNCTION public.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
    CREATE FUNCTION public.trap(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
    CREATE FUNCTION public.trap(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
    CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap);
    CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.trap);
    CREATE OPERATOR public.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.trap);
    CREATE FUNCTION public.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;";

/// A role without rights on the schema creates them in `public`, which the nodes' role searches
/// first.
pub(super) async fn hostile_role(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    // PostgreSQL granted this by default before version 15.
    rig.database
        .execute(
            "CREATE ROLE mallory LOGIN; GRANT CREATE ON SCHEMA public TO PUBLIC;
             ALTER ROLE app SET search_path = public, pg_catalog",
        )
        .await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    let hostile = rig.database.options().clone().username("mallory");
    let mut mallory = hostile.connect().await?;
    sqlx::raw_sql(TRAPS).execute(&mut mallory).await?;
    for table in ["events", "queue", "outcomes"] {
        let sql = format!("SELECT FROM webhook.{table}");
        let read = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut mallory)
            .await;
        ensure!(read.is_err(), "the hostile role may read webhook.{table}");
    }
    rig.about_during(0.3).await;
    // New sessions resolve their statements while these objects exist.
    rig.database.end(Signal::KILL).await?;
    rig.database.resume().await?;
    rig.healed().await?;
    rig.finish(load).await
}
