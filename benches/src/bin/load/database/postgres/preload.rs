//! Events that exist before a run begins, written by SQL as the inbox would have left them.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, PgPool, query, query_scalar, raw_sql};

use crate::database::Preload;
use crate::progress::Progress;

/// How many events one statement writes.
const CHUNK: usize = 250_000;

/// Makes events from numbers `n`: with random keys, bodies of 300 bytes, and one due time for every
/// 64, as a batch has.
macro_rules! new_events {
    ($due:literal, $then:literal) => {
        concat!(
            "WITH new AS (
               INSERT INTO webhook.events (kind, key, fingerprint, body, accepted_at, due_at)
               SELECT 'transaction', key, sha256(key::bytea),
                      rpad('{\"transaction_id\":\"' || key || '\",\"source_account\":\"acc_user_789\",'
                        || '\"destination_account\":\"acc_merchant_456\",\"amount\":1500.50,'
                        || '\"currency\":\"USD\",\"reference\":\"' || md5(key) || md5(key || 1), 298, 'x')::bytea
                        || '\"}'::bytea,
                      statement_timestamp(), ",
            $due,
            "  FROM (SELECT n, 'pre_' || left(md5(n::text), 16) AS key
                     FROM generate_series($1::bigint, $2::bigint) AS n) AS numbered
               RETURNING id, due_at
             ) ",
            $then
        )
    };
}

const DUE: &str = new_events!(
    "statement_timestamp() - ($3::float8 - (n - n % 64) / 1000000.0) * interval '1 second'",
    "INSERT INTO webhook.queue (id, kind, due_at) SELECT id, 'transaction', due_at FROM new"
);

const WAITING: &str = new_events!(
    "statement_timestamp() + ($3::float8 + (n - n % 64) / 1000.0) * interval '1 second'",
    "INSERT INTO webhook.queue (id, kind, due_at) SELECT id, 'transaction', due_at FROM new"
);

const PROCESSED: &str = new_events!(
    "statement_timestamp() - $3::float8 * interval '1 second'",
    "INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at)
     SELECT id, 'transaction', false, 1, 1, due_at FROM new"
);

pub(super) async fn write(
    pool: &PgPool,
    progress: &Progress,
    preload: Preload,
    count: u64,
) -> anyhow::Result<()> {
    let statement = match preload {
        Preload::Due => DUE,
        Preload::Waiting => WAITING,
        Preload::Processed => PROCESSED,
    };
    let seconds = preload.distance().as_secs_f64();
    progress.begin("preload", count);
    // Inserting random keys into an index larger than memory would take most of the time: build
    // it afterwards.
    let keys: String = query_scalar(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'events_once'",
    )
    .fetch_one(pool)
    .await?;
    query("ALTER TABLE webhook.events DROP CONSTRAINT events_once")
        .execute(pool)
        .await?;
    let written = AtomicU64::new(0);
    let write = async |from: u64| -> anyhow::Result<()> {
        for from in (from..count).step_by(2 * CHUNK) {
            let to = count.min(from + CHUNK as u64);
            query(statement)
                .bind(i64::try_from(from + 1)?)
                .bind(i64::try_from(to)?)
                .bind(seconds)
                .execute(pool)
                .await?;
            let before = written.fetch_add(to - from, Ordering::Relaxed);
            progress.at(before + to - from, String::new());
        }
        Ok(())
    };
    tokio::try_join!(write(0), write(CHUNK as u64))?;
    let add = format!("ALTER TABLE webhook.events ADD CONSTRAINT events_once {keys}");
    raw_sql(AssertSqlSafe(format!(
        "SET LOCAL maintenance_work_mem = '1GB'; {add}"
    )))
    .execute(pool)
    .await?;
    // Autovacuum would have run by the time a table is this large.
    query("VACUUM (ANALYZE)").execute(pool).await?;
    Ok(())
}
