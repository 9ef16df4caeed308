//! Brings the inbox's schema up to this program's version.

mod line;
mod sequence;

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::{Instant, sleep};

use crate::error::PgError;
use crate::schema::Schema;
use crate::session::Database;
use crate::store::PgStore;

pub use line::MigrationLine;

/// The migrations, each with its version, in their order. None of them ever changes; what is new goes
/// into another one. Versions 2 and 5 have become migrations of a [`MigrationLine`] of `webhook-server`.
const MIGRATIONS: [(i32, &str, &str); 6] = [
    (
        1,
        "create_inbox",
        include_str!("migrations/create_inbox.sql"),
    ),
    (
        3,
        "keep_failed_attempts",
        include_str!("migrations/keep_failed_attempts.sql"),
    ),
    (
        4,
        "strip_bodies",
        include_str!("migrations/strip_bodies.sql"),
    ),
    (
        6,
        "keep_headers",
        include_str!("migrations/keep_headers.sql"),
    ),
    (
        7,
        "create_inbox_view",
        include_str!("migrations/create_inbox_view.sql"),
    ),
    (8, "pause_kinds", include_str!("migrations/pause_kinds.sql")),
];

/// How long to wait for another process that is migrating, and for transactions that use a table which a
/// migration changes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a migration waits at once for a lock on a table. Every statement that comes later and uses the table
/// waits behind it, so this is shorter than `webhook-server` keeps a sender waiting. It is longer than
/// PostgreSQL's default `deadlock_timeout` of a second, after which an autovacuum is cancelled that holds
/// the lock.
const TABLE_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the statements that waited behind a migration may run before it tries again.
const TABLE_LOCK_PAUSE: Duration = Duration::from_secs(2);

/// How long all of it may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// How many foreign objects one error names.
const MAX_DETAILS: usize = 5;

/// Names the advisory lock: the letters `webhook`, as a number.
const LOCK: i64 = 0x77_6562_686f_6f6b;

impl PgStore {
    /// Makes the inbox's schema, or brings it up to this program's version.
    ///
    /// All of it is one transaction. Any number of processes may call it at once: the first one
    /// migrates, the others wait for it. Where there is nothing to do, nothing is locked, and the
    /// role needs no more rights than to read the table `webhook.migrations`; objects of other programs are
    /// refused then as well, and so are untrusted owners where the role may create schemas. A sequence
    /// that is behind the ids in use is repaired.
    ///
    /// Processes of an older version may use the inbox meanwhile and go on afterwards. Where a transaction of
    /// somebody else holds a table that a migration changes, such as that of a dump, the migration lets other
    /// statements pass and tries again, for a minute.
    ///
    /// # Errors
    ///
    /// [`PgError::NewerSchema`] when a newer version of this library has migrated before,
    /// [`PgError::MigrationLocked`] when another process has been at it for a minute,
    /// [`PgError::MigrationBlocked`] when another transaction has held one of the tables for as long,
    /// [`PgError::ForeignSchema`] when the schema belongs to a role that this one is no member of and
    /// that neither is a superuser nor owns the database, or when it holds what this program has not
    /// made: relations, functions, triggers, rules, policies. [`PgError::Encoding`] when the database cannot hold every key,
    /// [`PgError::Migration`] when the database refuses.
    pub async fn migrate(&self) -> Result<(), PgError> {
        self.migrate_with(&[]).await
    }

    /// Does the same with further lines of migrations, in one transaction: all of it is done, or none.
    ///
    /// Lines of other programs are left alone: a database may be migrated with a line by one program and
    /// without it by another.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate), and [`PgError::NewerLine`] when a newer version of the program has
    /// migrated one of `lines` before.
    pub async fn migrate_with(&self, lines: &[MigrationLine]) -> Result<(), PgError> {
        let database = &self.inner.database;
        let mut checkout = database.acquire(true).await?;
        let done = checkout
            .during(database.answer_timeout(), async |connection| {
                let mut transaction = connection
                    .begin_with(database.begin_on_any_session())
                    .await?;
                let done = up_to_date(database.schema(), &mut transaction, lines).await?;
                transaction.commit().await?;
                Ok(done)
            })
            .await?;
        if done {
            return Ok(());
        }
        checkout
            .during(MIGRATION_TIMEOUT, async |connection| {
                migrate(database, connection, lines).await
            })
            .await
    }
}

/// Reads the version of the schema.
pub(crate) const VERSION: &str = "(SELECT max(version) FROM webhook.migrations)";

/// Judges what [`VERSION`] answered.
pub(crate) fn check_version(version: Option<i32>) -> Result<(), PgError> {
    if version.unwrap_or(0) < known() {
        return Err(PgError::NotMigrated { source: None });
    }
    Ok(())
}

fn known() -> i32 {
    MIGRATIONS[MIGRATIONS.len() - 1].0
}

// All of it by the simple protocol, which a pooler forwards in one piece.

async fn up_to_date(
    schema: &Schema,
    connection: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<bool, PgError> {
    // Before the version, which another program's table does not tell.
    refuse_foreign(schema, connection, Owners::Any).await?;
    let there = sqlx::raw_sql(schema.sql("SELECT to_regclass('webhook.migrations') IS NOT NULL"))
        .fetch_one(&mut *connection)
        .await?;
    if !there.try_get(0)? || version(schema, connection).await? != known() {
        return Ok(false);
    }
    if !line::are_up_to_date(schema, connection, lines).await? {
        return Ok(false);
    }
    Ok(!sequence::is_behind(schema, connection).await?)
}

async fn version(schema: &Schema, connection: &mut PgConnection) -> Result<i32, PgError> {
    let row = sqlx::raw_sql(schema.sql("SELECT coalesce(max(version), 0) FROM webhook.migrations"))
        .fetch_one(connection)
        .await?;
    let found = row.try_get(0)?;
    if found > known() {
        return Err(PgError::NewerSchema {
            found,
            known: known(),
        });
    }
    Ok(found)
}

async fn migrate(
    database: &Database,
    connection: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<(), PgError> {
    let begin = format!(
        "{}; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
         SET LOCAL client_min_messages = warning; SET LOCAL check_function_bodies = on; \
         SET LOCAL default_table_access_method = heap",
        database.begin_on_any_session().0,
        LOCK_TIMEOUT.as_millis(),
        MIGRATION_TIMEOUT.as_millis(),
    );
    let schema = database.schema();
    let started = Instant::now();
    loop {
        let mut transaction = connection.begin_with(AssertSqlSafe(begin.clone())).await?;
        lock(&mut transaction).await?;
        let (name, source) = match apply_all(schema, &mut transaction, lines).await {
            Ok(applied) => {
                transaction.commit().await?;
                for Applied {
                    line,
                    version,
                    name,
                } in applied
                {
                    tracing::info!(%schema, line, version, name, "migrated the inbox's schema");
                }
                return Ok(());
            }
            Err(PgError::Migration { name, source }) if is_lock_timeout(source.as_sqlx()) => {
                (name, source)
            }
            Err(error) => return Err(error),
        };
        // Now, not with the next try: so the locks are free during the pause.
        transaction.rollback().await?;
        if started.elapsed() >= LOCK_TIMEOUT {
            return Err(PgError::MigrationBlocked {
                name,
                waited: LOCK_TIMEOUT,
                source,
            });
        }
        tracing::warn!(
            %schema,
            migration = name,
            next_try_in_seconds = TABLE_LOCK_PAUSE.as_secs(),
            "another transaction holds a table that the migration changes; trying again"
        );
        sleep(TABLE_LOCK_PAUSE).await;
    }
}

/// A migration that has run.
struct Applied {
    /// The line that it belongs to, where it is not the library's own.
    line: Option<&'static str>,
    version: i32,
    name: &'static str,
}

/// Runs all migrations that the database has not, in the transaction that holds the lock.
async fn apply_all(
    schema: &Schema,
    transaction: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<Vec<Applied>, PgError> {
    let limit = format!(
        "SET LOCAL lock_timeout = {}",
        TABLE_LOCK_TIMEOUT.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(limit))
        .execute(&mut *transaction)
        .await?;
    refuse_foreign(schema, transaction, Owners::Trusted).await?;
    check_encoding(transaction).await?;
    apply(schema, transaction, "create_schema", CREATE_SCHEMA).await?;
    let found = version(schema, transaction).await?;
    let mut applied = Vec::new();
    for (version, name, sql) in MIGRATIONS
        .into_iter()
        .filter(|(version, ..)| *version > found)
    {
        apply(schema, transaction, name, sql).await?;
        let note =
            format!("INSERT INTO webhook.migrations (version, name) VALUES ({version}, '{name}')");
        sqlx::raw_sql(schema.sql_of(note))
            .execute(&mut *transaction)
            .await?;
        applied.push(Applied {
            line: None,
            version,
            name,
        });
    }
    applied.extend(line::migrate(schema, transaction, lines).await?);
    sequence::repair(schema, transaction).await?;
    Ok(applied)
}

/// Whose schema and objects are accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    /// Anybody's, unless this role may create schemas: a role that only uses a migrated schema is
    /// seldom a member of its owner.
    Any,
    /// This role's, a superuser's and the database owner's.
    Trusted,
}

/// Refuses a schema that holds what this program has not made, or whose owner is not trusted.
async fn refuse_foreign(
    schema: &Schema,
    connection: &mut PgConnection,
    owners: Owners,
) -> Result<(), PgError> {
    let rows = sqlx::raw_sql(schema.sql(include_str!("migrate/foreign.sql")))
        .fetch_all(connection)
        .await?;
    let mut details: Vec<String> = Vec::new();
    for row in &rows {
        if owners == Owners::Trusted || !row.try_get::<bool, _>("by_owner")? {
            details.push(row.try_get("detail")?);
        }
    }
    details.truncate(MAX_DETAILS);
    if details.is_empty() {
        Ok(())
    } else {
        Err(PgError::ForeignSchema {
            detail: details.join("; "),
        })
    }
}

/// A role may be allowed to make tables in a schema that somebody made for it, but no schemas.
const CREATE_SCHEMA: &str = "
    DO $$ BEGIN
      IF to_regnamespace('webhook') IS NULL THEN CREATE SCHEMA webhook; END IF;
    END $$;
    CREATE TABLE IF NOT EXISTS webhook.migrations (
      version    integer PRIMARY KEY,
      name       text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )";

/// Held by the transaction, not by the session: a pooler has no sessions.
async fn lock(transaction: &mut PgConnection) -> Result<(), PgError> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
    let locked = sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(transaction)
        .await;
    match locked {
        Ok(_) => Ok(()),
        Err(error) if is_lock_timeout(&error) => Err(PgError::MigrationLocked {
            waited: LOCK_TIMEOUT,
        }),
        Err(error) => Err(error.into()),
    }
}

/// SQLSTATE 55P03, `lock_not_available`.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("55P03")
}

async fn check_encoding(transaction: &mut PgConnection) -> Result<(), PgError> {
    let row = sqlx::raw_sql("SELECT current_setting('server_encoding')")
        .fetch_one(transaction)
        .await?;
    let found: String = row.try_get(0)?;
    if found == "UTF8" {
        Ok(())
    } else {
        Err(PgError::Encoding { found })
    }
}

async fn apply(
    schema: &Schema,
    transaction: &mut PgConnection,
    name: &'static str,
    sql: &'static str,
) -> Result<(), PgError> {
    let applied = sqlx::raw_sql(schema.sql(sql)).execute(transaction).await;
    applied.map(|_| ()).map_err(|source| PgError::Migration {
        name,
        source: source.into(),
    })
}
