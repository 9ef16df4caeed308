//! The views `webhook.transactions` of PostgreSQL and `transactions` of SQLite: the transactions as a table, for
//! readers with SQL.

use webhook_postgres::MigrationLine;

/// The migrations that create the view `webhook.transactions` and its functions, for
/// [`PgStore::migrate_with`](webhook_postgres::PgStore::migrate_with).
///
/// A migration never changes; add another one instead.
pub const VIEW: MigrationLine = MigrationLine::new(
    "transactions",
    &[
        (
            "create_transactions_view",
            include_str!("migrations/create_transactions_view.sql"),
        ),
        (
            "read_marked_bodies",
            include_str!("migrations/read_marked_bodies.sql"),
        ),
    ],
);

/// The migrations that create the view `transactions` in an SQLite file, for
/// [`SqliteStore::migrate_with`](webhook_sqlite::SqliteStore::migrate_with).
///
/// A migration never changes; add another one instead.
pub const SQLITE_VIEW: webhook_sqlite::MigrationLine = webhook_sqlite::MigrationLine::new(
    "transactions",
    &[(
        "create_transactions_view",
        include_str!("migrations/create_sqlite_transactions_view.sql"),
    )],
);
