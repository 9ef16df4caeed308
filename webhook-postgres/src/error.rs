//! What can go wrong with PostgreSQL, and what the core is told of it.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

/// Why the database did not do what was asked.
///
/// This is the source of every [`webhook_core::StoreError`] of this backend. No message or source
/// names the password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// The database URL cannot be used.
    #[error("invalid database URL: {detail}")]
    Url {
        /// What is wrong, and what would be right.
        detail: String,
    },
    /// A file of certificates or keys that the database URL or the environment names cannot be used.
    #[error("cannot use {file} of `{parameter}`: {problem}")]
    TlsFile {
        /// The parameter that names it: `sslrootcert`, `sslcert` or `sslkey`.
        parameter: &'static str,
        /// Its path, unless it may hold a secret by mistake.
        file: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What the system says, where the file cannot be read.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The database cannot be reached.
    #[error("cannot connect to PostgreSQL at {server}")]
    Connect {
        /// Host, port and database.
        server: String,
        /// Why not.
        #[source]
        source: DatabaseError,
    },
    /// There is no answer, where the time for one is bounded on this side.
    #[error("no answer from PostgreSQL within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// The schema is not there, or of an older version than this program's.
    #[error(
        "the inbox's schema is missing or outdated, or it belongs to another program: run the \
         migration (`webhook-server migrate`), which creates it, updates it, or says what is wrong \
         with it"
    )]
    NotMigrated {
        /// What the database said, where it was asked for something that is not there.
        #[source]
        source: Option<DatabaseError>,
    },
    /// The schema was migrated by a newer version of this program.
    #[error("the inbox's schema has version {found}, this program knows up to {known}: update it")]
    NewerSchema {
        /// The database's version.
        found: i32,
        /// This program's version.
        known: i32,
    },
    /// A line of migrations was migrated by a newer version of this program.
    #[error(
        "the inbox's schema has version {found} of the migrations `{line}`, this program knows up to \
         {known}: update it"
    )]
    NewerLine {
        /// The line's name.
        line: &'static str,
        /// The database's version.
        found: i32,
        /// This program's version.
        known: i32,
    },
    /// Another process held the migration lock all the time.
    #[error("another process is migrating, for longer than {waited:?}")]
    MigrationLocked {
        /// How long this one waited.
        waited: Duration,
    },
    /// Transactions of others held a table that a migration changes all the time; nothing of the migration was kept.
    #[error(
        "migration `{name}` has waited for more than {waited:?} for other transactions that use the inbox's \
         tables: end them (pg_stat_activity shows them), and migrate again"
    )]
    MigrationBlocked {
        /// The migration's name.
        name: &'static str,
        /// How long it tried.
        waited: Duration,
        /// What the database said.
        #[source]
        source: DatabaseError,
    },
    /// The database holds text in another encoding than UTF-8, which cannot hold every key.
    #[error("the database's encoding is {found}, it should be UTF8")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// A migration failed; nothing of it was kept.
    #[error("migration `{name}` failed")]
    Migration {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: DatabaseError,
    },
    /// Keys were taken by others and deleted again, faster than they could be looked at.
    #[error("keys were taken and freed again all the time")]
    Contended,
    /// A stored row is not what this program writes.
    #[error("stored event is damaged: {detail}")]
    Damaged {
        /// What is wrong with it.
        detail: String,
    },
    /// The database refuses writes.
    #[error(
        "the database is read-only: it is a standby, or an operator has set \
         default_transaction_read_only"
    )]
    ReadOnly {
        /// What the database said, where it refused a statement.
        #[source]
        source: Option<DatabaseError>,
    },
    /// The next ids are taken, as after a switch of a logical replica.
    #[error(
        "the sequence of events is behind the ids in use: run the migration \
         (`webhook-server migrate`), which sets it right"
    )]
    SequenceBehind {
        /// What the database said.
        #[source]
        source: DatabaseError,
    },
    /// The schema holds something that this program has not made, or belongs to another role.
    #[error("the inbox's schema is not safe to use: {detail}")]
    ForeignSchema {
        /// Which object, and what to do about it.
        detail: String,
    },
    /// Any other error of the database or of the connection to it.
    #[error(transparent)]
    Query(DatabaseError),
}

/// What may be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The connection is of no use any more; another one may be.
    Reconnect,
    /// The database broke a deadlock or a serialization conflict: the same again may succeed.
    Repeat,
    /// This data will never do.
    Refuse,
    /// Whatever is wrong, repeating it at once will not help.
    Wait,
}

/// What sqlx reports, without the line of PostgreSQL's source code that it appends to messages.
#[derive(Debug)]
pub struct DatabaseError(sqlx::Error);

impl DatabaseError {
    /// The error of sqlx.
    pub fn as_sqlx(&self) -> &sqlx::Error {
        &self.0
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            sqlx::Error::Database(error) => {
                write!(f, "error returned from database: {}", error.message())
            }
            error => error.fmt(f),
        }
    }
}

impl Error for DatabaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            // Its message is this one's.
            sqlx::Error::Database(_) => None,
            error => error.source(),
        }
    }
}

impl PgError {
    /// Whether connecting fails in the same way until somebody changes the URL, the role or the
    /// server: a wrong password, an unknown database, a certificate that is not trusted or is
    /// missing.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Url { .. } | Self::TlsFile { .. } => true,
            Self::Connect { source, .. } => match source.as_sqlx() {
                sqlx::Error::Database(error) => {
                    let codes = ["28P01", "28000", "3D000", "42501"];
                    error.code().is_some_and(|code| codes.contains(&&*code))
                }
                sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => true,
                // So says rustls of a certificate.
                sqlx::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
                _ => false,
            },
            _ => false,
        }
    }

    pub(crate) fn remedy(&self) -> Remedy {
        let error = match self {
            // A session may keep it longer than the database: another one may be able to write.
            Self::ReadOnly { .. } => return Remedy::Reconnect,
            Self::Query(error) => error.as_sqlx(),
            _ => return Remedy::Wait,
        };
        match error {
            sqlx::Error::Database(error) => {
                error.code().map_or(Remedy::Wait, |code| of_sqlstate(&code))
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::BeginFailed
            | sqlx::Error::WorkerCrashed => Remedy::Reconnect,
            sqlx::Error::Encode(_) => Remedy::Refuse,
            _ => Remedy::Wait,
        }
    }
}

/// Tells causes that an operator can remove from other errors.
impl From<sqlx::Error> for PgError {
    fn from(error: sqlx::Error) -> Self {
        let (code, constraint) = match error.as_database_error() {
            Some(found) => (found.code(), found.constraint().map(str::to_owned)),
            None => (None, None),
        };
        let code = code.map(|code| code.into_owned());
        let source = DatabaseError(error);
        match (code.as_deref(), constraint.as_deref()) {
            // Undefined table, schema, column, function.
            (Some("42P01" | "3F000" | "42703" | "42883"), _) => Self::NotMigrated {
                source: Some(source),
            },
            (Some("25006"), _) => Self::ReadOnly {
                source: Some(source),
            },
            (Some("23505"), Some("events_id" | "queue_id")) => Self::SequenceBehind { source },
            _ => Self::Query(source),
        }
    }
}

impl From<PgError> for webhook_core::StoreError {
    fn from(error: PgError) -> Self {
        match error.remedy() {
            Remedy::Refuse => Self::refused(error),
            Remedy::Reconnect | Remedy::Repeat | Remedy::Wait => Self::unavailable(error),
        }
    }
}

/// By the classes of PostgreSQL's appendix A, "PostgreSQL Error Codes".
fn of_sqlstate(code: &str) -> Remedy {
    match code {
        // The server is going down or coming up.
        "57P01" | "57P02" | "57P03" | "57P05" => Remedy::Reconnect,
        "40001" | "40P01" => Remedy::Repeat,
        _ => match &code[..code.len().min(2)] {
            "08" => Remedy::Reconnect,
            // Data exceptions, integrity violations, program limits.
            "22" | "23" | "54" => Remedy::Refuse,
            _ => Remedy::Wait,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_sorted() {
        for (code, remedy) in [
            ("57P01", Remedy::Reconnect),
            ("08006", Remedy::Reconnect),
            ("40P01", Remedy::Repeat),
            ("40001", Remedy::Repeat),
            ("22021", Remedy::Refuse),
            ("23505", Remedy::Refuse),
            ("54000", Remedy::Refuse),
            ("53300", Remedy::Wait),
            ("55P03", Remedy::Wait),
            ("57014", Remedy::Wait),
            ("42501", Remedy::Wait),
        ] {
            assert_eq!(of_sqlstate(code), remedy, "{code}");
        }
    }
}
