//! The thread that writes.
//!
//! Everything that changes the file is a [`Request`] to it. Requests that arrive while a commit runs share
//! the next transaction, and so one commit and one fsync; each is answered after it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use webhook_core::transfer::{MoveMark, StoredEvent};
use webhook_core::{
    Accepted, ActionId, ActionRecord, Backoff, Claim, Claimed, DeleteBodies, Deleted, Erased,
    EventRef, Extended, Kind, Lease, MadeDue, NewEvent, Prune, Requeued, RunningLeases, Settlement,
};

use crate::checkpoint::{Checkpointer, Doubt};
use crate::clock::Clock;
use crate::error::SqliteError;
use crate::key_index::{KeyIndex, RecentKeys};
use crate::kinds::Kinds;
use crate::lent::{Lendable, Lent, Transaction};
use crate::log_space::LogSpace;
use crate::options::SqliteOptions;
use crate::query::{Connection, query};
use crate::{accept, admin, checkpoint, claim, open, partition, repair, settle, transfer};

/// The most requests that wait. Callers beyond wait for a place.
const MAX_WAITING: usize = 1_024;

/// The most requests in one transaction.
const MAX_BATCH: usize = 64;

/// After so long without a change, a claim looks for events before it begins a transaction, which is one statement
/// instead of four if no event is due.
const QUIET_US: i64 = 500_000;

/// After so many batches, the writer looks at the length of the write-ahead log. The thread that copies it may fail.
const LOOK_EVERY: u32 = 16;

/// How long to wait before the connections are opened again after an error of the disk.
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
    Delete(Vec<EventRef>),
    Erase(Vec<EventRef>),
    Prune(Prune),
    DeleteBodies(DeleteBodies),
    Pause(Kind),
    Resume(Kind),
    RecordAction(ActionRecord),
    Import(Vec<StoredEvent>),
    SetMark(Option<MoveMark>),
    ReplacePartitionMark {
        expected: Option<String>,
        mark: String,
    },
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
    Delete(Vec<Deleted>),
    Erase(Vec<Erased>),
    /// How many events were deleted, or lost their bodies.
    Deleted(usize),
    /// Whether anything changed.
    Changed(bool),
    Recorded(ActionId),
    /// How many events are new.
    Imported(usize),
}

enum Job {
    Do(Request, Reply),
    Lend(oneshot::Sender<Result<Lent, SqliteError>>),
    /// Copies the write-ahead log into the database.
    Checkpoint(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
    #[cfg(test)]
    Panic,
}

impl Job {
    /// Answers that it cannot be done. Returns the reply of [`Job::Close`].
    fn refuse(self, error: SqliteError) -> Option<oneshot::Sender<()>> {
        match self {
            Self::Do(_, reply) => drop(reply.send(Err(error))),
            Self::Lend(reply) => drop(reply.send(Err(error))),
            Self::Checkpoint(done) => drop(done.send(())),
            Self::Close(reply) => return Some(reply),
            #[cfg(test)]
            Self::Panic => {}
        }
        None
    }
}

/// The sending side of the writer. The thread ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// The writer, for the thread that it started itself.
#[derive(Clone)]
pub(crate) struct WeakWriter(mpsc::WeakSender<Job>);

impl WeakWriter {
    /// Has the writer copy the write-ahead log, if it still runs.
    pub(crate) async fn checkpoint(&self) {
        let (reply, done) = oneshot::channel();
        if let Some(jobs) = self.0.upgrade()
            && jobs.send(Job::Checkpoint(reply)).await.is_ok()
        {
            drop(jobs);
            let _ = done.await;
        }
    }
}

impl Writer {
    /// Opens the connections that write, on a thread of their own.
    pub(crate) async fn start(
        options: SqliteOptions,
    ) -> Result<(Self, RecentKeys, Clock), SqliteError> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let (started, start) = oneshot::channel();
        let weak = WeakWriter(jobs.downgrade());
        let keys = RecentKeys::default();
        let recent = keys.clone();
        thread::Builder::new()
            .name("webhook-sqlite".to_owned())
            .spawn(move || run(&options, waiting, &weak, &recent, started))
            .map_err(|error| SqliteError::Database(sqlx::Error::Io(error)))?;
        let clock = start.await.map_err(|_| SqliteError::Closed)??;
        Ok((Self { jobs }, keys, clock))
    }

    /// Has `request` done. It is done even if this future is dropped.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, SqliteError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Do(request, reply);
        self.jobs.send(job).await.map_err(|_| SqliteError::Closed)?;
        answer.await.map_err(|_| self.unanswered())?
    }

    /// Why there is no answer.
    fn unanswered(&self) -> SqliteError {
        if self.jobs.is_closed() {
            SqliteError::Closed
        } else {
            SqliteError::Panicked
        }
    }

    /// Begins a write transaction, and lends it to the caller.
    pub(crate) async fn lend(&self) -> Result<Lent, SqliteError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Lend(reply);
        self.jobs.send(job).await.map_err(|_| SqliteError::Closed)?;
        answer.await.map_err(|_| self.unanswered())?
    }

    /// Closes the connections, after what was asked for before.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        // Fails if it is closed already.
        if self.jobs.send(Job::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

type Reply = oneshot::Sender<Result<Response, SqliteError>>;

type Started = oneshot::Sender<Result<Clock, SqliteError>>;

/// The thread. It has a runtime of its own, so that it outlives the one that the store was opened on. After a panic it
/// opens the file again.
fn run(
    options: &SqliteOptions,
    mut waiting: mpsc::Receiver<Job>,
    writer: &WeakWriter,
    recent: &RecentKeys,
    started: Started,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(SqliteError::Database(sqlx::Error::Io(error))));
            return;
        }
    };
    let mut started = Some(started);
    let doubt = Doubt::default();
    let mut panics = 0;
    loop {
        let opening = Opening {
            options,
            writer,
            recent,
            doubt: &doubt,
        };
        let serve = serve(&opening, &mut waiting, &mut started);
        // After a panic, all that it used is opened anew.
        match catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve))) {
            Ok(()) => return,
            Err(panic) => {
                panics += 1;
                tracing::error!(
                    panic = message_of(&*panic),
                    "the thread that writes to the database file panicked, and opens it again: please report this bug"
                );
                thread::sleep(REOPEN.delay(panics));
            }
        }
    }
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Answers all jobs with `error`. Returns the reply of [`Job::Close`].
fn refuse(jobs: &mut Vec<Job>, error: &SqliteError) -> Option<oneshot::Sender<()>> {
    let mut closed = None;
    for job in jobs.drain(..) {
        closed = closed.or(job.refuse(error.again()));
    }
    closed
}

/// Opens the file, and does what is asked for until the store is closed. If the file cannot be opened, `started` gets the
/// error; if that was used before a panic, the jobs get it.
async fn serve(
    opening: &Opening<'_>,
    waiting: &mut mpsc::Receiver<Job>,
    started: &mut Option<Started>,
) {
    let options = opening.options;
    let mut failures = 0;
    let mut session = loop {
        let error = match (Session::open(opening).await, started.take()) {
            (Ok(session), started) => {
                let _ = started.map(|started| started.send(Ok(session.clock.clone())));
                break session;
            }
            (Err(error), Some(started)) => {
                let _ = started.send(Err(error));
                return;
            }
            (Err(error), None) => error,
        };
        let mut batch = Vec::new();
        if waiting.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        if let Some(closed) = refuse(&mut batch, &error) {
            let _ = closed.send(());
            return;
        }
        failures += 1;
        tokio::time::sleep(REOPEN.delay(failures)).await;
    };
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut closed = None;
    while closed.is_none() && session.receive(waiting, &mut batch).await {
        let mut spoiled = false;
        if let Err(error) = repair_log(&mut session.lendable.connection, &session.doubt).await {
            closed = refuse(&mut batch, &error);
            if failures == 0 {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "cannot have the write-ahead log copied again yet");
            }
            spoiled = true;
        }
        let mut together = Vec::with_capacity(batch.len());
        for job in batch.drain(..) {
            match job {
                Job::Do(request, reply) => together.push((request, reply)),
                Job::Lend(reply) => {
                    spoiled |= session.process(std::mem::take(&mut together)).await;
                    session = match session.lend(reply).await {
                        Some(session) => session,
                        None => {
                            tracing::error!("a transaction was lost: the store is closed");
                            return;
                        }
                    };
                }
                Job::Checkpoint(done) => {
                    spoiled |= session.process(std::mem::take(&mut together)).await;
                    spoiled |= session.checkpoint(options).await;
                    let _ = done.send(());
                }
                Job::Close(reply) => {
                    closed = Some(reply);
                    // Before the jobs behind it are dropped, whose callers look whether it is closed.
                    waiting.close();
                    break;
                }
                #[cfg(test)]
                Job::Panic => panic!("told to panic"),
            }
        }
        spoiled |= session.process(together).await;
        spoiled |= session.copy_if_too_long(options).await;
        if !spoiled {
            failures = 0;
            continue;
        }
        if closed.is_some() {
            break;
        }
        failures += 1;
        tokio::time::sleep(REOPEN.delay(failures)).await;
        if let Err(error) = session.open_again(options).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "cannot open the database file again");
        }
    }
    // The checkpointer may be waiting for one of the jobs that are left.
    waiting.close();
    while waiting.recv().await.is_some() {}
    drop(batch);
    session.close(options).await;
    if let Some(closed) = closed {
        let _ = closed.send(());
    }
}

/// The parts of a [`Session`] that outlive it.
struct Opening<'o> {
    options: &'o SqliteOptions,
    writer: &'o WeakWriter,
    recent: &'o RecentKeys,
    doubt: &'o Doubt,
}

struct Session {
    /// Writes what is asked for. It is used on this thread only, without messages to another one.
    connection: rusqlite::Connection,
    log_space: LogSpace,
    /// Also looks after the write-ahead log.
    lendable: Lendable,
    clock: Clock,
    checkpointer: Checkpointer,
    /// Shared with the checkpointer.
    doubt: Doubt,
    /// When something was last changed.
    changed_us: i64,
    /// The batches since the last look at the log.
    unseen: u32,
}

impl Session {
    async fn open(opening: &Opening<'_>) -> Result<Self, SqliteError> {
        let Opening {
            options,
            writer,
            recent,
            doubt,
        } = *opening;
        let mut connection = open::writer(options)?;
        let keys = KeyIndex::open(recent, &mut Connection::Own(&mut connection), options).await?;
        let mut lendable = Lendable {
            connection: open::beside_writer(options).await?,
            kinds: Kinds::default(),
            keys,
        };
        let mut transaction = lendable.connection.begin_with("BEGIN IMMEDIATE").await?;
        let clock = Clock::open(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Self {
            log_space: LogSpace::of(&connection),
            connection,
            lendable,
            changed_us: clock.now_us(),
            clock,
            checkpointer: Checkpointer::start(options.clone(), writer.clone(), doubt.clone())?,
            doubt: doubt.clone(),
            unseen: 0,
        })
    }

    /// Opens the connections again after an error of the disk.
    async fn open_again(&mut self, options: &SqliteOptions) -> Result<(), SqliteError> {
        self.connection = open::writer(options)?;
        self.log_space = LogSpace::of(&self.connection);
        self.lendable.connection = open::beside_writer(options).await?;
        Ok(())
    }

    /// Waits for jobs. Returns whether any can still come. If the log must be repaired, it does not wait for long.
    async fn receive(&self, waiting: &mut mpsc::Receiver<Job>, batch: &mut Vec<Job>) -> bool {
        let jobs = waiting.recv_many(batch, MAX_BATCH);
        if !self.doubt.is_raised() {
            return jobs.await > 0;
        }
        let received = timeout(REOPEN.delay(1), jobs).await;
        received.map_or(true, |count| count > 0)
    }

    async fn close(mut self, options: &SqliteOptions) {
        self.write_keys().await;
        self.checkpointer.end().await;
        drop(self.connection);
        let mut lendable = self.lendable.connection;
        let closed = if repair_log(&mut lendable, &self.doubt).await.is_err() {
            open::close_without_copy(lendable, options).await
        } else {
            // The last connection to close copies the write-ahead log into the file.
            lendable.close().await.map_err(SqliteError::from)
        };
        if let Err(error) = closed {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "closing the database file failed");
        }
    }

    /// Writes the keys that have begun to be written to their index. If every process leaves that to the next one, those
    /// that live for a few transactions only would have more and more to read.
    async fn write_keys(&mut self) {
        while self.lendable.keys.hurry() && self.write_some_keys().await {}
    }

    /// Writes some keys to their index. Returns whether it did. Nothing may be committed before the log is repaired.
    async fn write_some_keys(&mut self) -> bool {
        if self.doubt.is_raised() {
            return false;
        }
        let written = self.commit(&[]).await;
        if let Err(error) = &written {
            let error: &dyn std::error::Error = error;
            tracing::debug!(error, "keys are not written to the index yet");
        }
        written.is_ok()
    }

    /// Copies the rest of the write-ahead log, so that the next commit writes to its beginning. Returns whether the
    /// connection must be opened again.
    async fn checkpoint(&mut self, options: &SqliteOptions) -> bool {
        if self.doubt.is_raised() {
            return false;
        }
        let done = match checkpoint::copy(&mut self.lendable.connection, &self.doubt).await {
            Ok(()) => open::set_cache(&self.connection, options).map_err(SqliteError::of_rusqlite),
            Err(error) => Err(error),
        };
        done.is_err_and(|error| error.spoils_connection())
    }

    /// Copies the log if its own thread does not, which is looked at now and then.
    async fn copy_if_too_long(&mut self, options: &SqliteOptions) -> bool {
        self.unseen += 1;
        if self.unseen < LOOK_EVERY {
            return false;
        }
        self.unseen = 0;
        match checkpoint::look(&mut self.lendable.connection).await {
            Ok(log) if log.is_too_long(options) => self.checkpoint(options).await,
            Ok(_) => false,
            Err(error) => error.spoils_connection(),
        }
    }

    /// Does all jobs in one transaction, or, if a request may be the reason that this fails, each in one of its own, so
    /// that the others do not fail with it. Returns whether the connection must be opened again.
    async fn process(&mut self, jobs: Vec<(Request, Reply)>) -> bool {
        if jobs.is_empty() {
            return false;
        }
        let (requests, replies): (Vec<Request>, Vec<Reply>) = jobs.into_iter().unzip();
        let error = match self.commit(&requests).await {
            Ok(responses) => {
                let deleted = responses.iter().any(|it| {
                    matches!(
                        it,
                        Response::Deleted(1..) | Response::Delete(_) | Response::Erase(_)
                    )
                });
                for (reply, response) in replies.into_iter().zip(responses) {
                    let _ = reply.send(Ok(response));
                }
                return deleted && self.give_back_space().await;
            }
            Err(error) => error,
        };
        let mut spoiled = error.spoils_connection();
        if error.of_every_request().is_some() {
            let errors = std::iter::from_fn(|| error.of_every_request());
            for (reply, error) in replies.into_iter().zip(errors) {
                let _ = reply.send(Err(error));
            }
            return spoiled;
        }
        let replies = match <[Reply; 1]>::try_from(replies) {
            Ok([reply]) => {
                let _ = reply.send(Err(error));
                return spoiled;
            }
            Err(replies) => replies,
        };
        for (request, reply) in requests.iter().zip(replies) {
            let response = self.commit(std::slice::from_ref(request)).await;
            let response = response.map(|mut responses| responses.remove(0));
            spoiled |= response.as_ref().is_err_and(SqliteError::spoils_connection);
            let _ = reply.send(response);
        }
        spoiled
    }

    /// Returns free pages to the file system, after events or bodies were deleted. Returns whether the connection must be
    /// opened again.
    async fn give_back_space(&mut self) -> bool {
        // It returns a row for each page.
        let mut connection = Connection::Own(&mut self.connection);
        let vacuum = query("PRAGMA incremental_vacuum(4096)").fetch_all(&mut connection);
        let Err(error) = vacuum.await else {
            return false;
        };
        let spoiled = error.spoils_connection();
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "free pages are kept in the database file");
        spoiled
    }

    /// Lends the second connection within a transaction, and returns once it is back; `None` if it never comes back.
    async fn lend(mut self, reply: oneshot::Sender<Result<Lent, SqliteError>>) -> Option<Self> {
        if reply.is_closed() {
            return Some(self);
        }
        if let Err(error) = self.lendable.connection.execute("BEGIN IMMEDIATE").await {
            let _ = reply.send(Err(error.into()));
            return Some(self);
        }
        let now_us = self.clock.now_us();
        let (back, returned) = oneshot::channel();
        // If the caller is gone, it comes back from the answer that is dropped.
        let _ = reply.send(Ok(Lent::new(self.lendable, now_us, back)));
        self.lendable = returned.await.ok()?;
        self.checkpointer.committed();
        let lent = &mut self.lendable;
        if lent.connection.execute("ROLLBACK").await.is_ok() {
            // It was not committed: kinds that it created are gone.
            lent.rolled_back();
        } else {
            // If its caller did not wait for the end of the commit, its keys are not in memory, but read from the file.
            lent.keys.rolled_back();
        }
        if lent.keys.is_overdue() {
            self.write_some_keys().await;
        }
        Some(self)
    }

    async fn commit(&mut self, requests: &[Request]) -> Result<Vec<Response>, SqliteError> {
        let done = self.within(requests).await;
        if done.is_err() {
            // What was looked up or created in the transaction is undone with it.
            self.lendable.rolled_back();
            // Some errors end the transaction by themselves.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done
    }

    async fn within(&mut self, requests: &[Request]) -> Result<Vec<Response>, SqliteError> {
        let mut connection = Connection::Own(&mut self.connection);
        let now_us = self.clock.now_us();
        if let [Request::Claim(claims)] = requests
            && now_us - self.changed_us >= QUIET_US
            && let Some(answers) = claim::without_events(&mut connection, now_us, claims).await?
        {
            return Ok(vec![Response::Claim(answers)]);
        }
        query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        self.log_space.grow();
        // It may have waited for another process until now.
        let now_us = self.clock.now_us();
        let mut transaction = Transaction {
            connection,
            kinds: &mut self.lendable.kinds,
            keys: &mut self.lendable.keys,
            now_us,
        };
        let responses = transaction.perform(requests).await?;
        let connection = &mut transaction.connection;
        let is_change = responses.iter().any(Response::is_change);
        if is_change {
            self.clock.keep_floor(connection, now_us).await?;
        }
        let keys = &mut transaction.keys;
        keys.write_some(connection, requests.is_empty()).await?;
        query("COMMIT").execute(connection).await?;
        self.lendable.keys.committed();
        if is_change {
            self.changed_us = now_us;
            self.checkpointer.committed();
        }
        Ok(responses)
    }
}

/// Has the log copied again from its beginning, if what was copied may be lost.
async fn repair_log(connection: &mut SqliteConnection, doubt: &Doubt) -> Result<(), SqliteError> {
    if doubt.is_raised() {
        repair::copy_again(connection).await?;
        doubt.lower();
    }
    Ok(())
}

impl Response {
    /// Whether the request may have changed the file.
    fn is_change(&self) -> bool {
        match self {
            Self::Claim(claimed) => claimed
                .iter()
                .flatten()
                .any(|claimed| !claimed.events.is_empty() || !claimed.exhausted.is_empty()),
            Self::Deleted(count) | Self::Imported(count) => *count > 0,
            Self::Changed(changed) => *changed,
            Self::Accept(_)
            | Self::Extend(_)
            | Self::Settle(_)
            | Self::Requeue(_)
            | Self::MakeDue(_)
            | Self::Delete(_)
            | Self::Erase(_)
            | Self::Recorded(_) => true,
        }
    }
}

impl Transaction<'_> {
    /// Settlements come first and accepts second, those of all requests in the same statements. So claims find
    /// what was accepted or put back in the same transaction.
    async fn perform(&mut self, requests: &[Request]) -> Result<Vec<Response>, SqliteError> {
        let settlements: Vec<&Settlement> = requests
            .iter()
            .filter_map(|request| match request {
                Request::Settle(settlements) => Some(settlements),
                _ => None,
            })
            .flatten()
            .collect();
        let mut ended = settle::settle(self, &settlements).await?;
        let mut settled = ended.answers.into_iter();
        let events: Vec<&NewEvent> = requests
            .iter()
            .filter_map(|request| match request {
                Request::Accept(events) => Some(events),
                _ => None,
            })
            .flatten()
            .collect();
        let mut accepted = accept::accept(self, &events).await?.into_iter();
        let mut responses = Vec::with_capacity(requests.len());
        for request in requests {
            responses.push(match request {
                Request::Accept(events) => {
                    Response::Accept(accepted.by_ref().take(events.len()).collect())
                }
                Request::Settle(settlements) => Response::Settle(settle::Ended {
                    answers: settled.by_ref().take(settlements.len()).collect(),
                    // It does not matter which of the callers wakes the workers.
                    due_again: std::mem::take(&mut ended.due_again),
                }),
                Request::Claim(claims) => Response::Claim(claim::claim(self, claims).await?),
                Request::Extend(leases, lease) => {
                    Response::Extend(settle::extend(self, leases, *lease).await?)
                }
                Request::Requeue(events) => Response::Requeue(admin::requeue(self, events).await?),
                Request::MakeDue(events, leases) => {
                    Response::MakeDue(admin::make_due(self, events, *leases).await?)
                }
                Request::Delete(events) => Response::Delete(admin::delete(self, events).await?),
                Request::Erase(events) => Response::Erase(admin::erase(self, events).await?),
                Request::Prune(prune) => Response::Deleted(admin::prune(self, prune).await?),
                Request::DeleteBodies(delete) => {
                    Response::Deleted(admin::delete_bodies(self, delete).await?)
                }
                Request::Pause(kind) => Response::Changed(admin::pause(self, kind).await?),
                Request::Resume(kind) => Response::Changed(admin::resume(self, kind).await?),
                Request::RecordAction(action) => {
                    Response::Recorded(admin::actions::record(self, action).await?)
                }
                Request::Import(events) => {
                    Response::Imported(transfer::import(self, events).await?)
                }
                Request::SetMark(mark) => {
                    Response::Changed(transfer::set_mark(self, mark.as_ref()).await?)
                }
                Request::ReplacePartitionMark { expected, mark } => Response::Changed(
                    partition::replace_mark(self, expected.as_deref(), mark).await?,
                ),
            });
        }
        Ok(responses)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use webhook_core::{Envelope, Fingerprint, Key};

    use super::*;

    #[tokio::test]
    async fn writer_goes_on_after_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(folder.path().join("webhook.db"));
        let prepared = open::prepare(&options).await.unwrap();
        let (writer, ..) = Writer::start(options).await.unwrap();
        prepared.close().await.unwrap();
        assert!(writer.jobs.send(Job::Panic).await.is_ok());
        let unanswered = writer.ask(Request::Accept(Vec::new())).await;
        // It may have waited already when the thread panicked.
        assert!(matches!(unanswered, Ok(_) | Err(SqliteError::Panicked)));
        let transaction = writer.lend().await.unwrap();
        transaction.commit().await.unwrap();
        writer.close().await;
        let closed = writer.ask(Request::Accept(Vec::new())).await;
        assert!(matches!(closed, Err(SqliteError::Closed)));
    }

    #[tokio::test]
    async fn no_keys_are_committed_before_the_log_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhook.db");
        let options = SqliteOptions::new(path).with_recent_keys(1);
        let prepared = open::prepare(&options).await.unwrap();
        let (jobs, _waiting) = mpsc::channel(1);
        let doubt = Doubt::default();
        let opening = Opening {
            options: &options,
            writer: &WeakWriter(jobs.downgrade()),
            recent: &RecentKeys::default(),
            doubt: &doubt,
        };
        let mut session = Session::open(&opening).await.unwrap();
        prepared.close().await.unwrap();
        let key = Key::new("a").unwrap();
        let content = Fingerprint::of(["content"]);
        let envelope = Envelope::new(Kind::from_static("order"), key, content, Bytes::new());
        let event = NewEvent::new(envelope, std::time::Duration::ZERO);
        let accept = Request::Accept(vec![event]);
        session.commit(&[accept]).await.unwrap();
        assert!(session.lendable.keys.hurry());
        let failed = SqliteError::Disk(sqlx::Error::WorkerCrashed.into());
        doubt.look_at(&Err(failed));
        session.write_keys().await;
        assert!(session.lendable.keys.hurry());
        doubt.lower();
        session.write_keys().await;
        assert!(!session.lendable.keys.hurry());
        session.close(&options).await;
    }

    #[tokio::test]
    async fn what_is_asked_for_behind_the_end_is_answered_that_the_store_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(folder.path().join("webhook.db"));
        let prepared = open::prepare(&options).await.unwrap();
        let (writer, ..) = Writer::start(options).await.unwrap();
        prepared.close().await.unwrap();
        // It takes all that has waited meanwhile at once.
        let lent = writer.lend().await.unwrap();
        let (reply, _closed) = oneshot::channel();
        assert!(writer.jobs.send(Job::Close(reply)).await.is_ok());
        let (reply, answer) = oneshot::channel();
        let request = Request::Accept(Vec::new());
        assert!(writer.jobs.send(Job::Do(request, reply)).await.is_ok());
        drop(lent);
        assert!(answer.await.is_err());
        assert!(matches!(writer.unanswered(), SqliteError::Closed));
    }
}
