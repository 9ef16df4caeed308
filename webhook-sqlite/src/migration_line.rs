//! Migrations of programs that add tables and views of their own to the file.

use sqlx::{Executor, Row};

use crate::error::SqliteError;
use crate::store::SqliteStore;
use crate::transaction::SqliteTransaction;

/// Migrations of a program that adds tables or views of its own to the file. See
/// [`SqliteStore::migrate_with`].
///
/// The migrations run in order, each once per file. The table `line_migrations` records them. Never change, move or
/// remove a migration that has run anywhere: append another one.
///
/// ```no_run
/// use webhook_sqlite::{MigrationLine, SqliteStore};
///
/// const SHIPPING: MigrationLine = MigrationLine::new(
///     "shipping",
///     &[
///         ("create_shipments", "CREATE TABLE shipments (order_id TEXT PRIMARY KEY) STRICT"),
///         (
///             "create_failed_orders",
///             "CREATE VIEW failed_orders AS
///              SELECT key, reason FROM inbox WHERE kind = 'order' AND status = 'FAILED'",
///         ),
///     ],
/// );
///
/// # async fn example(store: SqliteStore) -> Result<(), webhook_sqlite::SqliteError> {
/// store.migrate_with(&[SHIPPING]).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MigrationLine {
    /// The name of the line, unique among the programs that use the same file.
    pub name: &'static str,
    /// The name and the SQL of each migration, from version 1 on.
    ///
    /// The names of tables and views must differ from those of this crate. Of these, only the columns of the view
    /// `inbox` stay the same in later versions.
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

/// The table that records lines. It is created with the first line, so that a file without lines does not have it.
const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS line_migrations (
      line    TEXT NOT NULL,
      version INTEGER NOT NULL,
      name    TEXT NOT NULL,
      PRIMARY KEY (line, version)
    ) STRICT, WITHOUT ROWID";

impl SqliteStore {
    /// Runs the migrations of `lines` that the file does not have yet, in one transaction. The tables of this crate
    /// are up to date already, since the file is open.
    ///
    /// Lines of other programs are ignored: one program may use a file with a line, and another one without it.
    ///
    /// # Errors
    ///
    /// [`SqliteError::NewerLine`] if a newer version of the program has migrated one of the `lines`,
    /// [`SqliteError::Migration`] if a migration fails. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future runs either all migrations or none.
    pub async fn migrate_with(&self, lines: &[MigrationLine]) -> Result<(), SqliteError> {
        let mut transaction = self.begin().await?;
        let mut applied = Vec::new();
        transaction.execute(CREATE_TABLE).await?;
        for line in lines {
            let found = version(&mut transaction, line).await?;
            for (version, (name, sql)) in (1..).zip(line.migrations).filter(|(it, _)| *it > found) {
                let run = transaction.execute(sqlx::raw_sql(*sql)).await;
                run.map_err(|source| SqliteError::Migration { name, source })?;
                sqlx::query(
                    "INSERT INTO line_migrations (line, version, name) VALUES (?1, ?2, ?3)",
                )
                .bind(line.name)
                .bind(version)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
                applied.push((line.name, version, name));
            }
        }
        if applied.is_empty() {
            return Ok(());
        }
        transaction.commit().await?;
        for (line, version, name) in applied {
            tracing::info!(line, version, name, "migrated the database file");
        }
        Ok(())
    }
}

/// The latest version of `line` in the file.
async fn version(
    transaction: &mut SqliteTransaction,
    line: &MigrationLine,
) -> Result<i64, SqliteError> {
    let known = i64::try_from(line.migrations.len()).expect("a program has fewer migrations");
    let row = sqlx::query("SELECT coalesce(max(version), 0) FROM line_migrations WHERE line = ?1")
        .bind(line.name)
        .fetch_one(&mut **transaction)
        .await?;
    let found = row.try_get(0)?;
    if found > known {
        return Err(SqliteError::NewerLine {
            line: line.name,
            found,
            known,
        });
    }
    Ok(found)
}
