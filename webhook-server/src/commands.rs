//! The commands for operators: status, list, show, requeue, make-due, pause, resume, prune, backup and move.

mod backup;
mod kind_option;
mod list;
mod make_due;
mod move_events;
mod output;
mod pause;
mod prune;
mod requeue;
mod reschedule;
mod show;
mod status;

use clap::Subcommand;
use webhook_core::{Kind, StoreError};
use webhook_sqlite::SqliteError;

use crate::backend::{CommandBackend, OpenError};
use crate::config::Config;
use crate::views::{noun, transaction_kind};
use move_events::MoveError;
use output::Output;
pub(crate) use prune::Prune;

/// A command for operators. Commands need a database, but no running server.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum OperatorCommand {
    /// Show how many events are in each state, how late they are and how fast they are processed
    Status(status::Status),
    /// List the events in one state, oldest first
    List(list::List),
    /// Show one event: its state, body, failed attempts and conflicting deliveries
    Show(show::Show),
    /// Requeue FAILED events: process them again, now, with all attempts
    Requeue(requeue::Requeue),
    /// Make waiting events due now, such as those accepted while the clock of the database was ahead
    MakeDue(make_due::MakeDue),
    /// Pause kinds of events: they are still accepted, but not processed until they are resumed
    Pause(pause::Kinds),
    /// Resume paused kinds of events
    Resume(pause::Kinds),
    /// Delete old PROCESSED and FAILED events
    Prune(prune::Prune),
    /// Copy the SQLite file into another file, while a server may be running
    Backup(backup::Backup),
    /// Move all events to another database: from SQLite to PostgreSQL, or back
    Move(move_events::MoveEvents),
}

impl OperatorCommand {
    /// Runs the command, and writes its result to standard output.
    pub(crate) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let done = match self {
            Self::Backup(backup) => backup.run(config).await,
            Self::Move(events) => events.run(config).await,
            _ => self.run_beside_servers(config).await,
        };
        match done {
            // The reader has closed the pipe, as in `list | head`.
            Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok(())
            }
            done => done,
        }
    }

    /// Whether the command needs the database of `DATABASE_URL`.
    pub(crate) fn uses_database_url(&self) -> bool {
        match self {
            Self::Move(events) => events.uses_database_url(),
            _ => true,
        }
    }

    /// Whether a URL among the arguments holds a password.
    pub(crate) fn shows_password(&self) -> bool {
        match self {
            Self::Move(events) => events.shows_password(),
            _ => false,
        }
    }

    async fn run_beside_servers(&self, config: &Config) -> Result<(), CommandError> {
        let backend = CommandBackend::open(config)
            .await
            .map_err(CommandError::Open)?;
        let done = self.run_on(&backend).await;
        backend.close().await;
        done
    }

    async fn run_on(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        match self {
            Self::Status(status) => status.run(backend).await,
            Self::List(list) => list.run(backend).await,
            Self::Show(show) => show.run(backend).await,
            Self::Requeue(requeue) => requeue.run(backend).await,
            Self::MakeDue(make_due) => make_due.run(backend).await,
            Self::Pause(kinds) => kinds.pause(backend).await,
            Self::Resume(kinds) => kinds.resume(backend).await,
            Self::Prune(prune) => prune.run(backend).await,
            Self::Backup(_) | Self::Move(_) => {
                unreachable!("they open their databases themselves")
            }
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The database cannot be opened.
    #[error("failed to open the database")]
    Open(#[source] OpenError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] StoreError),
    /// The event does not exist.
    #[error("there is no {} \"{id}\"{}", noun(kind), of_kind(kind))]
    NotFound {
        /// The kind of the event.
        kind: Kind,
        /// The key as it was typed.
        id: String,
    },
    /// Some of the named events were not requeued.
    #[error(
        "{refused} of {named} {}s{} were not requeued: unknown, or not FAILED",
        noun(kind),
        of_kind(kind)
    )]
    NotRequeued {
        /// The kind of the events.
        kind: Kind,
        /// How many were not.
        refused: usize,
        /// How many were named.
        named: usize,
    },
    /// Some of the named events were not made due.
    #[error(
        "{refused} of {named} {}s{} were not made due: unknown, settled, or held by a worker \
         (--leased ends leases)",
        noun(kind),
        of_kind(kind)
    )]
    NotMadeDue {
        /// The kind of the events.
        kind: Kind,
        /// How many were not.
        refused: usize,
        /// How many were named.
        named: usize,
    },
    /// The SQLite file was not copied.
    #[error("failed to back up the database")]
    Backup(#[source] SqliteError),
    /// The events were not moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// Standard output is closed, or its disk is full.
    #[error("failed to write to standard output")]
    Output(#[from] std::io::Error),
}

/// Names the kind of an event, unless the event is a transaction.
fn of_kind(kind: &Kind) -> String {
    if *kind == transaction_kind() {
        String::new()
    } else {
        format!(" of kind {kind}")
    }
}
