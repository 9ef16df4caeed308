//! The server with a role that may not change the schema.

use std::hash::{BuildHasher, RandomState};

use webhook_postgres::sqlx::{self, AssertSqlSafe};
use webhook_postgres::testing::TestDatabase;

use crate::node::{server_on, with_parameters};
use crate::support::client::Client;
use crate::support::node::until_processed;
use crate::support::{transaction, with_amount};

/// The statements in docs/operating.md.
fn documented_sql() -> String {
    let document = include_str!("../../../docs/operating.md");
    let blocks = document.split("```sql\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let mut blocks = blocks.filter(|block| block.contains("CREATE ROLE webhook_app"));
    blocks.next().unwrap().to_owned()
}

/// The statements of `sql`, without comments and the commands of psql.
fn statements(sql: &str) -> String {
    let lines = sql.lines();
    let lines = lines.filter(|line| !line.starts_with("--") && !line.starts_with('\\'));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[test]
fn containers_grant_what_the_document_grants() {
    let documented = documented_sql();
    let (role, grants) = documented.split_once('\n').unwrap();
    assert!(role.starts_with("CREATE ROLE"), "{role}");
    let containers = include_str!("../../../containers/grants.sql");
    assert_eq!(statements(containers), grants.trim());
}

#[tokio::test]
async fn the_roles_of_the_containers_migrate_and_serve() {
    let database = TestDatabase::create().await;
    let mut superuser = database.connection().await;
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let id = RandomState::new().hash_one(0);
    let (owner, app) = (
        format!("webhook_owner_{id:x}"),
        format!("webhook_app_{id:x}"),
    );
    let of_this_run = |sql: &str| {
        statements(sql)
            .replace("webhook_owner", &owner)
            .replace("webhook_app", &app)
            .replace(":\"DBNAME\"", &format!("\"{name}\""))
            .replace(":'owner_password'", "'owner'")
            .replace(":'app_password'", "'app'")
            // The superuser belongs to all tests.
            .replace("ALTER ROLE CURRENT_USER PASSWORD NULL;", "")
    };
    let roles = of_this_run(include_str!("../../../containers/roles.sql"));
    sqlx::raw_sql(AssertSqlSafe(roles))
        .execute(&mut superuser)
        .await
        .unwrap();
    let as_owner = with_parameters(database.url(), &format!("user={owner}&password=owner"));
    let as_app = with_parameters(database.url(), &format!("user={app}&password=app"));
    // Twice, as each start does.
    for _ in 0..2 {
        let migrated = server_on(&as_owner, &["migrate"]).output().await;
        assert_eq!(migrated.0, 0, "{}", migrated.2);
        let grants = of_this_run(include_str!("../../../containers/grants.sql"));
        let sql = format!("SET ROLE {owner}; {grants}; RESET ROLE");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut superuser)
            .await
            .unwrap();
    }
    let args = ["--migrate=off", "--processing-delay-seconds=0"];
    let mut process = server_on(&as_app, &args).start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    until_processed(addr, "tx-1").await;
    let (code, _, log) = server_on(&as_app, &["make-due", "--all"]).output().await;
    assert_eq!(code, 0, "{log}");
    let attributes: (bool, bool, bool) = sqlx::query_as(
        "SELECT bool_or(rolsuper), bool_or(rolcreaterole), bool_or(rolcreatedb) FROM pg_roles
         WHERE rolname IN ($1, $2)",
    )
    .bind(&owner)
    .bind(&app)
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    assert_eq!(attributes, (false, false, false));
    drop(process);
    let sql = format!("DROP OWNED BY {app}; DROP OWNED BY {owner}; DROP ROLE {owner}, {app}");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut superuser)
        .await
        .unwrap();
    drop(superuser);
    database.drop_database().await;
}

#[tokio::test]
async fn a_role_that_may_only_read_and_write_rows_is_enough() {
    let database = TestDatabase::create().await;
    let migrated = server_on(database.url(), &["migrate"]).output().await;
    assert_eq!(migrated.0, 0, "{}", migrated.2);
    // Roles belong to the whole server, which other tests use, too.
    let role = format!("webhook_app_{:x}", RandomState::new().hash_one(0));
    let mut owner = database.connection().await;
    let sql = documented_sql().replace("webhook_app", &role);
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
        &["make-due", "--all", "--leased"],
        &["pause", "--kind=transaction"],
        &["resume", "--kind=transaction"],
        &["prune", "--older-than=1ms", "--keep-keys=1d"],
        &["prune", "--older-than=1ms"],
    ] {
        let (code, _, log) = server_on(&url, args).output().await;
        assert_eq!(code, 0, "{args:?}: {log}");
    }
    client.get("/v1/transactions/tx-1").await.problem(404);

    // What was done stays done, and the log says what is missing.
    let sql = format!("REVOKE INSERT ON webhook.actions FROM {role}");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut owner)
        .await
        .unwrap();
    let (code, out, log) = server_on(&url, &["pause", "transaction"]).output().await;
    assert_eq!((code, &*out), (0, "transaction: paused\n"), "{log}");
    let part = "only this log knows of it: failed to keep its audit record";
    assert!(log.contains(part), "{log}");
    // Its sessions have the time limit of the server.
    let (_, out, log) = server_on(&url, &["doctor"]).output().await;
    assert!(
        out.contains("it ends statements of this server after 10 s"),
        "{out}{log}"
    );

    for view in ["transactions", "inbox"] {
        let sql = format!("SET ROLE {role}; SELECT * FROM webhook.{view}; RESET ROLE");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut owner)
            .await
            .unwrap();
    }
    for forbidden in [
        "CREATE TABLE webhook.mine ()",
        "DROP TABLE webhook.queue",
        "ALTER TABLE webhook.events DROP COLUMN body",
        "TRUNCATE webhook.events",
        "DELETE FROM webhook.migrations",
        "DELETE FROM webhook.line_migrations",
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
