//! Moves the sequence of `webhook.events` past the ids in use.
//!
//! A logical replica that takes over has the rows of its publisher, and not the sequence's value.

use sqlx::{PgConnection, Row};

use crate::error::PgError;
use crate::schema::Schema;

/// Whether the next id may be in use. A role that may not read the sequence cannot tell, nor could
/// it repair anything.
pub(super) async fn is_behind(
    schema: &Schema,
    connection: &mut PgConnection,
) -> Result<bool, PgError> {
    let readable = sqlx::raw_sql(schema.sql(
        "SELECT coalesce(has_sequence_privilege('webhook.events_id_seq', 'SELECT'), false)
         AND coalesce(has_table_privilege('webhook.events', 'SELECT'), false)
         WHERE to_regclass('webhook.events_id_seq') IS NOT NULL",
    ))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(readable) = readable else {
        return Ok(false);
    };
    if !readable.try_get::<bool, _>(0)? {
        return Ok(false);
    }
    let row = sqlx::raw_sql(schema.sql(
        "SELECT coalesce((SELECT max(id) FROM webhook.events), 0)
                >= CASE WHEN is_called THEN last_value + 1 ELSE last_value END
         FROM webhook.events_id_seq",
    ))
    .fetch_one(connection)
    .await?;
    Ok(row.try_get(0)?)
}

/// The lock keeps accepts out: one that took an id meanwhile would see the sequence move backwards.
const REPAIR: &str = "
    LOCK TABLE webhook.events IN SHARE ROW EXCLUSIVE MODE;
    SELECT setval('webhook.events_id_seq', greatest(
      (SELECT max(id) FROM webhook.events),
      (SELECT last_value FROM webhook.events_id_seq)))";

/// Inside a transaction.
pub(super) async fn repair(schema: &Schema, transaction: &mut PgConnection) -> Result<(), PgError> {
    if is_behind(schema, transaction).await? {
        super::apply(schema, transaction, "repair_sequence", REPAIR).await?;
        tracing::warn!(
            %schema,
            "the sequence of events was behind the ids in use; moved it past them"
        );
    }
    Ok(())
}
