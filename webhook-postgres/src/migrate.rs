//! Migrates the inbox's schema to this program's version.

mod line;
mod sequence;
mod statements;

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::{Instant, sleep};

use crate::error::PgError;
use crate::schema::Schema;
use crate::session::{Database, Engine};
use crate::store::PgStore;
use statements::statements;

pub use line::MigrationLine;

/// The migrations with their versions, in order. A migration never changes; append another one. Versions 2 and
/// 5 have become migrations of a [`MigrationLine`] of `webhook-server`.
const MIGRATIONS: [(i32, &str, &str); 13] = [
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
    (9, "mark_moves", include_str!("migrations/mark_moves.sql")),
    (
        10,
        "keep_event_types",
        include_str!("migrations/keep_event_types.sql"),
    ),
    (
        11,
        "keep_guards",
        include_str!("migrations/keep_guards.sql"),
    ),
    (
        12,
        "keep_details",
        include_str!("migrations/keep_details.sql"),
    ),
    (13, "keep_nodes", include_str!("migrations/keep_nodes.sql")),
    (
        14,
        "keep_actions",
        include_str!("migrations/keep_actions.sql"),
    ),
    (
        15,
        "mark_partitions",
        include_str!("migrations/mark_partitions.sql"),
    ),
];

/// How long to wait for another process that is migrating, and for transactions that use a table that a
/// migration changes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one try of a migration waits for a lock on a table. Later statements that use the table wait behind
/// it, so this is shorter than `webhook-server` lets a sender wait. It is longer than PostgreSQL's default
/// `deadlock_timeout` of 1 s, after which an autovacuum that holds the lock is cancelled.
const TABLE_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before the next try, so that the statements that waited behind the migration can run.
const TABLE_LOCK_PAUSE: Duration = Duration::from_secs(2);

/// How long all migrations together may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// How many foreign objects an error lists at most.
const MAX_DETAILS: usize = 5;

/// The number of the advisory lock: the letters `webhook`.
const LOCK: i64 = 0x77_6562_686f_6f6b;

impl PgStore {
    /// Creates the inbox's schema, or updates it to this program's version.
    ///
    /// All migrations run in one transaction. Several processes may call this at the same time: the first one
    /// migrates, and the others wait for it. If the schema is up to date, nothing is locked, and the role only
    /// needs the right to read the table `webhook.migrations`. The schema is checked in any case: it must not
    /// contain objects of other programs and, if the role may create schemas, its owner must be trusted. A
    /// sequence that is behind the ids in use is repaired.
    ///
    /// Processes of an older version may use the inbox during the migration and after it. If another
    /// transaction, such as a dump, uses a table that a migration changes, the migration lets other statements
    /// pass and tries again, for a minute.
    ///
    /// # Errors
    ///
    /// - [`PgError::NewerSchema`] if a newer version of this library has migrated the schema.
    /// - [`PgError::MigrationLocked`] if another process has been migrating for a minute.
    /// - [`PgError::MigrationBlocked`] if another transaction has used one of the tables for a minute.
    /// - [`PgError::ForeignSchema`] if the schema contains objects of another program (relations, functions,
    ///   triggers, rules or policies), or belongs to a role that is not trusted: this role is not a member of
    ///   it, and it is neither a superuser nor the owner of the database.
    /// - [`PgError::Encoding`] if the encoding of the database is not UTF-8.
    /// - [`PgError::Migration`] if a migration fails.
    pub async fn migrate(&self) -> Result<(), PgError> {
        self.migrate_with(&[]).await
    }

    /// Like [`migrate`](Self::migrate), and runs further lines of migrations in the same transaction.
    ///
    /// Lines of other programs are ignored: one program may migrate a database with a line, and another one
    /// without it.
    ///
    /// # Errors
    ///
    /// The same as for [`migrate`](Self::migrate), and [`PgError::NewerLine`] if a newer version of the program
    /// has migrated one of the `lines`.
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

    /// Refuses what [`migrate_with`](Self::migrate_with) would refuse before it changes anything, and changes nothing
    /// itself: for programs that migrate several schemas, or none of them.
    ///
    /// Where the schema is missing, it is created on trial and rolled back, unless another process is migrating.
    ///
    /// # Errors
    ///
    /// The same as for [`migrate_with`](Self::migrate_with). A migration may still fail after the check.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn check_migration(&self, lines: &[MigrationLine]) -> Result<(), PgError> {
        let database = &self.inner.database;
        rolled_back(database, async |transaction| {
            check(database.schema(), transaction, lines).await
        })
        .await
    }
}

/// Does `work` in a transaction that is rolled back.
async fn rolled_back(
    database: &Database,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<(), PgError>,
) -> Result<(), PgError> {
    let mut checkout = database.acquire(true).await?;
    checkout
        .during(database.answer_timeout(), async |connection| {
            let mut transaction = connection
                .begin_with(database.begin_on_any_session())
                .await?;
            work(&mut transaction).await?;
            Ok(transaction.rollback().await?)
        })
        .await
}

/// An SQL expression for the version of the schema.
pub(crate) const VERSION: &str = "(SELECT max(version) FROM webhook.migrations)";

/// Checks the value of [`VERSION`].
pub(crate) fn check_version(version: Option<i32>) -> Result<(), PgError> {
    if version.unwrap_or(0) < known() {
        return Err(PgError::NotMigrated { source: None });
    }
    Ok(())
}

fn known() -> i32 {
    MIGRATIONS[MIGRATIONS.len() - 1].0
}

// Everything below uses the simple protocol, which a pooler forwards in one piece.

async fn up_to_date(
    schema: &Schema,
    connection: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<bool, PgError> {
    // Before reading the version, since the table may belong to another program.
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

/// Checks, in a transaction that is rolled back, whether the migrations can begin.
async fn check(
    schema: &Schema,
    transaction: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<(), PgError> {
    if up_to_date(schema, transaction, lines).await? {
        return Ok(());
    }
    refuse_foreign(schema, transaction, Owners::Trusted).await?;
    check_encoding(transaction).await?;
    let alone = format!("SELECT pg_try_advisory_xact_lock({LOCK})");
    let alone = sqlx::raw_sql(AssertSqlSafe(alone))
        .fetch_one(&mut *transaction)
        .await?;
    let there = sqlx::raw_sql(schema.sql("SELECT to_regnamespace('webhook') IS NOT NULL"))
        .fetch_one(&mut *transaction)
        .await?;
    if alone.try_get(0)? && !there.try_get(0)? {
        apply(schema, transaction, "create_schema", CREATE_SCHEMA).await?;
    }
    Ok(())
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
        let (name, source) = match apply_all(database, &mut transaction, lines).await {
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
        // Now, not with the next try, so that the locks are free during the pause.
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
            "another transaction uses a table that the migration changes, trying again"
        );
        sleep(TABLE_LOCK_PAUSE).await;
    }
}

/// A migration that has run.
struct Applied {
    /// The line that it belongs to; `None` for the library's own.
    line: Option<&'static str>,
    version: i32,
    name: &'static str,
}

/// Runs all migrations that the database does not have yet, in the transaction that holds the lock.
async fn apply_all(
    database: &Database,
    transaction: &mut PgConnection,
    lines: &[MigrationLine],
) -> Result<Vec<Applied>, PgError> {
    let schema = database.schema();
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
    if database.reach().await?.engine == Engine::Citus {
        apply(schema, transaction, "log_nodes", LOG_NODES).await?;
    }
    applied.extend(line::migrate(schema, transaction, lines).await?);
    sequence::repair(schema, transaction).await?;
    Ok(applied)
}

/// Refuses a schema whose tables may be another program's, before they are read.
pub(crate) async fn refuse_foreign_objects(database: &Database) -> Result<(), PgError> {
    rolled_back(database, async |transaction| {
        refuse_foreign(database.schema(), transaction, Owners::Any).await
    })
    .await
}

/// Which owners of the schema and its objects are accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    /// Any owner, unless this role may create schemas: a role that only uses a migrated schema is seldom a
    /// member of its owner.
    Any,
    /// Only this role, superusers and the owner of the database.
    Trusted,
}

/// Refuses a schema with objects of another program, or whose owner is not trusted.
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

/// Does not use `CREATE SCHEMA IF NOT EXISTS`, since a role may be allowed to create tables in an existing
/// schema, but not to create schemas.
const CREATE_SCHEMA: &str = "
    DO $$ BEGIN
      IF to_regnamespace('webhook') IS NULL THEN CREATE SCHEMA webhook; END IF;
    END $$;
    CREATE TABLE IF NOT EXISTS webhook.migrations (
      version    integer PRIMARY KEY,
      name       text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )";

/// Citus moves a schema to another node by logical replication, which an unlogged table does not take part in.
const LOG_NODES: &str = "ALTER TABLE webhook.nodes SET LOGGED";

/// Takes the lock for the transaction, not for the session, since a pooler has no sessions.
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

/// Runs a migration, one statement at a time.
async fn apply(
    schema: &Schema,
    transaction: &mut PgConnection,
    name: &'static str,
    sql: &'static str,
) -> Result<(), PgError> {
    for statement in statements(sql) {
        let applied = if is_storage_option(name, statement) {
            set_storage_option(schema, transaction, statement).await
        } else {
            let applied = sqlx::raw_sql(schema.sql(statement)).execute(&mut *transaction);
            applied.await.map(|_| ())
        };
        applied.map_err(|source| PgError::Migration {
            name,
            source: source.into(),
        })?;
    }
    Ok(())
}

/// Whether a statement of a migration does nothing but choose how bodies are compressed.
fn is_storage_option(migration: &str, statement: &str) -> bool {
    migration == "create_inbox" && statement.contains("SET STORAGE EXTERNAL")
}

/// Runs a statement that the inbox works without. Citus and YugabyteDB refuse it.
async fn set_storage_option(
    schema: &Schema,
    transaction: &mut PgConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("SAVEPOINT webhook_storage")
        .execute(&mut *transaction)
        .await?;
    let set = sqlx::raw_sql(schema.sql(statement));
    match set.execute(&mut *transaction).await {
        Ok(_) => {}
        Err(error) if is_refused_feature(&error) => {
            sqlx::raw_sql("ROLLBACK TO SAVEPOINT webhook_storage")
                .execute(&mut *transaction)
                .await?;
            tracing::info!(
                %schema,
                %error,
                "this database does not let a table choose how bodies are compressed, so its own default applies"
            );
        }
        Err(error) => return Err(error),
    }
    sqlx::raw_sql("RELEASE SAVEPOINT webhook_storage")
        .execute(transaction)
        .await?;
    Ok(())
}

/// SQLSTATE 0A000, `feature_not_supported`, or 42601, `syntax_error`, for SQL that PostgreSQL takes.
fn is_refused_feature(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("0A000" | "42601"))
}
