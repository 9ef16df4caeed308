//! The server with a role that may not change the schema.

use std::hash::{BuildHasher, RandomState};

use webhook_postgres::sqlx::{self, AssertSqlSafe};
use webhook_postgres::testing::TestDatabase;

use crate::node::{server_on, until_processed, with_parameters};
use crate::support::client::Client;
use crate::support::{transaction, with_amount};

/// What the README tells operators to run.
fn sql_of_readme() -> String {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```sql\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let mut blocks = blocks.filter(|block| block.contains("CREATE ROLE webhook_app"));
    blocks.next().unwrap().to_owned()
}

#[tokio::test]
async fn a_role_that_may_only_read_and_write_rows_is_enough() {
    let database = TestDatabase::create().await;
    let migrated = server_on(database.url(), &["migrate"]).output().await;
    assert_eq!(migrated.0, 0, "{}", migrated.2);
    // Roles belong to the whole server, which other tests use, too.
    let role = format!("webhook_app_{:x}", RandomState::new().hash_one(0));
    let mut owner = database.connection().await;
    let sql = sql_of_readme().replace("webhook_app", &role);
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut owner)
        .await
        .unwrap();

    let url = with_parameters(database.url(), &format!("user={role}&password=change-me"));
    let mut process = server_on(&url, &["--migrate=off", "--processing-delay-seconds=0"]).start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    assert_eq!(client.get("/readyz").await.status, 200);
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    client
        .post(with_amount("tx-1", "7"))
        .await
        .acknowledged("CONFLICT");
    until_processed(addr, "tx-1").await;
    for args in [
        &["status"][..],
        &["list", "--state=processed"],
        &["show", "tx-1"],
        &["requeue", "--all-failed"],
        &["prune", "--older-than=1ms", "--keep-keys=1d"],
        &["prune", "--older-than=1ms"],
    ] {
        let (code, _, log) = server_on(&url, args).output().await;
        assert_eq!(code, 0, "{args:?}: {log}");
    }
    client.get("/v1/transactions/tx-1").await.problem(404);

    for forbidden in [
        "CREATE TABLE webhook.mine ()",
        "DROP TABLE webhook.queue",
        "ALTER TABLE webhook.events DROP COLUMN body",
        "TRUNCATE webhook.events",
        "DELETE FROM webhook.migrations",
    ] {
        let sql = format!("SET ROLE {role}; {forbidden}");
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await;
        let refused = done.unwrap_err().to_string();
        assert!(
            refused.contains("permission denied") || refused.contains("must be owner"),
            "{refused}"
        );
        sqlx::raw_sql("RESET ROLE")
            .execute(&mut owner)
            .await
            .unwrap();
    }
    drop(process);
    let sql = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut owner)
        .await
        .unwrap();
    drop(owner);
    database.drop_database().await;
}
