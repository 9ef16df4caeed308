//! Migrations of programs that add objects of their own to the inbox's schema.

use sqlx::{PgConnection, Row};

use super::{Applied, apply};
use crate::error::PgError;
use crate::schema::Schema;

/// A line of migrations beside the library's own, for a program that adds objects of its own to the
/// inbox's schema: a view over its events, for example. See [`PgStore::migrate_with`].
///
/// Its migrations run in their order, each once in a database, after the library's own and in the same
/// transaction. The table `webhook.line_migrations` records them. A migration that has run anywhere must
/// never change, move or go: append another one.
///
/// ```no_run
/// use webhook_postgres::{MigrationLine, PgStore};
///
/// const REPORTS: MigrationLine = MigrationLine {
///     name: "reports",
///     migrations: &[(
///         "create_failed_view",
///         "CREATE VIEW webhook.failed AS
///          SELECT events.key, outcomes.reason
///          FROM webhook.events JOIN webhook.outcomes USING (id) WHERE outcomes.failed",
///     )],
/// };
///
/// # async fn example(store: PgStore) -> Result<(), webhook_postgres::PgError> {
/// store.migrate_with(&[REPORTS]).await?;
/// # Ok(()) }
/// ```
///
/// [`PgStore::migrate_with`]: crate::PgStore::migrate_with
#[derive(Clone, Copy, Debug)]
pub struct MigrationLine {
    /// Tells it from the lines of other programs that use the same schema.
    pub name: &'static str,
    /// The name and the SQL of each migration; version 1 is the first. The SQL runs with the search path of
    /// the library's own migrations, so it must name the schema of what it makes and uses. It names `webhook`, which stands for the
    /// schema of the inbox, whatever its name is.
    pub migrations: &'static [(&'static str, &'static str)],
}

/// Where lines are recorded. Made with the first line, so that a database without lines has no such table.
const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS webhook.line_migrations (
      line       text COLLATE \"C\" NOT NULL,
      version    integer NOT NULL,
      name       text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (line, version)
    )";

/// Versions of the library's own migrations that belong to a line now. Where one of them is recorded, the
/// migration of that name has run.
const MOVED_VERSIONS: &str = "2, 5";

/// Whether there is nothing to do for any of `lines`.
pub(super) async fn are_up_to_date(
    schema: &Schema,
    connection: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<bool, PgError> {
    if lines.is_empty() {
        return Ok(true);
    }
    if !flag(
        schema,
        connection,
        "SELECT to_regclass('webhook.line_migrations') IS NOT NULL".to_owned(),
    )
    .await?
    {
        return Ok(false);
    }
    for line in lines {
        if version(schema, connection, line).await? != known(line) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Brings each of `lines` up to date, inside a transaction, where the library's own migrations have run.
pub(super) async fn migrate(
    schema: &Schema,
    transaction: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<Vec<Applied>, PgError> {
    let mut applied = Vec::new();
    if lines.is_empty() {
        return Ok(applied);
    }
    apply(schema, transaction, "create_line_migrations", CREATE_TABLE).await?;
    for line in lines {
        let found = version(schema, transaction, line).await?;
        for (version, (name, sql)) in (1..)
            .zip(line.migrations)
            .filter(|(version, _)| *version > found)
        {
            let has_run = format!(
                "SELECT EXISTS (SELECT FROM webhook.migrations
                 WHERE version IN ({MOVED_VERSIONS}) AND name = {})",
                literal(name)
            );
            if !flag(schema, transaction, has_run).await? {
                apply(schema, transaction, name, sql).await?;
            }
            let note = format!(
                "INSERT INTO webhook.line_migrations (line, version, name)
                 VALUES ({}, {version}, {})",
                literal(line.name),
                literal(name)
            );
            sqlx::raw_sql(schema.sql_of(note))
                .execute(&mut *transaction)
                .await?;
            applied.push(Applied {
                line: Some(line.name),
                version,
                name,
            });
        }
    }
    Ok(applied)
}

fn known(line: &MigrationLine) -> i32 {
    i32::try_from(line.migrations.len()).expect("a program has fewer migrations")
}

/// The last version of `line` that the database has.
async fn version(
    schema: &Schema,
    connection: &mut PgConnection,
    line: &MigrationLine,
) -> Result<i32, PgError> {
    let sql = format!(
        "SELECT coalesce(max(version), 0) FROM webhook.line_migrations WHERE line = {}",
        literal(line.name)
    );
    let row = sqlx::raw_sql(schema.sql_of(sql))
        .fetch_one(connection)
        .await?;
    let found = row.try_get(0)?;
    if found > known(line) {
        return Err(PgError::NewerLine {
            line: line.name,
            found,
            known: known(line),
        });
    }
    Ok(found)
}

async fn flag(
    schema: &Schema,
    connection: &mut PgConnection,
    sql: String,
) -> Result<bool, PgError> {
    let row = sqlx::raw_sql(schema.sql_of(sql))
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

/// The text as a literal of SQL; sessions have `standard_conforming_strings` on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
