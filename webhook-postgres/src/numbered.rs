//! Finds the inboxes of a database whose schemas are numbered.

use sqlx::Row;
use webhook_core::MAX_PARTITIONS;

use crate::error::PgError;
use crate::schema::Schema;
use crate::session::Session;

/// Returns `schema` and those of the same name with `_` and a number behind it, as far as they have the tables of an
/// inbox.
pub(crate) async fn numbered(
    session: &mut Session<'_>,
    schema: &Schema,
) -> Result<Vec<Schema>, PgError> {
    let limit = i64::try_from(MAX_PARTITIONS + 1).unwrap_or(i64::MAX);
    let rows = session
        .rows(include_str!("numbered.sql"), |query| {
            query.bind(schema.name().to_owned()).bind(limit)
        })
        .await?;
    let mut schemas = Vec::with_capacity(rows.len());
    for row in rows {
        // Others cannot be schemas of an inbox.
        if let Ok(schema) = Schema::new(row.try_get("name")?) {
            schemas.push(schema);
        }
    }
    Ok(schemas)
}
