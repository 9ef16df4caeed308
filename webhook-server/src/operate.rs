//! The commands for operators: look into the database, set failed transactions going again, forget
//! old ones.

mod list;
mod make_due;
mod output;
mod prune;
mod requeue;
mod reschedule;
mod show;
mod status;

use clap::Subcommand;
use webhook_core::Error;
use webhook_postgres::PgStore;

use crate::backend::{Backend, OpenError};
use crate::config::Config;
use output::Output;

/// What an operator asks for. All of it needs DATABASE_URL, and none of it a running server.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Operate {
    /// Tell how many transactions stand where, how late they are and how fast they are processed
    Status(status::Status),
    /// List transactions of one state, the oldest first
    List(list::List),
    /// Show one transaction: its state, its failed attempts, its conflicting deliveries
    Show(show::Show),
    /// Process failed transactions again, due now and with all their attempts
    Requeue(requeue::Requeue),
    /// Make waiting transactions due now, such as those accepted while the database's clock was ahead
    MakeDue(make_due::MakeDue),
    /// Forget transactions that were settled long ago
    Prune(prune::Prune),
}

impl Operate {
    /// Does it, and writes what came of it to standard output.
    pub(crate) async fn run(&self, config: &Config) -> Result<(), OperateError> {
        let database = Backend::database(config)
            .await
            .map_err(OperateError::Open)?;
        let done = self.run_on(&database).await;
        database.close().await;
        match done {
            // Whoever reads has read enough: `list | head`.
            Err(OperateError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok(())
            }
            done => done,
        }
    }

    async fn run_on(&self, database: &PgStore) -> Result<(), OperateError> {
        match self {
            Self::Status(status) => status.run(database).await,
            Self::List(list) => list.run(database).await,
            Self::Show(show) => show.run(database).await,
            Self::Requeue(requeue) => requeue.run(database).await,
            Self::MakeDue(make_due) => make_due.run(database).await,
            Self::Prune(prune) => prune.run(database).await,
        }
    }
}

/// Why an operator's command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The database cannot be used.
    #[error("cannot open the database")]
    Open(#[source] OpenError),
    /// The database does not do it.
    #[error("the database failed")]
    Database(#[from] Error),
    /// There is no such transaction.
    #[error("there is no transaction \"{id}\"")]
    NotFound {
        /// Its id, as it was asked for.
        id: String,
    },
    /// Not all of those that were named could be requeued.
    #[error("{refused} of {named} transactions were not requeued: unknown, or not FAILED")]
    NotRequeued {
        /// How many were not.
        refused: usize,
        /// How many were named.
        named: usize,
    },
    /// Not all of those that were named could be made due.
    #[error(
        "{refused} of {named} transactions were not made due: unknown, settled, or held by a worker \
         (--leased ends leases)"
    )]
    NotMadeDue {
        /// How many were not.
        refused: usize,
        /// How many were named.
        named: usize,
    },
    /// Nobody takes what is written.
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
}
