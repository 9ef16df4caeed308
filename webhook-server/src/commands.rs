//! The commands for operators: status, list, show, requeue, make-due, pause, resume, replay, prune, backup
//! and move; conformance, which tries a database; and check, doctor, sources, destinations, refused, listen
//! and send, which need no database.

mod backup;
mod check;
mod conformance;
mod destinations;
mod doctor;
mod event_types;
mod kind_option;
mod list;
mod listen;
mod make_due;
mod move_events;
mod output;
mod pause;
mod prune;
mod refused;
mod replay;
mod requeue;
mod reschedule;
mod send;
mod server_api;
mod show;
mod sources;
mod status;

use std::path::PathBuf;

use clap::Subcommand;
use webhook_core::{Kind, StoreError};
use webhook_sqlite::SqliteError;
use webhook_ui::UnknownKind;

use crate::backend::{CommandBackend, OpenError};
use crate::config::{Config, SourcesError};
use crate::signals::Signals;
use crate::views::{counted, counted_of, noun, plural, transaction_kind};
use conformance::TrialError;
use listen::ListenError;
use move_events::MoveError;
use output::Output;
pub(crate) use prune::Prune;
use replay::ReplayError;
use send::SendError;
use server_api::ServerApiError;

/// A command for operators. Commands need no running server, except for `send`, `refused`,
/// `listen` and `destinations`.
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
    /// Pause kinds of events: they are still accepted, but neither processed nor forwarded until they are resumed
    Pause(pause::Pause),
    /// Resume paused kinds of events
    Resume(pause::Resume),
    /// Send copies of stored events to their destination again, or to another URL; changes nothing in the
    /// database
    Replay(replay::Replay),
    /// Delete old PROCESSED and FAILED events
    Prune(prune::Prune),
    /// Copy the SQLite file into another file, while a server may be running
    Backup(backup::Backup),
    /// Move all events to another database: from SQLite to PostgreSQL, or back
    Move(move_events::MoveEvents),
    /// Check the configuration and all files that it names: say everything that is wrong, or what each
    /// source does and where its events go. Needs no database
    Check(check::Check),
    /// Check the configuration, its secrets, the database, the destinations and this machine, and say what to
    /// do about what is wrong. Changes nothing
    Doctor(doctor::Doctor),
    /// List the sources of CONFIG_FILE. Needs no database
    Sources(sources::Sources),
    /// List the destinations that a running server forwards events to, with their states and last answers
    Destinations(destinations::Destinations),
    /// List the latest requests that a source refused, with the reasons, as a running server knows them
    Refused(refused::Refused),
    /// Send a copy of each new event of a source to a URL on this machine, as a running server accepts it
    Listen(listen::Listen),
    /// Sign a delivery as the sender of a source does, and send it to the server
    Send(send::Send),
    /// Run the cases that show whether the database of DATABASE_URL keeps the promises, in schemas or files of
    /// their own, and say what holds
    Conformance(conformance::Conformance),
}

impl OperatorCommand {
    /// Runs the command, and writes its result to standard output. A signal ends it. Returns the exit code.
    pub(crate) async fn run(
        &self,
        config: &Config,
        signals: &mut Signals,
    ) -> Result<i32, CommandError> {
        let done = match self {
            // It has something to remove first.
            Self::Conformance(suite) => suite.run(config, signals).await,
            _ => tokio::select! {
                done = self.run_to_end(config) => done.map(|()| 0),
                signal = signals.next_stop() => Ok(signal.exit_code()),
            },
        };
        match done {
            // The reader has closed the pipe, as in `list | head`.
            Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok(0)
            }
            done => done,
        }
    }

    async fn run_to_end(&self, config: &Config) -> Result<(), CommandError> {
        match self {
            Self::Backup(backup) => backup.run(config).await,
            Self::Move(events) => events.run(config).await,
            Self::Check(_) => check::Check::run(config).await,
            Self::Doctor(doctor) => doctor.run(config).await,
            Self::Sources(sources) => sources.run(config).await,
            Self::Destinations(destinations) => destinations.run(config).await,
            Self::Refused(refused) => refused.run(config).await,
            Self::Listen(listen) => listen.run(config).await,
            Self::Send(delivery) => delivery.run(config).await,
            _ => self.run_beside_servers(config).await,
        }
    }

    /// Whether the command needs the events of the database of `DATABASE_URL`.
    pub(crate) fn uses_database_url(&self) -> bool {
        match self {
            Self::Move(events) => events.uses_database_url(),
            Self::Check(_)
            | Self::Doctor(_)
            | Self::Sources(_)
            | Self::Destinations(_)
            | Self::Refused(_)
            | Self::Listen(_)
            | Self::Send(_)
            | Self::Conformance(_) => false,
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
        let done = self.run_on(&backend, config).await;
        backend.close().await;
        done
    }

    async fn run_on(&self, backend: &CommandBackend, config: &Config) -> Result<(), CommandError> {
        match self {
            Self::Status(status) => status.run(backend).await,
            Self::List(list) => list.run(backend).await,
            Self::Show(show) => show.run(backend).await,
            Self::Requeue(requeue) => requeue.run(backend).await,
            Self::MakeDue(make_due) => make_due.run(backend).await,
            Self::Pause(kinds) => kinds.run(backend, config).await,
            Self::Resume(kinds) => kinds.run(backend, config).await,
            Self::Replay(replay) => replay.run(backend, config).await,
            Self::Prune(prune) => prune.run(backend).await,
            Self::Backup(_)
            | Self::Move(_)
            | Self::Check(_)
            | Self::Doctor(_)
            | Self::Sources(_)
            | Self::Destinations(_)
            | Self::Refused(_)
            | Self::Listen(_)
            | Self::Send(_)
            | Self::Conformance(_) => {
                unreachable!("they open their databases themselves, or need none")
            }
        }
    }
}

/// Runs `command`, which reads files, on a blocking thread, so that a signal ends it.
async fn blocking<T: std::marker::Send + 'static>(
    config: &Config,
    command: impl FnOnce(&Config) -> Result<T, CommandError> + std::marker::Send + 'static,
) -> Result<T, CommandError> {
    let config = config.clone();
    let running = tokio::task::spawn_blocking(move || command(&config));
    running.await.map_err(std::io::Error::other)?
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
    /// No source and no event has the kind.
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    /// Some of the named events were not requeued.
    #[error(
        "{refused} of {}{} {} not requeued",
        counted_of(kind, *named),
        of_kind(kind),
        plural(refused, "was", "were")
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
        "{refused} of {}{} {} not made due",
        counted_of(kind, *named),
        of_kind(kind),
        plural(refused, "was", "were")
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
    /// The file of the copy exists.
    #[error(
        "there is a file {} already: choose another name, or replace it with --overwrite",
        path.display()
    )]
    BackupExists {
        /// The file.
        path: PathBuf,
    },
    /// The events were not moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// Copies were not sent, or not delivered.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// No copies can be sent to the URL.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The configuration is wrong.
    #[error("the configuration has {}", counted(*errors, "error", "errors"))]
    Invalid {
        /// How much is wrong.
        errors: usize,
    },
    /// The doctor found errors.
    #[error("found {}", counted(*errors, "error", "errors"))]
    Unwell {
        /// How many.
        errors: usize,
    },
    /// `webhook.toml` is wrong.
    #[error("invalid CONFIG_FILE")]
    Sources(#[source] SourcesError),
    /// No delivery was sent, or it was not accepted.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A running server does not tell what it knows.
    #[error(transparent)]
    ServerApi(#[from] ServerApiError),
    /// The name of no case contains the text of a filter.
    #[error("no case has such a name: `webhook-server conformance --list` lists all of them")]
    NoCase,
    /// No case can run on the database.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// Cases failed.
    #[error(
        "{failed} of {} failed: this database, or the connection to it, does not keep every promise",
        counted(*cases, "case", "cases")
    )]
    NotConforming {
        /// How many failed.
        failed: usize,
        /// How many ran.
        cases: usize,
    },
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
