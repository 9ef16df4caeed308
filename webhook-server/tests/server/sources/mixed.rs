//! All senders at once, in memory and on SQLite.

use crate::support::files::Files;
use crate::support::mixed::{Restart, run};
use crate::support::process::webhook_server;

#[tokio::test(flavor = "multi_thread")]
async fn all_senders_at_once_in_memory() {
    run(webhook_server, Restart::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_senders_at_once_on_sqlite() {
    on_sqlite(Restart::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_senders_at_once_on_sqlite_while_the_server_is_killed() {
    on_sqlite(Restart::Kill).await;
}

async fn on_sqlite(restart: Restart) {
    let files = Files::new();
    let file = files.path("webhook.db");
    run(|args| webhook_server(args).on_file(&file), restart).await;
}
