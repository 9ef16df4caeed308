//! The commands for operators: look into the database, set failed events going again, delete old
//! ones.

mod kind_option;
mod list;
mod make_due;
mod output;
mod pause;
mod prune;
mod requeue;
mod reschedule;
mod show;
mod status;

use clap::Subcommand;
use webhook_core::{Kind, StoreError};
use webhook_postgres::PgStore;

use crate::backend::{Backend, OpenError};
use crate::config::Config;
use crate::views::{noun, transaction_kind};
use output::Output;
pub(crate) use prune::Prune;

/// What an operator asks for. All of it needs DATABASE_URL, and none of it a running server.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum OperatorCommand {
    /// Tell how many events stand where, how late they are and how fast they are processed
    Status(status::Status),
    /// List events of one state, the oldest first
    List(list::List),
    /// Show one event: its state, its body, its failed attempts, its conflicting deliveries
    Show(show::Show),
    /// Process failed events again, due now and with all their attempts
    Requeue(requeue::Requeue),
    /// Make waiting events due now, such as those accepted while the database's clock was ahead
    MakeDue(make_due::MakeDue),
    /// Pause kinds of events: they are accepted as before, and not processed until they are resumed
    Pause(pause::Kinds),
    /// Resume kinds of events that were paused
    Resume(pause::Kinds),
    /// Delete events that were settled long ago
    Prune(prune::Prune),
}

impl OperatorCommand {
    /// Does it, and writes what came of it to standard output.
    pub(crate) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let database = Backend::database(config)
            .await
            .map_err(CommandError::Open)?;
        let done = self.run_on(&database).await;
        database.close().await;
        match done {
            // Whoever reads has read enough: `list | head`.
            Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok(())
            }
            done => done,
        }
    }

    async fn run_on(&self, database: &PgStore) -> Result<(), CommandError> {
        match self {
            Self::Status(status) => status.run(database).await,
            Self::List(list) => list.run(database).await,
            Self::Show(show) => show.run(database).await,
            Self::Requeue(requeue) => requeue.run(database).await,
            Self::MakeDue(make_due) => make_due.run(database).await,
            Self::Pause(kinds) => kinds.pause(database).await,
            Self::Resume(kinds) => kinds.resume(database).await,
            Self::Prune(prune) => prune.run(database).await,
        }
    }
}

/// Why an operator's command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The database cannot be used.
    #[error("failed to open the database")]
    Open(#[source] OpenError),
    /// The database does not do it.
    #[error("the database failed")]
    Database(#[from] StoreError),
    /// There is no such event.
    #[error("there is no {} \"{id}\"{}", noun(kind), of_kind(kind))]
    NotFound {
        /// Its kind.
        kind: Kind,
        /// Its key, as it was asked for.
        id: String,
    },
    /// Not all of those that were named could be requeued.
    #[error(
        "{refused} of {named} {}s{} were not requeued: unknown, or not FAILED",
        noun(kind),
        of_kind(kind)
    )]
    NotRequeued {
        /// Their kind.
        kind: Kind,
        /// How many were not.
        refused: usize,
        /// How many were named.
        named: usize,
    },
    /// Not all of those that were named could be made due.
    #[error(
        "{refused} of {named} {}s{} were not made due: unknown, settled, or held by a worker \
         (--leased ends leases)",
        noun(kind),
        of_kind(kind)
    )]
    NotMadeDue {
        /// Their kind.
        kind: Kind,
        /// How many were not.
        refused: usize,
        /// How many were named.
        named: usize,
    },
    /// Nobody takes what is written.
    #[error("failed to write to standard output")]
    Output(#[from] std::io::Error),
}

/// What follows the word for an event of `kind`, where that does not tell the kind.
fn of_kind(kind: &Kind) -> String {
    if *kind == transaction_kind() {
        String::new()
    } else {
        format!(" of kind {kind}")
    }
}
