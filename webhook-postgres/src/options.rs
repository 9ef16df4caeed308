//! [`PgOptions`]: how a store connects.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::schema::Schema;
use crate::tls_files::TlsFile;

/// The connection options and limits of a [`PgStore`](crate::PgStore).
///
/// Parse them from a URL, and change single fields:
///
/// ```
/// # use webhook_postgres::PgOptions;
/// let mut options: PgOptions = "postgresql://app:secret@db.internal/app".parse()?;
/// options.max_connections = 4;
/// # Ok::<(), webhook_postgres::PgError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PgOptions {
    /// Host, database, user, TLS.
    pub connection: PgConnectOptions,
    /// Whether there is a pooler between this process and the database. Default: [`Pooler::Detect`].
    pub pooler: Pooler,
    /// The largest number of pooled connections. Default: 8. Without a transaction-mode pooler, a process uses
    /// one more connection to be notified, and a process that is pinged uses another one.
    pub max_connections: u32,
    /// How long an operation may wait for a connection, including the time to open one. Default: 5 s.
    pub acquire_timeout: Duration,
    /// How long one statement may take, including the time it waits for locks. Default: 10 s.
    pub statement_timeout: Duration,
    /// When a commit counts as done. Default: [`Durability::Synchronous`].
    pub durability: Durability,
    /// The schema of the inbox. Default: `webhook`.
    pub schema: Schema,
    /// The files with certificates and keys that the URL names.
    pub(crate) tls_files: Vec<TlsFile>,
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on disk, whatever the settings of the server, database and role are: `synchronous_commit =
    /// off` counts as `on`; other values apply unchanged.
    #[default]
    Synchronous,
    /// Before it is on disk (`synchronous_commit = off`): a crash of PostgreSQL loses the events that were
    /// acknowledged in the last moments before it.
    Asynchronous,
}

/// Whether there is a connection pooler between a process and its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// Detect it when connecting.
    #[default]
    Detect,
    /// No pooler, or one that gives each client a session of its own.
    None,
    /// A pooler that assigns a connection to each *transaction* (PgBouncer's transaction mode, Supabase's port
    /// 6543). Nothing outlives a transaction, so statements do not stay prepared, and workers poll instead of
    /// being notified.
    Transaction,
}

impl PgOptions {
    /// Creates options with defaults, for a connection that is not described by a URL.
    pub fn new(connection: PgConnectOptions) -> Self {
        Self {
            connection,
            pooler: Pooler::default(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            durability: Durability::default(),
            schema: Schema::default(),
            tls_files: Vec::new(),
        }
    }

    /// Host, database, user and TLS, before it is known whether there is a pooler.
    pub(crate) fn first_connection(&self) -> PgConnectOptions {
        // PgBouncer refuses this start parameter, and the statements here return no floats.
        self.connection.clone().extra_float_digits(None)
    }
}

/// Does not show the password.
impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("server", &server(&self.connection))
            .field("user", &self.connection.get_username())
            .field("sslmode", &self.connection.get_ssl_mode())
            .field("pooler", &self.pooler)
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("durability", &self.durability)
            .field("schema", &self.schema)
            .finish()
    }
}

/// Returns host, port and database, for messages.
pub(crate) fn server(connection: &PgConnectOptions) -> String {
    let database = connection
        .get_database()
        .unwrap_or(connection.get_username());
    match connection.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!(
            "{}:{}/{database}",
            connection.get_host(),
            connection.get_port()
        ),
    }
}
