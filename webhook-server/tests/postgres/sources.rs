//! All senders of the sources at once.

use webhook_postgres::testing::TestDatabase;

use crate::node::server_on;
use crate::support::mixed::{Restart, run};

#[tokio::test(flavor = "multi_thread")]
async fn all_senders_at_once() {
    on_postgres(Restart::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_senders_at_once_while_the_server_is_killed() {
    on_postgres(Restart::Kill).await;
}

async fn on_postgres(restart: Restart) {
    let database = TestDatabase::create().await;
    run(|args| server_on(database.url(), args), restart).await;
    database.drop_database().await;
}
