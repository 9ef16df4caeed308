//! The first connection of a store: it finds out what answers.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::time::timeout;

use super::{Engine, Link};
use crate::error::PgError;
use crate::options::{Durability, PgOptions, Pooler, server};
use crate::tls_files::TlsFile;

/// What the first connection has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) link: Link,
    pub(crate) engine: Engine,
}

/// Makes the first connection of a store with a pool of its own.
pub(super) async fn connect(options: &PgOptions) -> Result<Found, PgError> {
    let connection = options.first_connection();
    check_tls_files(options).await?;
    let found = probe(&connection, options.pooler, options.acquire_timeout).await?;
    warn_of_plain_text(&connection);
    tracing::info!(
        server = server(&connection),
        mode = match found.link {
            Link::Direct => "direct: prepared statements, notifications",
            Link::Pooled => "transaction-mode pooler: polling",
        },
        found = if options.pooler == Pooler::Detect {
            "by probing"
        } else {
            "by option"
        },
        engine = ?found.engine,
        "connected to PostgreSQL"
    );
    if options.durability == Durability::Asynchronous {
        tracing::warn!("durability=asynchronous: a crash of PostgreSQL loses acknowledged events");
    }
    Ok(found)
}

/// Checks the files with certificates and keys that the connection will read.
async fn check_tls_files(options: &PgOptions) -> Result<(), PgError> {
    let mode = options.connection.get_ssl_mode();
    let files = options.tls_files.iter().filter(|file| file.is_used(mode));
    let files: Vec<_> = files.cloned().collect();
    if files.is_empty() {
        return Ok(());
    }
    // A network file system may never answer.
    let checking = tokio::task::spawn_blocking(move || files.iter().try_for_each(TlsFile::check));
    let after = options.acquire_timeout;
    match timeout(after, checking).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        Err(_) => Err(PgError::TimedOut { after }),
    }
}

/// Connects once, to check that the database can be reached, whether there is a pooler, and which program answers.
pub(crate) async fn probe(
    connection: &PgConnectOptions,
    pooler: Pooler,
    limit: Duration,
) -> Result<Found, PgError> {
    let found = async {
        match pooler {
            Pooler::None => once(connection, Link::Direct).await,
            Pooler::Transaction => once(connection, Link::Pooled).await,
            // A direct session starts with the settings of the start-up packet. A pooler refuses or ignores
            // them, since its sessions have started before.
            Pooler::Detect => ask(connection).await,
        }
    };
    timeout(limit, found)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|error| cannot_connect(connection, error))
}

/// The error for a connection that cannot be made.
pub(crate) fn cannot_connect(connection: &PgConnectOptions, error: sqlx::Error) -> PgError {
    PgError::Connect {
        server: server(connection),
        source: without_password(error).into(),
    }
}

/// Connects with a setting in the start-up packet. If the server accepts connections only without it, it is a
/// pooler, whatever its error says. Tries twice, since a broken connection looks the same.
async fn ask(connection: &PgConnectOptions) -> Result<Found, sqlx::Error> {
    let asking = connection.clone().options([("webhook.probe", "1")]);
    let pooled = match asking.connect().await {
        Ok(session) => return detect(session).await,
        Err(error) if may_refuse_options(&error) => once(connection, Link::Pooled).await?,
        Err(error) => return Err(error),
    };
    match asking.connect().await {
        Ok(session) => detect(session).await,
        Err(_) => Ok(pooled),
    }
}

async fn once(connection: &PgConnectOptions, link: Link) -> Result<Found, sqlx::Error> {
    let mut session = connection.connect().await?;
    let engine = engine(&mut session).await?;
    session.close().await?;
    Ok(Found { link, engine })
}

/// Finds out which program answers. Names the operator, since the search path of the database may have others.
async fn engine(session: &mut PgConnection) -> Result<Engine, sqlx::Error> {
    let citus =
        "SELECT 1 FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'citus'";
    let row = sqlx::raw_sql(citus).fetch_optional(session).await?;
    Ok(match row {
        Some(_) => Engine::Citus,
        None => Engine::Postgres,
    })
}

async fn detect(mut session: PgConnection) -> Result<Found, sqlx::Error> {
    // The simple protocol, since nothing may be prepared through a pooler.
    let row = sqlx::raw_sql("SELECT pg_catalog.current_setting('webhook.probe', true)")
        .fetch_one(&mut session)
        .await?;
    let engine = engine(&mut session).await?;
    session.close().await?;
    // Compared here, since an operator in SQL would be resolved by the search path of the database.
    let probe: Option<String> = row.try_get(0)?;
    let link = if probe.as_deref() == Some("1") {
        Link::Direct
    } else {
        Link::Pooled
    };
    Ok(Found { link, engine })
}

/// Whether an error may mean that the server refuses the settings in the start-up packet: every error that has
/// no other known meaning.
fn may_refuse_options(error: &sqlx::Error) -> bool {
    let other = ["28P01", "3D000", "57P03", "53300"];
    match error {
        sqlx::Error::Database(error) => !error.code().is_some_and(|it| other.contains(&&*it)),
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Replaces sqlx's error about a password that SASLprep does not allow, since it shows a character of the
/// password.
fn without_password(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Configuration(source) if source.to_string().contains("saslprep") => {
            sqlx::Error::Configuration(
                "the user or the password has characters that SASLprep (RFC 4013) does not allow, such \
                 as emoji: give the role another password"
                    .into(),
            )
        }
        other => other,
    }
}

/// Warns about a connection over a network that others could read or take over.
fn warn_of_plain_text(connection: &PgConnectOptions) {
    if may_be_read_by_others(connection) {
        tracing::warn!(
            host = connection.get_host(),
            sslmode = ?connection.get_ssl_mode(),
            "the connection to PostgreSQL may be unencrypted, and its password read by others: add \
             sslmode=verify-full to DATABASE_URL"
        );
    }
}

/// Whether the connection may cross a network without TLS.
fn may_be_read_by_others(connection: &PgConnectOptions) -> bool {
    let host = connection.get_host();
    let is_here = connection.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
    !is_here
        && matches!(
            connection.get_ssl_mode(),
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_about_plain_text_unless_the_server_is_local() {
        let warned = |url: &str| {
            let options: PgOptions = url.parse().unwrap();
            may_be_read_by_others(&options.connection)
        };
        for mode in ["disable", "allow", "prefer"] {
            for (host, is_warned) in [
                ("db", true),
                ("db.internal:5433", true),
                ("192.0.2.1", true),
                ("10.0.0.1", true),
                ("[2001:db8::1]", true),
                ("[fe80::1%25eth0]", true),
                ("0.0.0.0", true),
                ("localhost.example", true),
                ("%2Frun%2Fpostgresql", false),
                ("localhost", false),
                ("localhost:5433", false),
                ("127.0.0.1", false),
                ("127.8.9.1", false),
                ("[::1]:5433", false),
            ] {
                let url = format!("postgresql://app@{host}/inbox?sslmode={mode}");
                assert_eq!(warned(&url), is_warned, "{url}");
            }
            let url = format!("postgresql://app@/inbox?host=/run/x&sslmode={mode}");
            assert!(!warned(&url), "{url}");
            let url = format!("postgresql://app@/inbox?hostaddr=192.0.2.1&sslmode={mode}");
            assert!(warned(&url), "{url}");
        }
        // As an app may build them without a URL.
        let built = PgConnectOptions::new().ssl_mode(PgSslMode::Prefer);
        for socket in [
            built.clone().host("/run/x"),
            built.clone().host("db").socket("/run/x"),
        ] {
            assert!(!may_be_read_by_others(&socket), "{socket:?}");
        }
        for tls in [
            "sslmode=require",
            "sslmode=verify-full",
            "sslmode=verify-ca&sslrootcert=/ca",
            "sslmode=require&channel_binding=require",
        ] {
            assert!(
                !warned(&format!("postgresql://app@db/inbox?{tls}")),
                "{tls}"
            );
        }
    }
}
