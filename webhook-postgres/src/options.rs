//! How a store connects.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::schema::Schema;
use crate::tls_files::TlsFile;

/// How a [`PgStore`](crate::PgStore) connects, and its limits.
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
    /// What stands between this process and the database. Default: [`Pooler::Detect`].
    pub pooler: Pooler,
    /// At most as many connections at once. Default: 8. A worker or an API node that need not
    /// wait for a pooler holds one more, to be notified, and one that is pinged another one.
    pub max_connections: u32,
    /// How long an operation may wait for a connection, opening one included. Default: 5 s.
    pub acquire_timeout: Duration,
    /// How long one statement may take, waiting for locks included. Default: 10 s.
    pub statement_timeout: Duration,
    /// When a commit counts as done. Default: [`Durability::Synchronous`].
    pub durability: Durability,
    /// Where the inbox is in the database. Default: `webhook`.
    pub schema: Schema,
    /// The files of certificates and keys that the URL names.
    pub(crate) tls_files: Vec<TlsFile>,
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on disk, whatever the settings of the server, database and role say:
    /// `synchronous_commit = off` counts as `on`, and other values apply as they are.
    #[default]
    Synchronous,
    /// Before it is on disk (`synchronous_commit = off`): a crash of PostgreSQL loses events that
    /// were acknowledged in the last moments before it.
    Asynchronous,
}

/// What stands between a process and its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// Find out when connecting.
    #[default]
    Detect,
    /// Nothing, or a pooler that gives each client a session of its own.
    None,
    /// A pooler that gives each *transaction* some connection (PgBouncer's transaction mode,
    /// Supabase's port 6543): nothing outlives a transaction, so statements are not prepared
    /// ahead and notifications are replaced by polling.
    Transaction,
}

impl PgOptions {
    /// The options' defaults, for a connection described otherwise than by a URL.
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
}

/// Without the password.
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

/// Host, port and database, for messages.
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
