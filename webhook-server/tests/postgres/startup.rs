//! How a server connects to its database at the start.

use testkit::postgres::OwnServer;
use webhook_postgres::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use webhook_postgres::testing::TestDatabase;

use crate::node::{server_on, with_parameters};
use crate::proxy::{Network, Proxy};
use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::{transaction, until};

#[tokio::test]
async fn start_waits_for_a_database_that_is_not_up_yet() {
    let database = TestDatabase::create().await;
    for absent in [Network::Refusing, Network::Stalled] {
        let proxy = Proxy::start(database.url(), absent);
        let url = with_parameters(&proxy.url(database.url()), "connect_timeout=1");
        let mut server = server_on(&url, &[]).start();
        let waiting = server.logs("database not reachable yet").await;
        assert!(waiting["error"].is_string(), "{waiting}");
        assert!(waiting["giving_up_in_seconds"].as_f64() > Some(20.0));
        server.logs("database not reachable yet").await;
        proxy.set(Network::Up);
        let addr = server.listens().await;
        let reply = Client::connect(addr).await.post(transaction("tx-1")).await;
        assert_eq!(reply.status, 202);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn start_fails_with_a_reason_and_without_the_password() {
    let database = TestDatabase::create().await;
    let refusing = Proxy::start(database.url(), Network::Refusing);
    let stalled = Proxy::start(database.url(), Network::Stalled);
    let at = |url: String| with_parameters(&url, "connect_timeout=1");
    const UNREACHABLE: (&str, &str) = ("1", "database not reachable within 1s");
    // Final: it does not wait for as long as it may.
    const REFUSED: (&str, &str) = ("3600", "the database refuses the connection");
    const UNUSABLE: (&str, &str) = ("3600", "invalid DATABASE_URL");
    let files = Files::new();
    let verified = |file: &str| {
        let parameters = format!("sslmode=verify-full&sslrootcert={file}");
        with_parameters(&refusing.url(database.url()), &parameters)
    };
    let (missing, empty) = (files.path("missing.crt"), files.write("empty.crt", ""));
    for (url, (wait, summary), reasons) in [
        (
            at(refusing.url(database.url())),
            UNREACHABLE,
            &["refused"][..],
        ),
        // By the connection's own time-out, or by the end of the wait, whichever is noticed first.
        (
            at(stalled.url(database.url())),
            UNREACHABLE,
            &["timed out", "no answer from PostgreSQL"],
        ),
        (
            with_parameters(database.url(), "password=hunter2"),
            REFUSED,
            &["password authentication failed"],
        ),
        (
            with_parameters(database.url(), "dbname=nowhere"),
            REFUSED,
            &[r#"database \"nowhere\" does not exist"#],
        ),
        (
            verified(&missing),
            UNUSABLE,
            &[&*format!(
                "cannot use the file {missing} of `sslrootcert`: it cannot be read: No such file"
            )],
        ),
        (
            verified(&empty),
            UNUSABLE,
            &[&*format!(
                "cannot use the file {empty} of `sslrootcert`: it contains no certificate in PEM format"
            )],
        ),
    ] {
        for task in [&[][..], &["migrate"]] {
            let wait = format!("--database-wait-seconds={wait}");
            let args = [task, &[&*wait]].concat();
            let mut server = server_on(&url, &args).start();
            let status = server.ends().await;
            let log = server.logged.join("\n");
            assert_eq!(status.code(), Some(1), "{log}");
            let last = server.logged.last().unwrap();
            assert!(last.contains(summary), "{log}");
            let is_told = reasons.iter().any(|reason| last.contains(reason));
            assert!(is_told, "none of {reasons:?} is in: {log}");
            assert!(!log.contains("hunter2"), "{log}");
            if let Some(password) = password(database.url()) {
                assert!(!log.contains(password), "{log}");
            }
        }
    }
    database.drop_database().await;
}

fn password(url: &str) -> Option<&str> {
    let (userinfo, _) = url.split_once("://")?.1.rsplit_once('@')?;
    let (_, password) = userinfo.split_once(':')?;
    Some(password)
}

#[tokio::test]
async fn ten_migrations_at_once_all_succeed() {
    let database = TestDatabase::create().await;
    let migrations = (0..10).map(|_| server_on(database.url(), &["migrate"]).output());
    for (code, _, log) in futures_util::future::join_all(migrations).await {
        assert_eq!(code, 0, "{log}");
    }
    let mut connection = database.connection().await;
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM webhook.migrations ORDER BY version")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let expected = [
        "create_inbox",
        "keep_failed_attempts",
        "strip_bodies",
        "keep_headers",
        "create_inbox_view",
        "pause_kinds",
        "mark_moves",
        "keep_event_types",
        "keep_guards",
        "keep_details",
        "keep_nodes",
        "keep_actions",
        "mark_partitions",
    ];
    assert_eq!(names, expected);
    let lines: Vec<(String, String)> =
        sqlx::query_as("SELECT line, name FROM webhook.line_migrations ORDER BY line, version")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let expected = ["create_transactions_view", "read_marked_bodies"];
    assert_eq!(
        lines,
        expected.map(|name| ("transactions".to_owned(), name.to_owned()))
    );

    let mut server = server_on(database.url(), &["--migrate=off"]).start();
    let addr = server.listens().await;
    let mut client = Client::connect(addr).await;
    let reply = client.post(transaction("tx-1")).await;
    reply.acknowledged("ACCEPTED");
    database.drop_database().await;
}

/// Only the server's own configuration sets these two, so they are changed on a server of this test.
#[tokio::test]
async fn start_warns_of_fsync_or_full_page_writes_off() {
    const WARNING: &str = "PostgreSQL has fsync or full_page_writes off";
    let own = OwnServer::start(&[]).await;
    let mut admin = PgConnection::connect(own.url()).await.unwrap();
    for (fsync, full_page_writes) in [("on", "on"), ("off", "on"), ("on", "off")] {
        for (name, value) in [("fsync", fsync), ("full_page_writes", full_page_writes)] {
            set_on_server(&mut admin, name, value).await;
        }
        for args in [&[][..], &["--migrate=off"]] {
            let mut server = server_on(own.url(), args).start();
            server.listens().await;
            let log = server.logged.join("\n");
            let is_safe = (fsync, full_page_writes) == ("on", "on");
            assert_eq!(log.contains(WARNING), !is_safe, "{args:?}: {log}");
        }
    }
}

/// Changes a setting of the server's configuration, and waits until it applies.
async fn set_on_server(admin: &mut PgConnection, name: &str, value: &str) {
    let set = format!("ALTER SYSTEM SET {name} = {value}");
    for sql in [&*set, "SELECT pg_reload_conf()"] {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut *admin).await.unwrap();
    }
    until(&set, async || {
        let shown: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut *admin)
            .await
            .unwrap();
        shown == value
    })
    .await;
}

#[tokio::test]
async fn start_names_asynchronous_durability() {
    let database = TestDatabase::create().await;
    const WARNING: &str =
        "durability=asynchronous: a crash of PostgreSQL loses acknowledged events";
    for (durability, is_warned) in [("asynchronous", true), ("synchronous", false)] {
        let url = with_parameters(database.url(), &format!("durability={durability}"));
        let mut server = server_on(&url, &[]).start();
        server.listens().await;
        let log = server.logged.join("\n");
        assert_eq!(log.contains(WARNING), is_warned, "{log}");
    }
    database.drop_database().await;
}

/// No other host is needed: connecting to 0.0.0.0 reaches this machine, and is no loopback address.
#[tokio::test]
async fn start_warns_of_plain_text_to_another_host() {
    const WARNING: &str = "the connection to PostgreSQL may be unencrypted";
    let database = TestDatabase::create().await;
    for (host, mode, is_warned) in [
        ("0.0.0.0", "disable", true),
        ("0.0.0.0", "require", false),
        ("127.0.0.1", "disable", false),
    ] {
        let proxy = Proxy::start(database.url(), Network::Up);
        let parameters = format!("host={host}&sslmode={mode}");
        let url = with_parameters(&proxy.url(database.url()), &parameters);
        let mut server = server_on(&url, &[]).start();
        server.listens().await;
        let log = server.logged.join("\n");
        assert_eq!(log.contains(WARNING), is_warned, "{host} {mode}: {log}");
    }
    database.drop_database().await;
}
