//! Repairs the sequence of `webhook.events`: moves it past the ids in use.
//!
//! A logical replica has the rows of its publisher, but not the value of the sequence.
//!
//! In Citus, each node that is asked for ids has a sequence of its own, whose values begin with the number of the node in
//! their highest 16 bits. A sequence is compared with the ids in its own range. PostgreSQL's ids are all in the first one.

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
    let ids = ids(schema, connection).await?;
    Ok(ids.newest >= ids.next)
}

/// The ids in the range of the sequence: the greatest in use, or 0, and the next one that the sequence returns.
struct Ids {
    newest: i64,
    next: i64,
}

/// The lowest bits of an id, which Citus does not use for the number of a node.
const BITS_OF_RANGE: u32 = 48;

async fn ids(schema: &Schema, connection: &mut PgConnection) -> Result<Ids, PgError> {
    let row = sqlx::raw_sql(schema.sql("SELECT last_value, is_called FROM webhook.events_id_seq"))
        .fetch_one(&mut *connection)
        .await?;
    let last: i64 = row.try_get("last_value")?;
    let next = last.saturating_add(i64::from(row.try_get::<bool, _>("is_called")?));
    let end_of_range = last | ((1 << BITS_OF_RANGE) - 1);
    let newest =
        format!("SELECT coalesce(max(id), 0) FROM webhook.events WHERE id <= {end_of_range}");
    let row = sqlx::raw_sql(schema.sql_of(newest))
        .fetch_one(connection)
        .await?;
    let newest = row.try_get(0)?;
    Ok(Ids { newest, next })
}

/// Keeps accepts out: an id that is taken meanwhile would make the repair move the sequence backwards.
const LOCK_EVENTS: &str = "LOCK TABLE webhook.events IN SHARE ROW EXCLUSIVE MODE";

/// Repairs the sequence, inside a transaction, if it is behind.
pub(super) async fn repair(schema: &Schema, transaction: &mut PgConnection) -> Result<(), PgError> {
    if !is_behind(schema, transaction).await? {
        return Ok(());
    }
    super::apply(schema, transaction, "repair_sequence", LOCK_EVENTS).await?;
    let Ids { newest, next } = ids(schema, transaction).await?;
    if newest >= next {
        let set = format!("SELECT setval('webhook.events_id_seq', {newest})");
        sqlx::raw_sql(schema.sql_of(set))
            .execute(transaction)
            .await?;
        tracing::warn!(
            %schema,
            "the sequence of events was behind the ids in use, and was moved past them"
        );
    }
    Ok(())
}
