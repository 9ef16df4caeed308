//! Tests of connecting: poolers are detected, and errors say what failed.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inbox::{DEADLINE, Inbox, event, reference, until};
use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use testkit::proxy::{Network, Proxy};
use webhook_core::{Accepted, Store};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgError, PgOptions, PgStore, Pooler, sqlx};

#[tokio::test]
async fn a_pooler_is_detected() {
    let inbox = Inbox::direct().await;
    assert_eq!(inbox.store.pooler(), Pooler::None);
    let pooled = PgStore::connect(inbox.database.pooler_url()).await.unwrap();
    assert_eq!(pooled.pooler(), Pooler::Transaction);
    pooled.close().await;
    inbox.close().await;
}

/// A store that is told to expect a pooler works without one, and restricts itself to what poolers
/// allow.
#[tokio::test]
async fn a_pooler_may_be_named_in_the_url() {
    let database = TestDatabase::create().await;
    let mark = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    for parameter in ["pooler=transaction", "pgbouncer=true"] {
        let url = format!("{}{mark}{parameter}", database.url());
        let store = PgStore::connect(&url).await.unwrap();
        assert_eq!(store.pooler(), Pooler::Transaction);
        store.migrate().await.unwrap();
        store.accept(&[event(parameter)]).await.unwrap();
        store.close().await;
    }
    database.drop_database().await;
}

/// These are URLs in the form that SQLAlchemy uses.
#[tokio::test]
async fn urls_of_other_languages_connect() {
    let database = TestDatabase::create().await;
    let (_, rest) = database.url().split_once("://").unwrap();
    for scheme in ["postgresql+psycopg2", "postgresql+asyncpg", "postgres"] {
        let store = PgStore::connect(&format!("{scheme}://{rest}"))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        store.close().await;
    }
    database.drop_database().await;
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_that_names_it() {
    // The listener is dropped, so nobody listens on its port.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgresql://app:hunter2@127.0.0.1:{port}/inbox");
    let error = PgStore::connect(&url).await.unwrap_err();
    assert!(matches!(error, PgError::Connect { .. }));
    assert!(
        error
            .to_string()
            .contains(&format!("127.0.0.1:{port}/inbox")),
        "{error}"
    );
    assert!(error.source().is_some());
    assert!(!format!("{error:?}").contains("hunter2"));
}

/// The server accepts the connection and sends nothing.
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    let url = format!("postgresql://app:hunter2@127.0.0.1:{port}/inbox?connect_timeout=1");
    let started = Instant::now();
    let error = PgStore::connect(&url).await.unwrap_err();
    assert!(matches!(error, PgError::Connect { .. }), "{error:?}");
    assert!(started.elapsed() < DEADLINE);
    silent.abort();
}

/// Such a pooler refuses settings in the start-up packet, with its own SQLSTATE and message or by
/// closing the connection, and forwards everything else.
#[tokio::test]
async fn pooler_that_refuses_options_is_detected_by_behaviour() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let database = TestDatabase::create().await;
    let options: PgOptions = database.url().parse().unwrap();
    let server = (
        options.connection.get_host().to_owned(),
        options.connection.get_port(),
    );
    for refusal in [Some("0A000"), Some("XX000"), Some("28000"), None] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = server.clone();
        let pooler = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let length = client.read_u32().await.unwrap();
                    let mut packet = vec![0; usize::try_from(length).unwrap() - 4];
                    client.read_exact(&mut packet).await.unwrap();
                    if packet.windows(9).any(|it| it == b"\0options\0") {
                        if let Some(code) = refusal {
                            let fields = format!("SFATAL\0VFATAL\0C{code}\0Mthat will not do\0\0");
                            client.write_u8(b'E').await.unwrap();
                            let length = u32::try_from(fields.len() + 4).unwrap();
                            client.write_u32(length).await.unwrap();
                            client.write_all(fields.as_bytes()).await.unwrap();
                        }
                        return;
                    }
                    let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                    server.write_u32(length).await.unwrap();
                    server.write_all(&packet).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        let mut through = options.clone();
        through.connection = through
            .connection
            .host("127.0.0.1")
            .port(port)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        let store = PgStore::connect_with(through).await.unwrap();
        assert_eq!(store.pooler(), Pooler::Transaction, "{refusal:?}");
        store.close().await;
        pooler.abort();
    }
    database.drop_database().await;
}

/// A store that begins before its database does is like any other once the database is there.
#[tokio::test]
async fn a_lazy_store_connects_when_the_database_is_there() {
    let inbox = Inbox::direct().await;
    for (url, pooler) in [
        (inbox.database.url(), Pooler::None),
        (inbox.database.pooler_url(), Pooler::Transaction),
    ] {
        let mut options: PgOptions = url.parse().unwrap();
        let server = (
            options.connection.get_host().to_owned(),
            options.connection.get_port(),
        );
        let is_there = Arc::<AtomicBool>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::clone(&is_there);
        let proxy = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let server = server.clone();
                tokio::spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        options.connection = options
            .connection
            .host("127.0.0.1")
            .port(port)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        options.max_connections = 3;
        let store = PgStore::connect_lazy(options);
        let key = format!("{pooler:?}");
        for _ in 0..2 {
            store.ping().await.unwrap_err();
            let error = store.accept(&[event(&key)]).await.unwrap_err();
            assert!(error.to_string().contains("unavailable"), "{error}");
            store.migrate().await.unwrap_err();
        }
        assert_eq!(store.pooler(), Pooler::Detect);
        assert_eq!(store.connections().limit, 3);
        assert_eq!(store.connections().in_use, 0);

        is_there.store(true, Ordering::SeqCst);
        // All at once, so that they share the first connection.
        let accepting: Vec<_> = (0..6)
            .map(|number| {
                let (store, event) = (store.clone(), event(&format!("{key}-{number}")));
                tokio::spawn(async move { store.accept(&[event]).await })
            })
            .collect();
        for accepted in accepting {
            assert_eq!(accepted.await.unwrap().unwrap(), [Accepted::New]);
        }
        assert_eq!(store.pooler(), pooler);
        store.ping().await.unwrap();
        store.close().await;
        store.ping().await.unwrap_err();
        proxy.abort();
    }
    inbox.close().await;
}

/// Each call has little time left once those before it have given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lazy_store_connects_while_calls_keep_coming() {
    let inbox = Inbox::direct().await;
    let mut options: PgOptions = inbox.database.url().parse().unwrap();
    let (host, port) = (
        options.connection.get_host().to_owned(),
        options.connection.get_port(),
    );
    let proxy = Proxy::start(&host, port, Network::Stalled);
    options.connection = options
        .connection
        .host("127.0.0.1")
        .port(proxy.addr().port())
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    options.acquire_timeout = Duration::from_secs(2);
    let store = PgStore::connect_lazy(options);
    let calls = tokio::spawn({
        let store = store.clone();
        async move {
            let mut calls = tokio::task::JoinSet::new();
            loop {
                let store = store.clone();
                calls.spawn(async move { store.find(&[reference("any")]).await.is_ok() });
                while calls.try_join_next().is_some() {}
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(store.pooler(), Pooler::Detect);
    // To connect takes longer than the time between two calls.
    proxy.set(Network::Slow(Duration::from_millis(50)));
    until("the database is reached", async || {
        store.pooler() == Pooler::None
    })
    .await;
    calls.abort();
    store.close().await;
    inbox.close().await;
}

/// A store that is closed before it was used opens no connection any more.
#[tokio::test]
async fn a_lazy_store_that_is_closed_does_not_connect() {
    let inbox = Inbox::direct().await;
    let store = PgStore::connect_lazy(inbox.database.url().parse().unwrap());
    store.close().await;
    store.find(&[reference("any")]).await.unwrap_err();
    assert_eq!(store.pooler(), Pooler::Detect);
    inbox.close().await;
}

#[tokio::test]
async fn only_lasting_failures_are_permanent() {
    let database = TestDatabase::create().await;
    let mut options: PgOptions = database.url().parse().unwrap();
    let right = options.connection.clone();
    options.connection = right.clone().database("no_database_by_this_name");
    let error = PgStore::connect_with(options.clone()).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    options.connection = right.password("wrong");
    let error = PgStore::connect_with(options.clone()).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    options.connection = options.connection.host("127.0.0.1").port(port);
    let error = PgStore::connect_with(options).await.unwrap_err();
    assert!(!error.is_permanent(), "{error:?}");
    database.drop_database().await;
}

/// The error of sqlx itself shows the character that SASLprep does not allow.
#[tokio::test]
async fn error_about_saslprep_shows_no_character_of_the_password() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // This server asks for SCRAM, up to the step in which a client needs the password.
    let server = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let steps: [&[u8]; 2] = [
                b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
                b"R\0\0\0\x19\0\0\0\x0br=x,s=c2FsdA==,i=1",
            ];
            for step in steps {
                let _ = client.read(&mut [0; 1024]).await;
                let _ = client.write_all(step).await;
            }
            let _ = client.read(&mut [0; 1024]).await;
        }
    });
    let url = format!("postgres://app:%F0%9F%A6%80crab@127.0.0.1:{port}/d?sslmode=disable");
    let error = PgStore::connect(&url).await.unwrap_err();
    let told = format!("{error:?} {:?}", error.source().map(ToString::to_string));
    for part in ["\u{1f980}", "1f980", "129408", "crab"] {
        assert!(!told.contains(part), "{told}");
    }
    assert!(told.contains("SASLprep"), "{told}");
    assert!(error.is_permanent(), "{told}");
    server.abort();
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_repeat_it() {
    let database = TestDatabase::create().await;
    let mut options: PgOptions = database.url().parse().unwrap();
    options.connection = options
        .connection
        .username("nobody_by_this_name")
        .password("hunter2");
    let error = PgStore::connect_with(options).await.unwrap_err();
    let told = format!("{error:?} {error}");
    assert!(matches!(error, PgError::Connect { .. }), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    database.drop_database().await;
}

/// The app has created the pool, so its settings may be anything.
#[tokio::test]
async fn a_store_may_share_the_apps_pool() {
    let inbox = Inbox::direct().await;
    let options: PgOptions = inbox.database.url().parse().unwrap();
    let odd = options.connection.options([
        ("default_transaction_isolation", "serializable"),
        ("synchronous_commit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(odd)
        .await
        .unwrap();
    let shared = PgStore::from_pool(pool.clone(), Pooler::Detect)
        .await
        .unwrap();
    assert_eq!(shared.pooler(), Pooler::None);
    assert_eq!(shared.accept(&[event("a")]).await.unwrap(), [Accepted::New]);
    assert_eq!(
        shared.accept(&[event("a")]).await.unwrap(),
        [Accepted::Duplicate]
    );
    assert!(shared.find(&[reference("a")]).await.unwrap()[0].is_some());
    assert_eq!(inbox.claim_one().await.key.as_str(), "a");
    // The settings of the app's sessions are unchanged.
    let row = sqlx::query(
        "SELECT current_setting('enable_seqscan'), current_setting('synchronous_commit')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(
        (row.get::<&str, _>(0), row.get::<&str, _>(1)),
        ("on", "off")
    );
    pool.close().await;
    inbox.close().await;
}

/// Even if the database's default loses the last commits in a crash, a store's sessions do not.
#[tokio::test]
async fn accepted_events_are_durable_despite_database_settings() {
    assert_commits("off", None, "on").await;
}

#[tokio::test]
async fn asynchronous_durability_commits_asynchronously() {
    assert_commits("on", Some("durability=asynchronous"), "off").await;
}

/// Asserts that a store commits with `synchronous_commit` set to `expected`, where the database's
/// default is `default` and the store's URL has `parameter`.
async fn assert_commits(default: &str, parameter: Option<&str>, expected: &str) {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let set_up = format!(
        "DO $$ BEGIN
           EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}', current_database());
         END $$;
         CREATE TABLE seen (setting text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO public.seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(set_up))
        .execute(&mut connection)
        .await
        .unwrap();
    for url in [database.url(), database.pooler_url()] {
        let mark = if url.contains('?') { '&' } else { '?' };
        let parameter = parameter.map_or(String::new(), |it| format!("{mark}{it}"));
        let store = PgStore::connect(&format!("{url}{parameter}"))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        sqlx::raw_sql(
            "TRUNCATE seen, webhook.events, webhook.queue;
             CREATE OR REPLACE TRIGGER see AFTER INSERT ON webhook.events EXECUTE FUNCTION see()",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        store.accept(&[event("a")]).await.unwrap();
        let seen = sqlx::query("SELECT setting FROM seen")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(seen.get::<&str, _>(0), expected);
        store.close().await;
        // A migration refuses foreign triggers.
        sqlx::raw_sql("DROP TRIGGER see ON webhook.events")
            .execute(&mut connection)
            .await
            .unwrap();
    }
    drop(connection);
    database.drop_database().await;
}

/// Tests each `sslmode` on the server of `scripts/test`, whose certificate is signed by its own
/// authority.
#[tokio::test]
async fn tls_follows_sslmode() {
    let authority = std::env::var("TEST_DATABASE_CA")
        .expect("TEST_DATABASE_CA names no certificate: run the tests by scripts/test");
    let database = TestDatabase::create().await;
    let base = database.url().split('?').next().unwrap().to_owned();
    let encrypted = async |query: &str| -> Result<bool, PgError> {
        let options: PgOptions = format!("{base}?{query}").parse()?;
        let store = PgStore::connect_with(options.clone()).await?;
        let mut connection = sqlx::ConnectOptions::connect(&options.connection).await?;
        let row = sqlx::query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        store.close().await;
        Ok(row.get(0))
    };
    assert!(!encrypted("sslmode=disable").await.unwrap());
    assert!(encrypted("sslmode=require").await.unwrap());
    assert!(encrypted("ssl=require").await.unwrap());
    let trusted = format!("sslmode=verify-full&sslrootcert={authority}");
    assert!(encrypted(&trusted).await.unwrap());
    assert!(
        encrypted(&trusted.replace("verify-full", "require"))
            .await
            .unwrap()
    );
    let bound = format!("sslmode=require&channel_binding=require&sslrootcert={authority}");
    assert!(encrypted(&bound).await.unwrap());
    // No other authority has signed the certificate.
    let other = std::env::temp_dir().join(format!("webhook-other-ca-{}.crt", std::process::id()));
    std::fs::write(&other, OTHER_AUTHORITY).unwrap();
    for query in [
        "sslmode=verify-full".to_owned(),
        "sslmode=require&channel_binding=require".to_owned(),
        format!("sslmode=require&sslrootcert={}", other.display()),
    ] {
        let error = encrypted(&query).await.unwrap_err();
        assert!(matches!(error, PgError::Connect { .. }), "{error:?}");
        assert!(error.is_permanent(), "{query}: {error:?}");
    }
    std::fs::remove_file(&other).unwrap();
    database.drop_database().await;
}

/// Files of certificates and keys are checked before a connection is opened.
#[tokio::test]
async fn unusable_tls_files_are_lasting_errors_that_name_them() {
    let folder = std::env::temp_dir().join(format!("webhook-tls-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let write = |name: &str, content: &str| {
        std::fs::write(path(name), content).unwrap();
        path(name)
    };
    let cert = write("good.crt", OTHER_AUTHORITY);
    let key = write(
        "good.key",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
    );
    let encrypted = write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    let (empty, text) = (write("empty", ""), write("text", "MIIBjzCCATWgAwIBAgIU"));
    let (missing, directory) = (path("missing"), folder.to_str().unwrap().to_owned());
    let below = format!("{cert}/x");
    let error_with = async |query: &str| {
        let url = format!("postgresql://app:hunter2@127.0.0.1:1/inbox?{query}");
        PgStore::connect(&url).await.unwrap_err()
    };
    for (file, problem) in [
        (&missing, "it cannot be read"),
        (&below, "it cannot be read"),
        (&directory, "it is not a regular file"),
        (&empty, "it contains no"),
        (&text, "it contains no"),
    ] {
        for (parameter, query) in [
            (
                "sslrootcert",
                format!("sslmode=verify-full&sslrootcert={file}"),
            ),
            ("sslrootcert", format!("sslmode=require&sslrootcert={file}")),
            (
                "sslcert",
                format!("sslmode=require&sslcert={file}&sslkey={key}"),
            ),
            (
                "sslkey",
                format!("sslmode=require&sslcert={cert}&sslkey={file}"),
            ),
            (
                "sslkey",
                format!("sslmode=prefer&sslcert={cert}&sslkey={file}"),
            ),
        ] {
            let error = error_with(&query).await;
            let expected = format!("cannot use the file {file} of `{parameter}`: {problem}");
            assert!(error.to_string().starts_with(&expected), "{query}: {error}");
            assert!(error.is_permanent(), "{query}");
            assert_eq!(error.source().is_some(), problem == "it cannot be read");
        }
    }
    for query in [
        format!("sslmode=require&sslcert={cert}&sslkey={cert}"),
        format!("sslmode=require&sslcert={cert}&sslkey={encrypted}"),
        format!("sslmode=require&sslcert={key}&sslkey={key}"),
        format!("sslmode=verify-full&sslrootcert={key}"),
    ] {
        let error = error_with(&query).await;
        assert!(
            matches!(error, PgError::TlsFile { .. }),
            "{query}: {error:?}"
        );
    }
    // These files are valid or never read.
    for query in [
        format!("sslmode=verify-full&sslrootcert={cert}&sslcert={cert}&sslkey={key}"),
        format!("sslmode=disable&sslrootcert={missing}&sslcert={missing}&sslkey={missing}"),
        format!("sslmode=prefer&sslrootcert={missing}"),
        "sslmode=verify-full&sslrootcert=system".to_owned(),
    ] {
        let error = error_with(&query).await;
        assert!(
            matches!(error, PgError::Connect { .. }),
            "{query}: {error:?}"
        );
        assert!(!error.is_permanent(), "{query}: {error:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn key_given_in_place_of_its_file_is_not_shown() {
    for parameter in [
        "sslkey=-----BEGIN%20PRIVATE%20KEY-----%0AGHJKMN",
        "sslkey=GHJKMN/pqrstv",
        "sslkey=/GHJKMN/pqrstv",
        "sslkey=GHJKMN",
        "sslcert=-----BEGIN%20PRIVATE%20KEY-----%20GHJKMN",
        "sslcert=x%0AGHJKMN",
    ] {
        let url = format!("postgresql://app@127.0.0.1:1/d?sslmode=require&{parameter}");
        let error = PgStore::connect(&url).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(matches!(error, PgError::TlsFile { .. }), "{told}");
        assert!(!told.contains("GHJK"), "{told}");
    }
}

/// A closed store is unavailable, and says so at once.
#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let inbox = Inbox::direct().await;
    inbox.store.close().await;
    let started = Instant::now();
    let error = inbox.store.accept(&[event("a")]).await.unwrap_err();
    assert!(
        matches!(error, webhook_core::StoreError::Unavailable { .. }),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    inbox.database.drop_database().await;
}

/// Returns the certificate of an authority that has signed nothing.
const OTHER_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUNMwojn5GrNSbALpPpqk9fbYT904wCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRYW5vdGhlciBhdXRob3JpdHkwIBcNMjYxMTI1MDgwOTA0WhgP
MjEyNjExMDEwODA5MDRaMBwxGjAYBgNVBAMMEWFub3RoZXIgYXV0aG9yaXR5MFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVBlF0+AVkQDMCvE7ipxJ1myyzFbPvd1p
t1Q75Xz5cA5EDgrNtoA/2c+Xzw5JyyvxnYMN8RJAIfDwmVjU9G2JSKNTMFEwHQYD
VR0OBBYEFN9pUyUzztA6mqHO36GhJBNxCnVYMB8GA1UdIwQYMBaAFN9pUyUzztA6
mqHO36GhJBNxCnVYMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIh
AOZVZ4QwTFwlA1q2A0y5LyiIAFFgcRBWplnJRhHon+HFAiBiJgI1nJ9HyNT/ev3K
Ef3+KkkJMNia5Nkn1/2x/g29zQ==
-----END CERTIFICATE-----
";
