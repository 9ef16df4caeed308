//! A PostgreSQL server.

use sqlx::{PgConnection, Row as _, query_as, query_scalar};
use testkit::folder::Folder;
use testkit::postgres::Postgres;

use crate::stored::{Outcome, Stored};
use crate::tools::{Tools, url_at};

use super::Backend;

impl Backend for Postgres {
    type Connection = PgConnection;

    async fn start(tools: &Tools) -> anyhow::Result<(Folder, Self)> {
        let folder = tools.cluster().await?.folder("run")?;
        let data = folder.path().join("data");
        let postgres = tools.cluster().await?.start_copy(&data, &[]).await?;
        Ok((folder, postgres))
    }

    fn url(&self) -> String {
        url_at(self.port())
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        Postgres::connect(self).await
    }

    async fn stored(connection: &mut PgConnection) -> anyhow::Result<Vec<Stored>> {
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
                    first_due_at_us: Some(row.try_get("due_at_us")?),
                    is_queued: row.try_get("is_queued")?,
                    outcome,
                    conflicts: row.try_get("conflicts")?,
                })
            })
            .collect()
    }

    async fn effects(connection: &mut PgConnection) -> anyhow::Result<Vec<(i64, i64)>> {
        let effects = query_as("SELECT event, fence FROM public.effects");
        Ok(effects.fetch_all(connection).await?)
    }

    async fn strays(connection: &mut PgConnection) -> anyhow::Result<i64> {
        let strays = query_scalar(
            "SELECT (SELECT count(*) FROM webhook.queue WHERE id NOT IN (SELECT id FROM webhook.events))
                  + (SELECT count(*) FROM webhook.outcomes WHERE id NOT IN (SELECT id FROM webhook.events))",
        );
        Ok(strays.fetch_one(connection).await?)
    }

    async fn queued(connection: &mut PgConnection) -> anyhow::Result<i64> {
        let queued = query_scalar("SELECT count(*) FROM webhook.queue");
        Ok(queued.fetch_one(connection).await?)
    }

    async fn ended(connection: &mut PgConnection, keys: &[String]) -> anyhow::Result<i64> {
        let ended = query_scalar(
            "SELECT count(*) FROM webhook.outcomes JOIN webhook.events USING (id)
             WHERE key = ANY ($1)",
        );
        Ok(ended.bind(keys).fetch_one(connection).await?)
    }

    async fn damage(_: &mut PgConnection) -> anyhow::Result<Vec<String>> {
        // The checksums of its pages are off, and it has no check of a whole cluster at hand.
        Ok(Vec::new())
    }

    fn last_words(&self) -> String {
        format!("PostgreSQL:\n{}", Postgres::last_words(self))
    }
}
