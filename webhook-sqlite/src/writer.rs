//! The thread that writes.
//!
//! Everything that changes the file is a [`Request`] to it. Requests that arrive while a commit runs share
//! the next transaction, and so one commit and one fsync; each is answered after it.

use std::thread;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{mpsc, oneshot};
use webhook_core::{
    Accepted, Backoff, Claim, Claimed, DeleteBodies, EventRef, Extended, Kind, Lease, MadeDue,
    NewEvent, Prune, Requeued, RunningLeases, Settlement,
};

use crate::clock::Clock;
use crate::error::SqliteError;
use crate::kinds::Kinds;
use crate::options::SqliteOptions;
use crate::{accept, admin, claim, open, settle};

/// The most requests that wait. Callers beyond wait for a place.
const MAX_WAITING: usize = 1_024;

/// The most requests in one transaction.
const MAX_BATCH: usize = 64;

/// How long to wait before the connection is opened again after an error of the disk.
const REOPEN: Backoff = Backoff::new(
    std::time::Duration::from_millis(50),
    std::time::Duration::from_secs(2),
);

/// A change of the file.
pub(crate) enum Request {
    Accept(Vec<NewEvent>),
    Claim(Vec<Claim>),
    Extend(Vec<Lease>, std::time::Duration),
    Settle(Vec<Settlement>),
    Requeue(Vec<EventRef>),
    MakeDue(Vec<EventRef>, RunningLeases),
    Prune(Prune),
    DeleteBodies(DeleteBodies),
    Pause(Kind),
    Resume(Kind),
}

/// The answer to the [`Request`] of the same name.
pub(crate) enum Response {
    Accept(Vec<Accepted>),
    /// `None` for a kind that is paused.
    Claim(Vec<Option<Claimed>>),
    Extend(Vec<Extended>),
    Settle(settle::Ended),
    Requeue(Vec<Requeued>),
    MakeDue(Vec<MadeDue>),
    /// How many events were deleted, or lost their bodies.
    Deleted(usize),
    /// Whether anything changed.
    Changed(bool),
}

struct Job {
    request: Request,
    reply: oneshot::Sender<Result<Response, SqliteError>>,
}

/// The sending side of the writer. The thread ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// A write transaction.
pub(crate) struct Transaction<'c> {
    pub(crate) connection: &'c mut SqliteConnection,
    pub(crate) kinds: &'c mut Kinds,
    /// The time of everything in this transaction, in microseconds since 1970.
    pub(crate) now_us: i64,
}

impl Writer {
    /// Opens the connection that writes, on a thread of its own.
    pub(crate) async fn start(options: SqliteOptions) -> Result<(Self, Clock), SqliteError> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let (started, start) = oneshot::channel();
        thread::Builder::new()
            .name("webhook-sqlite".to_owned())
            .spawn(move || run(options, waiting, started))
            .map_err(|error| SqliteError::Database(sqlx::Error::Io(error)))?;
        let clock = start.await.map_err(|_| SqliteError::Closed)??;
        Ok((Self { jobs }, clock))
    }

    /// Has `request` done. It is done even if this future is dropped.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, SqliteError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { request, reply };
        self.jobs.send(job).await.map_err(|_| SqliteError::Closed)?;
        answer.await.map_err(|_| SqliteError::Closed)?
    }
}

type Started = oneshot::Sender<Result<Clock, SqliteError>>;

/// The thread. It has a runtime of its own, so that it outlives the one that the store was opened on.
fn run(options: SqliteOptions, waiting: mpsc::Receiver<Job>, started: Started) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(options, waiting, started)),
        Err(error) => {
            let _ = started.send(Err(SqliteError::Database(sqlx::Error::Io(error))));
        }
    }
}

async fn serve(options: SqliteOptions, mut waiting: mpsc::Receiver<Job>, started: Started) {
    let (connection, clock) = match connect(&options).await {
        Ok((connection, clock)) => {
            let _ = started.send(Ok(clock.clone()));
            (connection, clock)
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let mut session = Session {
        connection,
        kinds: Kinds::default(),
        clock,
    };
    let mut failures = 0;
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let spoiled = session.process(std::mem::take(&mut batch)).await;
        if !spoiled {
            failures = 0;
            continue;
        }
        failures += 1;
        tokio::time::sleep(REOPEN.delay(failures)).await;
        match open::writer(&options).await {
            Ok(connection) => session.connection = connection,
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot open the database file again"
            ),
        }
    }
    // The last connection to close copies the write-ahead log into the file.
    let _ = session.connection.close().await;
}

async fn connect(options: &SqliteOptions) -> Result<(SqliteConnection, Clock), SqliteError> {
    let mut connection = open::writer(options).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let clock = Clock::open(&mut transaction).await?;
    transaction.commit().await?;
    Ok((connection, clock))
}

struct Session {
    connection: SqliteConnection,
    kinds: Kinds,
    clock: Clock,
}

impl Session {
    /// Does all jobs in one transaction, or, if that fails, each in one of its own, so that a request that
    /// fails does not make others fail. Says whether the connection must be opened again.
    async fn process(&mut self, jobs: Vec<Job>) -> bool {
        let (requests, replies): (Vec<Request>, Vec<_>) =
            jobs.into_iter().map(|job| (job.request, job.reply)).unzip();
        let mut error = match self.commit(&requests).await {
            Ok(responses) => {
                for (reply, response) in replies.into_iter().zip(responses) {
                    let _ = reply.send(Ok(response));
                }
                return false;
            }
            Err(error) => error,
        };
        let mut spoiled = error.spoils_connection();
        if let [_] = requests[..] {
            for reply in replies {
                let _ = reply.send(Err(std::mem::replace(&mut error, SqliteError::Closed)));
            }
            return spoiled;
        }
        for (request, reply) in requests.iter().zip(replies) {
            let response = self.commit(std::slice::from_ref(request)).await;
            let response = response.map(|mut responses| responses.remove(0));
            spoiled |= response.as_ref().is_err_and(SqliteError::spoils_connection);
            let _ = reply.send(response);
        }
        spoiled
    }

    async fn commit(&mut self, requests: &[Request]) -> Result<Vec<Response>, SqliteError> {
        self.connection.execute("BEGIN IMMEDIATE").await?;
        let done = self.within(requests).await;
        let done = match done {
            Ok(responses) => self
                .connection
                .execute("COMMIT")
                .await
                .map(|_| responses)
                .map_err(SqliteError::from),
            Err(error) => Err(error),
        };
        if done.is_err() {
            // What was looked up or created in the transaction is undone with it.
            self.kinds = Kinds::default();
            // Some errors end the transaction by themselves.
            let _ = self.connection.execute("ROLLBACK").await;
        }
        done
    }

    async fn within(&mut self, requests: &[Request]) -> Result<Vec<Response>, SqliteError> {
        let now_us = self.clock.now_us();
        self.clock.keep_floor(&mut self.connection, now_us).await?;
        let mut transaction = Transaction {
            connection: &mut self.connection,
            kinds: &mut self.kinds,
            now_us,
        };
        let mut responses = Vec::with_capacity(requests.len());
        for request in requests {
            responses.push(transaction.perform(request).await?);
        }
        Ok(responses)
    }
}

impl Transaction<'_> {
    async fn perform(&mut self, request: &Request) -> Result<Response, SqliteError> {
        Ok(match request {
            Request::Accept(events) => Response::Accept(accept::accept(self, events).await?),
            Request::Claim(claims) => Response::Claim(claim::claim(self, claims).await?),
            Request::Extend(leases, lease) => {
                Response::Extend(settle::extend(self, leases, *lease).await?)
            }
            Request::Settle(settlements) => {
                Response::Settle(settle::settle(self, settlements).await?)
            }
            Request::Requeue(events) => Response::Requeue(admin::requeue(self, events).await?),
            Request::MakeDue(events, leases) => {
                Response::MakeDue(admin::make_due(self, events, *leases).await?)
            }
            Request::Prune(prune) => Response::Deleted(admin::prune(self, prune).await?),
            Request::DeleteBodies(delete) => {
                Response::Deleted(admin::delete_bodies(self, delete).await?)
            }
            Request::Pause(kind) => Response::Changed(admin::pause(self, kind).await?),
            Request::Resume(kind) => Response::Changed(admin::resume(self, kind).await?),
        })
    }
}
