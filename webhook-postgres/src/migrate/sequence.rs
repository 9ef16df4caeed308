//! Repairs the sequence of `webhook.events`: moves it past the ids in use.
//!
//! A logical replica has the rows of its publisher, but not the value of the sequence.

use sqlx::{PgConnection, Row};

use crate::error::PgError;
use crate::schema::Schema;

/// Whether the next id may be in use. A role that may not read the sequence cannot find out, and could not
/// repair it either.
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

/// The lock keeps accepts out: an id that is taken meanwhile would make this move the sequence backwards.
const REPAIR: &str = "
    LOCK TABLE webhook.events IN SHARE ROW EXCLUSIVE MODE;
    SELECT setval('webhook.events_id_seq', greatest(
      (SELECT max(id) FROM webhook.events),
      (SELECT last_value FROM webhook.events_id_seq)))";

/// Repairs the sequence, inside a transaction, if it is behind.
pub(super) async fn repair(schema: &Schema, transaction: &mut PgConnection) -> Result<(), PgError> {
    if is_behind(schema, transaction).await? {
        super::apply(schema, transaction, "repair_sequence", REPAIR).await?;
        tracing::warn!(
            %schema,
            "the sequence of events was behind the ids in use, and was moved past them"
        );
    }
    Ok(())
}
