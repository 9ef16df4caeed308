//! The errors of PostgreSQL, and how they become errors of the core.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

/// The error of this backend. It is the source of every [`webhook_core::StoreError`] of it.
///
/// No message or source contains the password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// The database URL is invalid.
    #[error("invalid database URL: {detail}")]
    Url {
        /// What is wrong, and what is allowed.
        detail: String,
    },
    /// A file with certificates or keys cannot be used, which the database URL or the environment names.
    #[error("cannot use {file} of `{parameter}`: {problem}")]
    TlsFile {
        /// The parameter that names the file: `sslrootcert`, `sslcert` or `sslkey`.
        parameter: &'static str,
        /// The path of the file, unless it may contain a secret by mistake.
        file: String,
        /// What is wrong with the file.
        problem: &'static str,
        /// The error of the system, if the file cannot be read.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The database cannot be reached.
    #[error("cannot connect to PostgreSQL at {server}")]
    Connect {
        /// Host, port and database.
        server: String,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
    /// The database did not answer within the time limit of this process.
    #[error("no answer from PostgreSQL within {after:?}")]
    TimedOut {
        /// The time limit.
        after: Duration,
    },
    /// The schema does not exist, or has an older version than this program needs.
    #[error(
        "the inbox's schema is missing or outdated, or it belongs to another program: run the \
         migration (`webhook-server migrate`), which creates it, updates it, or says what is wrong \
         with it"
    )]
    NotMigrated {
        /// The error of the database, if a statement used an object that does not exist.
        #[source]
        source: Option<DatabaseError>,
    },
    /// The schema was migrated by a newer version of this program.
    #[error(
        "the inbox's schema has version {found}, but this program only knows versions up to {known}: update this \
         program"
    )]
    NewerSchema {
        /// The version in the database.
        found: i32,
        /// The latest version that this program knows.
        known: i32,
    },
    /// A line of migrations was migrated by a newer version of this program.
    #[error(
        "the inbox's schema has version {found} of the migrations `{line}`, but this program only knows \
         versions up to {known}: update this program"
    )]
    NewerLine {
        /// The line's name.
        line: &'static str,
        /// The version in the database.
        found: i32,
        /// The latest version that this program knows.
        known: i32,
    },
    /// Another process held the migration lock for too long.
    #[error("gave up after {waited:?}: another process is still migrating")]
    MigrationLocked {
        /// How long this process waited.
        waited: Duration,
    },
    /// Other transactions used a table that a migration changes for too long. Nothing was changed.
    #[error(
        "migration `{name}` has waited for more than {waited:?} for other transactions that use the inbox's \
         tables: end them (pg_stat_activity shows them), and migrate again"
    )]
    MigrationBlocked {
        /// The migration's name.
        name: &'static str,
        /// How long this process tried.
        waited: Duration,
        /// The error of the database.
        #[source]
        source: DatabaseError,
    },
    /// The encoding of the database is not UTF-8, so it cannot store every key.
    #[error("the database's encoding is {found}, but it must be UTF8")]
    Encoding {
        /// The encoding of the database.
        found: String,
    },
    /// A migration failed. Nothing was changed.
    #[error("migration `{name}` failed")]
    Migration {
        /// The name of the migration.
        name: &'static str,
        /// The error of the database.
        #[source]
        source: DatabaseError,
    },
    /// Other transactions inserted the same keys and deleted them again, several times.
    #[error(
        "gave up after several tries: the same keys are being inserted and deleted concurrently"
    )]
    Contended,
    /// The database refused a part of a call after it had committed another part.
    #[error("failed after a part was stored")]
    Unfinished {
        /// Why the part was refused.
        #[source]
        source: Box<Self>,
    },
    /// A stored row has a value that this program does not write.
    #[error("stored event is damaged: {detail}")]
    Damaged {
        /// What is wrong with the row.
        detail: String,
    },
    /// The database refuses writes.
    #[error(
        "the database is read-only: it is a standby, or an operator has set \
         default_transaction_read_only"
    )]
    ReadOnly {
        /// The error of the database, if it refused a statement.
        #[source]
        source: Option<DatabaseError>,
    },
    /// The sequence returned ids that are taken, as happens after a switch to a logical replica.
    #[error(
        "the sequence of events is behind the ids in use: run the migration \
         (`webhook-server migrate`), which repairs it"
    )]
    SequenceBehind {
        /// The error of the database.
        #[source]
        source: DatabaseError,
    },
    /// The schema contains objects of another program, or belongs to another role.
    #[error("the inbox's schema is not safe to use: {detail}")]
    ForeignSchema {
        /// Which object, and what to do about it.
        detail: String,
    },
    /// Any other error of the database or of the connection to it.
    #[error(transparent)]
    Query(DatabaseError),
}

/// What this process can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Use another connection: this one does not work any more.
    Reconnect,
    /// Repeat the statement: there was a deadlock or a serialization conflict.
    Repeat,
    /// Refuse the data: the database will never accept it.
    Refuse,
    /// Return the error: repeating the statement at once will not help.
    Wait,
}

/// An error of sqlx, without the line number in PostgreSQL's source code that sqlx appends to messages.
#[derive(Debug)]
pub struct DatabaseError(sqlx::Error);

impl DatabaseError {
    /// Returns the error of sqlx.
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
            // It has the same message as this error.
            sqlx::Error::Database(_) => None,
            error => error.source(),
        }
    }
}

impl PgError {
    /// Whether connecting will fail again until somebody changes the URL, the role or the server: for example
    /// because of a wrong password, an unknown database, or a certificate that is missing or not trusted.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Url { .. } | Self::TlsFile { .. } => true,
            Self::Connect { source, .. } => match source.as_sqlx() {
                sqlx::Error::Database(error) => {
                    let codes = ["28P01", "28000", "3D000", "42501"];
                    error.code().is_some_and(|code| codes.contains(&&*code))
                }
                sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => true,
                // The error of rustls for a certificate.
                sqlx::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
                _ => false,
            },
            _ => false,
        }
    }

    /// The same error, for a statement after which something of the call is stored already: its caller must not be
    /// told that nothing was.
    pub(crate) fn after_a_commit(self) -> Self {
        match self.remedy() {
            Remedy::Refuse => Self::Unfinished {
                source: Box::new(self),
            },
            _ => self,
        }
    }

    /// Whether the database ended a statement that ran for longer than `statement_timeout` (57014,
    /// `query_canceled`).
    pub(crate) fn is_statement_timeout(&self) -> bool {
        let Self::Query(error) = self else {
            return false;
        };
        let code = error.as_sqlx().as_database_error().and_then(|it| it.code());
        code.as_deref() == Some("57014")
    }

    pub(crate) fn remedy(&self) -> Remedy {
        let error = match self {
            // A session may stay read-only for longer than the database: another one may be able to write.
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

/// Recognises the causes that an operator can remove.
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

/// The remedy for an error code, by the classes of appendix A of PostgreSQL's manual.
fn of_sqlstate(code: &str) -> Remedy {
    match code {
        // The server is shutting down or starting.
        "57P01" | "57P02" | "57P03" | "57P05" => Remedy::Reconnect,
        // The connection is in a transaction that has failed. sqlx does not roll back one that fails while it begins.
        "25P02" => Remedy::Reconnect,
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
    fn sqlstates_have_their_remedies() {
        for (code, remedy) in [
            ("57P01", Remedy::Reconnect),
            ("08006", Remedy::Reconnect),
            ("25P02", Remedy::Reconnect),
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
