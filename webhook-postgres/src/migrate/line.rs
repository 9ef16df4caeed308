//! Migrations of programs that add objects of their own to the inbox's schema.

use sqlx::{PgConnection, Row};

use super::{Applied, apply};
use crate::error::PgError;
use crate::schema::Schema;

/// Migrations of a program that adds objects of its own to the inbox's schema, such as a view of its events.
/// See [`PgStore::migrate_with`].
///
/// The migrations run in order, each once per database, after the library's own migrations and in the same
/// transaction. The table `webhook.line_migrations` records them. Never change, move or remove a migration that
/// has run anywhere: append another one.
///
/// ```no_run
/// use webhook_postgres::{MigrationLine, PgStore};
///
/// const REPORTS: MigrationLine = MigrationLine::new(
///     "reports",
///     &[(
///         "create_failed_view",
///         "CREATE VIEW webhook.failed AS
///          SELECT events.key, outcomes.reason
///          FROM webhook.events JOIN webhook.outcomes USING (id) WHERE outcomes.failed",
///     )],
/// );
///
/// # async fn example(store: PgStore) -> Result<(), webhook_postgres::PgError> {
/// store.migrate_with(&[REPORTS]).await?;
/// # Ok(()) }
/// ```
///
/// [`PgStore::migrate_with`]: crate::PgStore::migrate_with
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MigrationLine {
    /// The name of the line, unique among the programs that use the same schema.
    pub name: &'static str,
    /// The name and the SQL of each migration, from version 1 on.
    ///
    /// The SQL runs with the search path of the library's own migrations, so it must qualify every object with
    /// its schema. The schema `webhook` stands for the schema of the inbox, also if that has another name.
    pub migrations: &'static [(&'static str, &'static str)],
}

impl MigrationLine {
    /// A line with this name, and the name and SQL of each of its migrations.
    pub const fn new(
        name: &'static str,
        migrations: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, migrations }
    }
}

/// The table that records lines. It is created with the first line, so that a database without lines does not
/// have it.
const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS webhook.line_migrations (
      line       text COLLATE \"C\" NOT NULL,
      version    integer NOT NULL,
      name       text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (line, version)
    )";

/// Versions of the library's own migrations that belong to a line now. If one of them is recorded, the
/// migration of that name has run.
const MOVED_VERSIONS: &str = "2, 5";

/// Whether all `lines` are up to date.
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

/// Brings all `lines` up to date, in the transaction in which the library's own migrations have run.
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

/// Returns the latest version of `line` in the database.
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

/// Returns the text as an SQL literal. Sessions have `standard_conforming_strings` on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
