//! What is in the schemas of databases, to see that nothing has changed.

use std::collections::BTreeSet;

use webhook_postgres::sqlx::{self, AssertSqlSafe};
use webhook_postgres::testing::TestDatabase;

use crate::support::process::Starter;

/// All schemas of some databases, and what is in those of inboxes: tables, migrations, marks.
pub(crate) async fn contents(databases: &[&TestDatabase]) -> BTreeSet<String> {
    let mut contents = BTreeSet::new();
    for (number, database) in (0..).zip(databases) {
        let mut connection = database.connection().await;
        let schemas: Vec<String> =
            sqlx::query_scalar("SELECT schema_name::text FROM information_schema.schemata")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        for schema in schemas {
            let tables =
                "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1";
            let tables: Vec<String> = sqlx::query_scalar(tables)
                .bind(&schema)
                .fetch_all(&mut connection)
                .await
                .unwrap();
            if !schema.starts_with("webhook") {
                contents.insert(format!("{number} {schema}"));
                continue;
            }
            for table in ["migrations", "partition_mark"] {
                if !tables.iter().any(|it| it == table) {
                    continue;
                }
                let rows =
                    format!("SELECT to_jsonb(of_table)::text FROM {schema}.{table} AS of_table");
                let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows))
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                contents.extend(
                    rows.iter()
                        .map(|row| format!("{number} {schema}.{table} {row}")),
                );
            }
            contents.insert(format!("{number} {schema} {tables:?}"));
        }
    }
    contents
}

pub(crate) async fn execute(database: &TestDatabase, sql: &str) {
    let mut connection = database.connection().await;
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

/// Runs what is refused, which must change nothing.
pub(crate) async fn refused(databases: &[&TestDatabase], starter: Starter, expected: &str) {
    let before = contents(databases).await;
    let (code, _, log) = starter.output().await;
    assert_ne!(code, 0, "{log}");
    assert!(log.contains(expected), "{expected:?} is missing: {log}");
    let after = contents(databases).await;
    let changes: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(changes.is_empty(), "{expected}: {changes:?}");
}
