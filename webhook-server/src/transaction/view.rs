//! The view `webhook.transactions`: the transactions as a table, for those who read with SQL.

use webhook_postgres::MigrationLine;

/// Makes the view `webhook.transactions` and the functions that it calls: pass it to
/// [`PgStore::migrate_with`](webhook_postgres::PgStore::migrate_with), as the server does.
///
/// None of its migrations ever changes; what is new goes into another one.
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
