//! Events that exist before a run begins, written by SQL as the inbox would have left them.

use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Connection as _, Executor as _, QueryBuilder, query, query_scalar};
use webhook_core::{Envelope, Fingerprint, Headers};
use webhook_server::transaction::Transaction;

use super::wall_micros;
use crate::database::Preload;
use crate::progress::Progress;
use crate::request::{self, BODY_BYTES};

/// How many events one statement writes.
const ROWS: u64 = 500;

/// How many events one transaction writes.
const CHUNK: u64 = 100_000;

/// Writes `count` events into a file that holds none.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    progress: &Progress,
    preload: Preload,
    count: u64,
) -> anyhow::Result<()> {
    progress.begin("preload", count);
    let kind: i64 = query_scalar("INSERT INTO kinds (name) VALUES (?1) RETURNING kind")
        .bind(envelope(0)?.kind.as_str())
        .fetch_one(&mut *connection)
        .await?;
    for from in (0..count).step_by(usize::try_from(CHUNK)?) {
        let to = count.min(from + CHUNK);
        let mut transaction = connection.begin().await?;
        for from in (from..to).step_by(usize::try_from(ROWS)?) {
            let numbers = from..to.min(from + ROWS);
            insert(&mut transaction, preload, kind, numbers).await?;
        }
        transaction.commit().await?;
        progress.at(to, String::new());
    }
    // From here on writes are synchronous: nothing is left for the system to write during the run.
    connection.execute("PRAGMA synchronous = FULL").await?;
    // The keys of all events at once, in their order: to insert random keys would take most of the time.
    for statement in [
        "INSERT INTO key_index (hash, id) SELECT key_hash, id FROM events ORDER BY key_hash, id",
        "UPDATE key_index_state SET through_id = coalesce((SELECT max(id) FROM events), 0)",
    ] {
        query(statement).execute(&mut *connection).await?;
    }
    connection
        .execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .await?;
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    preload: Preload,
    kind: i64,
    numbers: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let micros = |duration: Duration| i64::try_from(duration.as_micros());
    let now = wall_micros();
    let distance = micros(preload.distance())?;
    let mut rows = Vec::new();
    for number in numbers {
        // One due time for every 64, as a batch has.
        let batch = i64::try_from(number - number % 64)?;
        let time = match preload {
            Preload::Due => now - distance + batch,
            Preload::Waiting => now + distance + batch * 1_000,
            Preload::Processed => now - distance,
        };
        rows.push((i64::try_from(number)? + 1, envelope(number)?, time));
    }

    let mut events = QueryBuilder::<Sqlite>::new(
        "INSERT INTO events (id, kind, key, key_hash, fingerprint, body, accepted_us) ",
    );
    events.push_values(&rows, |mut row, (id, event, _)| {
        row.push_bind(*id)
            .push_bind(kind)
            .push_bind(event.key.as_str())
            .push_bind(key_hash(event))
            .push_bind(&event.fingerprint.as_bytes()[..])
            .push_bind(&event.body[..])
            .push_bind(now);
    });
    events.build().execute(&mut *connection).await?;

    let mut state = QueryBuilder::<Sqlite>::new(match preload {
        Preload::Due | Preload::Waiting => "INSERT INTO queue (id, kind, due_us) ",
        Preload::Processed => {
            "INSERT INTO outcomes (id, kind, settled_us, failed, attempts, fence) "
        }
    });
    state.push_values(&rows, |mut row, (id, _, time)| {
        row.push_bind(*id).push_bind(kind).push_bind(*time);
        if preload == Preload::Processed {
            row.push_bind(0).push_bind(1).push_bind(1);
        }
    });
    state.build().execute(&mut *connection).await?;
    Ok(())
}

/// The event with this number. Its key is in no order, and no measurement sends it.
pub(super) fn envelope(number: u64) -> anyhow::Result<Envelope> {
    let body = Bytes::from(request::body(request::preloaded_key(number), BODY_BYTES));
    Ok(Envelope::of::<Transaction>(body, Headers::new())?)
}

/// As webhook-sqlite has it: the first 64 bits of a digest of the kind and the key.
fn key_hash(event: &Envelope) -> i64 {
    let digest = Fingerprint::of([event.kind.as_str(), event.key.as_str()]);
    let (first, _) = digest
        .as_bytes()
        .split_first_chunk()
        .expect("a digest has 32 bytes");
    i64::from_be_bytes(*first)
}
