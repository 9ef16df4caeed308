//! `conformance` on PostgreSQL.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use webhook_postgres::sqlx::{self, Row};
use webhook_postgres::testing::TestDatabase;

use crate::node::{server_on, with_parameters};
use crate::support::{in_time, until};

/// The schemas that runs have made and not dropped.
async fn schemas(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'webhook%'";
    let mut connection = database.connection().await;
    let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn conformance_runs_in_schemas_of_its_own_and_drops_them() {
    let database = TestDatabase::create().await;
    let args = [
        "conformance",
        "--filter=accept::a",
        "--filter=pipeline::a_poison",
        "--jobs=8",
    ];
    let (code, out, log) = server_on(database.url(), &args).output().await;
    assert_eq!(code, 0, "{out}{log}");
    assert!(out.starts_with("PostgreSQL "), "{out}");
    assert!(out.contains("holds   accept"), "{out}");
    assert!(out.contains("holds   pipeline"), "{out}");
    assert!(
        log.contains("nothing else in the database is changed"),
        "{log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(schemas(&database).await, [""; 0]);
    database.drop_database().await;
}

/// A trigger on the table of conflicting bodies loses each row, as a database does that keeps no promises.
const SABOTAGE: &str = "
    CREATE FUNCTION public.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION public.sabotage() RETURNS event_trigger LANGUAGE plpgsql AS $$
        DECLARE made record;
        BEGIN
            FOR made IN SELECT object_identity AS name FROM pg_event_trigger_ddl_commands()
                WHERE object_type = 'table' AND object_identity LIKE '%.conflict\\_bodies'
            LOOP
                EXECUTE format('CREATE TRIGGER lose BEFORE INSERT ON %s FOR EACH ROW '
                    'EXECUTE FUNCTION public.lose()', made.name);
            END LOOP;
        END $$;
    CREATE EVENT TRIGGER sabotage ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION public.sabotage();
    CREATE SCHEMA webhook_conformance_0_1;
";

#[tokio::test]
async fn conformance_says_which_promises_a_database_breaks() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    sqlx::raw_sql(SABOTAGE)
        .execute(&mut connection)
        .await
        .unwrap();
    let args = [
        "conformance",
        "--filter=conflict::conflicts_are_listed",
        "--filter=kinds::an_empty",
        "--json",
    ];
    let (code, out, log) = server_on(database.url(), &args).output().await;
    assert_eq!(code, 1, "{out}{log}");
    assert!(log.contains("error: 1 of 2 cases failed"), "{log}");
    assert!(
        log.contains("schemas of other runs: webhook_conformance_0_1."),
        "{log}"
    );
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["failed"], 1);
    let broken = report["themes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["theme"] == "conflict")
        .unwrap();
    let failed = &broken["failed"][0];
    assert_eq!(failed["case"], "conflicts_are_listed_latest_first");
    assert!(!failed["message"].as_str().unwrap().is_empty());
    let location = failed["location"].as_str().unwrap();
    assert!(location.contains("conformance/conflict.rs"), "{location}");
    // It drops its own schemas, and no other one.
    assert_eq!(schemas(&database).await, ["webhook_conformance_0_1"]);
    database.drop_database().await;
}

#[tokio::test]
async fn interrupted_conformance_drops_its_schemas() {
    let database = TestDatabase::create().await;
    let mut command = server_on(database.url(), &["conformance"]).into_command();
    let mut running = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(running.id().unwrap()).unwrap()).unwrap();
    until("cases run", async || schemas(&database).await.len() > 1).await;
    kill_process(pid, Signal::INT).unwrap();
    let status = in_time("the end", running.wait()).await.unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(schemas(&database).await, [""; 0]);
    database.drop_database().await;
}

#[tokio::test]
async fn conformance_needs_the_right_to_create_schemas() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let role = format!("nobody_{}", std::process::id());
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD 'x7Qw-of-no-one'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    let url = with_parameters(
        database.url(),
        &format!("user={role}&password=x7Qw-of-no-one"),
    );
    let (code, _, log) = server_on(&url, &["conformance", "--filter=kinds::"])
        .output()
        .await;
    assert_eq!(code, 1);
    assert!(log.contains("permission denied"), "{log}");
    let sql = format!("DROP ROLE {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    database.drop_database().await;
}
