//! Reads what the database holds at the end of a run.

use sqlx::{PgConnection, Row};

/// A stored event.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
    pub(crate) accepted_at_us: i64,
    pub(crate) due_at_us: i64,
    pub(crate) is_queued: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) conflicts: i64,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) attempts: i32,
    pub(crate) fence: i64,
    pub(crate) settled_at_us: i64,
    pub(crate) reason: Option<String>,
}

/// Reads all events.
pub(crate) async fn all(connection: &mut PgConnection) -> anyhow::Result<Vec<Stored>> {
    let rows = sqlx::query(
        "SELECT event.id, event.key, event.body,
                (extract(epoch FROM event.accepted_at) * 1000000)::bigint AS accepted_at_us,
                (extract(epoch FROM event.due_at) * 1000000)::bigint AS due_at_us,
                item.id IS NOT NULL AS is_queued,
                outcome.failed, outcome.attempts, outcome.fence, outcome.reason,
                (extract(epoch FROM outcome.settled_at) * 1000000)::bigint AS settled_at_us,
                coalesce(conflict.count, 0) AS conflicts
         FROM webhook.events AS event
         LEFT JOIN webhook.queue AS item USING (id)
         LEFT JOIN webhook.outcomes AS outcome USING (id)
         LEFT JOIN webhook.conflicts AS conflict USING (id)
         ORDER BY event.id",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let failed: Option<bool> = row.try_get("failed")?;
            let outcome = match failed {
                Some(failed) => Some(Outcome {
                    failed,
                    attempts: row.try_get("attempts")?,
                    fence: row.try_get("fence")?,
                    settled_at_us: row.try_get("settled_at_us")?,
                    reason: row.try_get("reason")?,
                }),
                None => None,
            };
            Ok(Stored {
                id: row.try_get("id")?,
                key: row.try_get("key")?,
                body: row.try_get("body")?,
                accepted_at_us: row.try_get("accepted_at_us")?,
                due_at_us: row.try_get("due_at_us")?,
                is_queued: row.try_get("is_queued")?,
                outcome,
                conflicts: row.try_get("conflicts")?,
            })
        })
        .collect()
}

/// Reads the effects that handlers wrote to the database: the event and the fence of each.
pub(crate) async fn effects(connection: &mut PgConnection) -> anyhow::Result<Vec<(i64, i64)>> {
    let effects = sqlx::query_as("SELECT event, fence FROM public.effects");
    Ok(effects.fetch_all(connection).await?)
}

/// Counts the rows of the queue and of the outcomes that belong to no event.
pub(crate) async fn strays(connection: &mut PgConnection) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM webhook.queue WHERE id NOT IN (SELECT id FROM webhook.events))
              + (SELECT count(*) FROM webhook.outcomes WHERE id NOT IN (SELECT id FROM webhook.events))",
    )
    .fetch_one(connection)
    .await?)
}
