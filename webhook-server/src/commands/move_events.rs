//! `move`: copies all events to another database, which is used from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};
use webhook_core::transfer::{Contents, Export, MoveMark};
use webhook_core::{EventId, Kind, State, StoreError};
use webhook_postgres::{POLL_INTERVAL, PgError, PgStore, WriteLock};

use super::list::PAGE;
use super::output::LongWork;
use super::{CommandError, Output, blocking};
use crate::audit::Audit;
use crate::backend::{NOT_MOVED, OpenError, TransferBackend, TransferPlan, backend_url};
use crate::config::{BackendUrl, Config, DatabaseUrl, SourcesFile};
use crate::views::counted;

/// How long somebody is looked for who uses PostgreSQL. Workers look for work within [`POLL_INTERVAL`].
const WATCH: Duration = POLL_INTERVAL.saturating_add(Duration::from_secs(1));

/// How often somebody is looked for.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// The options of `move`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    group(ArgGroup::new("urls").required(true).multiple(true).args(["from", "to"])),
    after_help = "Stop every server of both databases first. Example:\n\n  \
        webhook-server move --from sqlite:webhook.db --to postgres://user@host/database\n\n\
        If it is interrupted, run it again: it continues where it was. It ends by comparing both databases, and \
        marks the old one, so that no server uses it by mistake.\n\n\
        Exit codes: 0 moved, 1 failure, 2 usage error"
)]
pub struct MoveEvents {
    /// URL of the database to read (sqlite:PATH or postgres://…); DATABASE_URL, with its PARTITIONS, if it is left out
    #[arg(long, value_name = "URL")]
    from: Option<DatabaseUrl>,
    /// URL of the database to write, which must be empty; DATABASE_URL, with its PARTITIONS, if it is left out
    #[arg(long, value_name = "URL")]
    to: Option<DatabaseUrl>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why the events were not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// Both are the same database.
    #[error("--from and --to are the same database, {name}")]
    Same {
        /// The database.
        name: String,
    },
    /// A server or an app uses the database.
    #[error(
        "{name} is in use: stop every server and every app that uses it, and run the command again. It was used \
         by {sessions}"
    )]
    InUse {
        /// The database.
        name: String,
        /// Who uses it.
        sessions: String,
    },
    /// The target has other events.
    #[error(
        "{name} has events already, and events can only be moved into an empty database: use another database or \
         schema, or delete the events if nobody needs them (SQLite: the file; PostgreSQL: DROP SCHEMA {schema} \
         CASCADE)",
        schema = schema_of(name)
    )]
    NotEmpty {
        /// The database.
        name: String,
    },
    /// The target has events of a move from another database.
    #[error(
        "{name} has a part of the events of {other}: move them from there, or use another database"
    )]
    OtherSource {
        /// The database.
        name: String,
        /// The database that its events come from.
        other: String,
    },
    /// The events of the source are in another database.
    #[error("the events of {name} were moved to {to} before: move them from there")]
    MovedBefore {
        /// The database.
        name: String,
        /// Where its events are.
        to: String,
    },
    /// The source was used since the move began.
    #[error(
        "{from} and {to} differ, so nothing was switched over: {from} has {from_events} events with the digest \
         {from_digest}, {to} has {to_events} events with the digest {to_digest}. Somebody has used one of them \
         since the move began. Empty {to} (SQLite: delete the file; PostgreSQL: DROP SCHEMA {schema} CASCADE), and \
         move again while nobody uses them",
        schema = schema_of(to)
    )]
    Different {
        /// The database that was read.
        from: String,
        /// How many events it has.
        from_events: u64,
        /// Their digest.
        from_digest: String,
        /// The database that was written.
        to: String,
        /// How many events it has.
        to_events: u64,
        /// Their digest.
        to_digest: String,
    },
    /// The tables cannot be locked, or the lock was lost.
    #[error("failed to lock the tables of {name}, which shows who uses them")]
    Lock {
        /// The database.
        name: String,
        /// Why not.
        #[source]
        source: PgError,
    },
}

/// The schema in the name of a PostgreSQL database.
fn schema_of(name: &str) -> &str {
    if name.ends_with(" partitions") {
        return "of each partition";
    }
    name.split_once("?schema=")
        .map_or("webhook", |(_, schema)| schema)
}

#[derive(Serialize)]
struct Report {
    from: String,
    to: String,
    events: u64,
    kinds: BTreeMap<String, StateCounts>,
    paused_kinds: Vec<String>,
    from_digest: String,
    to_digest: String,
}

#[derive(Serialize)]
struct StateCounts {
    processing: u64,
    processed: u64,
    failed: u64,
}

impl MoveEvents {
    /// Whether one of the URLs is on the command line with a password.
    pub(super) fn shows_password(&self) -> bool {
        let mut urls = [&self.from, &self.to].into_iter().flatten();
        urls.any(DatabaseUrl::holds_password)
    }

    /// Whether `DATABASE_URL` names one of the databases.
    pub(super) fn uses_database_url(&self) -> bool {
        self.from.is_none() || self.to.is_none()
    }

    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let of_source = |error| open_error(error, self.from.as_ref().map(|_| "--from"));
        let of_target = |error| open_error(error, self.to.as_ref().map(|_| "--to"));
        let from = url(self.from.as_ref(), config).await.map_err(of_source)?;
        let to = url(self.to.as_ref(), config).await.map_err(of_target)?;
        // Before the source is opened: it may be the same file, which can be locked only once.
        if are_same(&from, &to) {
            let name = match &from {
                BackendUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
                BackendUrl::Postgres(_) => "of PostgreSQL".to_owned(),
                BackendUrl::Memory => return Err(of_source(OpenError::Unsuitable(NOT_MOVED))),
                BackendUrl::Partitions(_) => "of PARTITIONS".to_owned(),
            };
            return Err(MoveError::Same { name }.into());
        }
        let is_divided = matches!(to, BackendUrl::Partitions(_));
        let source = TransferPlan::source(from, config);
        let source = source.await.map_err(of_source)?;
        let mut whole_kinds = BTreeSet::new();
        if is_divided {
            whole_kinds = guarded_kinds(config).await?;
            whole_kinds.extend(source.guarded_kinds().await.map_err(of_source)?);
        }
        let target = TransferPlan::target(to, whole_kinds, config);
        let target = target.await.map_err(of_target)?;
        let begins = begins(&Found::planned(&source), &Found::planned(&target))?;
        let mut watch = Watch::begin(&source.name, source.postgres()).await?;
        let target_is_watched = match begins {
            true => watch_both(&mut watch, &target).await?,
            false => false,
        };
        let names = (source.name.clone(), target.name.clone());
        let audit = Audit::begin("move", [("from", json!(names.0)), ("to", json!(names.1))]);
        let source = source.open().await.map_err(of_source)?;
        let target = match target.open().await {
            Ok(target) => target,
            Err(error) => {
                source.close().await;
                return Err(of_target(error));
            }
        };
        let moved = Move::begin(&source, &target, watch, target_is_watched);
        let moved = match moved.await {
            Ok(moving) => moving.run().await,
            Err(error) => Err(error),
        };
        source.close().await;
        if let Ok(report) = &moved {
            let from_to = format!("{} to {}", names.0, names.1);
            let events = Some(report.events);
            audit.end_in(&*target.admin, &from_to, events, report).await;
        }
        target.close().await;
        let report = moved?;
        Output::new(self.json).write(&report, |out| text(&report, out))?;
        Ok(())
    }
}

/// The kinds whose new events get guards.
async fn guarded_kinds(config: &Config) -> Result<BTreeSet<Kind>, CommandError> {
    blocking(config, |config| {
        let sources = SourcesFile::read(config).map_err(CommandError::Sources)?;
        Ok(sources.guarded_kinds())
    })
    .await
}

fn are_same(one: &BackendUrl, other: &BackendUrl) -> bool {
    match (one, other) {
        (BackendUrl::Sqlite(one), BackendUrl::Sqlite(other)) => {
            let real = |path: &Path| path.canonicalize().ok();
            one == other || real(one).is_some_and(|one| real(other) == Some(one))
        }
        (one, other) => one == other,
    }
}

/// The error of a database that an option names, or else the configuration.
fn open_error(error: OpenError, option: Option<&'static str>) -> CommandError {
    CommandError::Open(match option {
        Some(option) => error.of_setting(option),
        None => error,
    })
}

/// The database of an option, or that of the configuration.
async fn url(option: Option<&DatabaseUrl>, config: &Config) -> Result<BackendUrl, OpenError> {
    match option {
        None => backend_url(config).await,
        Some(url) => url.backend().map_err(OpenError::url_form),
    }
}

/// The state of a database before a move.
struct Found {
    name: String,
    mark: Option<MoveMark>,
    is_empty: bool,
}

impl Found {
    fn planned(plan: &TransferPlan<'_>) -> Self {
        Self {
            name: plan.name.clone(),
            mark: plan.mark(),
            is_empty: plan.is_empty(),
        }
    }

    async fn opened(backend: &TransferBackend) -> Result<Self, StoreError> {
        Ok(Self {
            name: backend.name.clone(),
            mark: backend.transfer.mark().await?,
            is_empty: backend.admin.kinds().await?.is_empty(),
        })
    }
}

/// Whether the move begins now, or goes on. Refuses databases between which events cannot be moved.
fn begins(source: &Found, target: &Found) -> Result<bool, MoveError> {
    let (from, to) = (source.name.clone(), target.name.clone());
    if from == to {
        return Err(MoveError::Same { name: to });
    }
    let is_complete = match source.mark.clone() {
        None => false,
        Some(MoveMark::Moved { to: other }) if other == to => true,
        Some(MoveMark::Moved { to }) => return Err(MoveError::MovedBefore { name: from, to }),
        Some(MoveMark::Filling { from: other }) => {
            return Err(MoveError::OtherSource { name: from, other });
        }
    };
    match target.mark.clone() {
        Some(MoveMark::Filling { from: other }) if other == from => Ok(false),
        // All was copied and compared, and only this command had not ended.
        None if is_complete => Ok(false),
        None if target.is_empty => Ok(true),
        Some(MoveMark::Filling { from: other }) => Err(MoveError::OtherSource { name: to, other }),
        None | Some(MoveMark::Moved { .. }) => Err(MoveError::NotEmpty { name: to }),
    }
}

/// Waits until everybody who uses one of the databases would have been seen, and returns whether that goes for the target:
/// nobody can be seen there as long as its tables are missing, or those of an older version.
async fn watch_both(source: &mut Watch, target: &TransferPlan<'_>) -> Result<bool, MoveError> {
    match Watch::begin(&target.name, target.postgres()).await {
        Ok(mut target) => {
            tokio::try_join!(source.end(), target.end())?;
            Ok(true)
        }
        Err(MoveError::Lock {
            source: PgError::NotMigrated { .. },
            ..
        }) => {
            source.end().await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A move that is allowed.
struct Move<'b> {
    source: &'b TransferBackend,
    target: &'b TransferBackend,
    /// Looks for somebody who uses the source.
    watch: Watch,
}

impl<'b> Move<'b> {
    /// Checks again what is in both, now that they are open. Marks the target as incomplete.
    async fn begin(
        source: &'b TransferBackend,
        target: &'b TransferBackend,
        watch: Watch,
        target_is_watched: bool,
    ) -> Result<Self, CommandError> {
        let (from, to) = (Found::opened(source).await?, Found::opened(target).await?);
        if begins(&from, &to)? {
            if !target_is_watched {
                let mut watch = Watch::begin(&to.name, target.postgres()).await?;
                watch.end().await?;
            }
            let mark = MoveMark::Filling { from: from.name };
            target.transfer.set_mark(Some(&mark)).await?;
        }
        Ok(Self {
            source,
            target,
            watch,
        })
    }

    async fn run(mut self) -> Result<Report, CommandError> {
        let total = self.total().await?;
        self.copy(total).await?;
        self.copy_pauses().await?;
        let (before, after) = self.compare(total).await?;
        self.watch.end().await?;
        let (source, target) = (self.source, self.target);
        let to = target.name.clone();
        // In this order: in between, no server starts on either.
        let mark = MoveMark::Moved { to: to.clone() };
        source.transfer.set_mark(Some(&mark)).await?;
        target.transfer.set_mark(None).await?;
        let count = |kind: &Kind| {
            let of = |state| after.count(kind, state);
            let counts = StateCounts {
                processing: of(State::Processing),
                processed: of(State::Processed),
                failed: of(State::Failed),
            };
            (kind.to_string(), counts)
        };
        let paused = target.admin.paused().await?;
        Ok(Report {
            from: source.name.clone(),
            to,
            events: after.events(),
            kinds: after.kinds().into_iter().map(count).collect(),
            paused_kinds: paused.iter().map(Kind::to_string).collect(),
            from_digest: before.digest().to_string(),
            to_digest: after.digest().to_string(),
        })
    }

    /// The number of events, for the progress.
    async fn total(&self) -> Result<u64, StoreError> {
        let admin = &self.source.admin;
        let mut total = 0;
        for kind in admin.kinds().await? {
            let counts = admin.counts(&kind).await?;
            total += counts.waiting + counts.due + counts.leased + counts.processed + counts.failed;
        }
        Ok(total)
    }

    async fn copy(&mut self, total: u64) -> Result<(), CommandError> {
        let target = &self.target.transfer;
        let mut source = Export::new(Arc::clone(&self.source.transfer));
        if let Some(copied) = self.copied().await? {
            source = source.after(copied);
        }
        let mut progress = LongWork::begin("copying", "events", total);
        let mut batch = source.next_batch(PAGE).await?;
        while !batch.is_empty() {
            // The next batch is read while this one is written.
            let (imported, next) = tokio::join!(target.import(&batch), source.next_batch(PAGE));
            imported?;
            progress.add(batch.len() as u64);
            batch = next?;
            self.watch.check().await?;
        }
        progress.end();
        Ok(())
    }

    /// The last event of the source that the target has.
    async fn copied(&self) -> Result<Option<EventId>, CommandError> {
        let Some(newest) = self.target.transfer.newest().await? else {
            return Ok(None);
        };
        match self.source.store.find(&[newest]).await?.remove(0) {
            Some(record) => Ok(Some(record.id)),
            // Somebody has used the target, or deleted events of the source.
            None => {
                let name = self.target.name.clone();
                Err(MoveError::NotEmpty { name }.into())
            }
        }
    }

    async fn copy_pauses(&self) -> Result<(), StoreError> {
        let paused = self.source.admin.paused().await?;
        for kind in &paused {
            self.target.admin.pause(kind).await?;
        }
        for kind in self.target.admin.paused().await? {
            if !paused.contains(&kind) {
                self.target.admin.resume(&kind).await?;
            }
        }
        Ok(())
    }

    /// Reads both again, and returns their equal contents.
    async fn compare(&mut self, total: u64) -> Result<(Contents, Contents), CommandError> {
        let mut progress = LongWork::begin("comparing", "events", total);
        let mut reading = [Reading::of(self.source), Reading::of(self.target)];
        while reading.iter().any(|it| !it.is_done) {
            let [one, other] = &mut reading;
            let (read, others) = tokio::join!(one.read(), other.read());
            progress.add(read?);
            others?;
            self.watch.check().await?;
        }
        progress.end();
        let [before, after] = reading.map(|it| it.contents);
        if before == after {
            return Ok((before, after));
        }
        Err(MoveError::Different {
            from: self.source.name.clone(),
            from_events: before.events(),
            from_digest: before.digest().to_string(),
            to: self.target.name.clone(),
            to_events: after.events(),
            to_digest: after.digest().to_string(),
        }
        .into())
    }
}

/// Reads all events of one database, batch by batch.
struct Reading {
    events: Export,
    contents: Contents,
    is_done: bool,
}

impl Reading {
    fn of(backend: &TransferBackend) -> Self {
        Self {
            events: Export::new(Arc::clone(&backend.transfer)),
            contents: Contents::default(),
            is_done: false,
        }
    }

    /// Reads the next batch, and returns its length.
    async fn read(&mut self) -> Result<u64, StoreError> {
        if self.is_done {
            return Ok(0);
        }
        let batch = self.events.next_batch(PAGE).await?;
        self.is_done = batch.is_empty();
        batch.iter().for_each(|event| self.contents.add(event));
        Ok(batch.len() as u64)
    }
}

/// Finds out whether somebody uses a database. An SQLite file has a lock for that; PostgreSQL shows who tries to
/// change it.
struct Watch {
    name: String,
    /// One for each database of PostgreSQL.
    locks: Vec<WriteLock>,
    began: Instant,
    checked: Instant,
}

impl Watch {
    async fn begin(name: &str, databases: Vec<&PgStore>) -> Result<Self, MoveError> {
        let name = name.to_owned();
        let mut locks = Vec::new();
        for database in databases {
            let locked = database.lock_writes().await;
            locks.push(locked.map_err(|source| MoveError::Lock {
                name: name.clone(),
                source,
            })?);
        }
        let now = Instant::now();
        Ok(Self {
            name,
            locks,
            began: now,
            checked: now,
        })
    }

    /// Looks for somebody, unless it did just now.
    async fn check(&mut self) -> Result<(), MoveError> {
        if self.checked.elapsed() < WATCH_INTERVAL {
            return Ok(());
        }
        self.look().await
    }

    async fn look(&mut self) -> Result<(), MoveError> {
        let mut waiting = Vec::new();
        for lock in &mut self.locks {
            let found = lock.waiting().await.map_err(|source| MoveError::Lock {
                name: self.name.clone(),
                source,
            })?;
            waiting.extend(found);
        }
        self.checked = Instant::now();
        if waiting.is_empty() {
            return Ok(());
        }
        let sessions = waiting.iter().map(|session| {
            let program = match &*session.application_name {
                "" => String::new(),
                name => format!(" ({})", super::output::plain(name, 64)),
            };
            format!("role {}{program}, pid {}", session.role, session.pid)
        });
        Err(MoveError::InUse {
            name: self.name.clone(),
            sessions: sessions.collect::<Vec<_>>().join("; "),
        })
    }

    /// Waits until everybody who uses the database would have been seen.
    async fn end(&mut self) -> Result<(), MoveError> {
        if self.locks.is_empty() {
            return Ok(());
        }
        loop {
            self.look().await?;
            if self.began.elapsed() >= WATCH {
                return Ok(());
            }
            sleep(WATCH_INTERVAL).await;
        }
    }
}

fn text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Report { from, to, .. } = report;
    let events = counted(report.events, "event", "events");
    writeln!(out, "moved {events} from {from} to {to}")?;
    let width = report
        .kinds
        .keys()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max(4);
    writeln!(out, "{:width$}  PROCESSING   PROCESSED      FAILED", "KIND")?;
    for (kind, counts) in &report.kinds {
        let StateCounts {
            processing,
            processed,
            failed,
        } = counts;
        writeln!(
            out,
            "{kind:width$}  {processing:>10}  {processed:>10}  {failed:>10}"
        )?;
    }
    for kind in &report.paused_kinds {
        writeln!(out, "paused: {kind}")?;
    }
    writeln!(out, "digest before: {}", report.from_digest)?;
    writeln!(out, "digest after:  {}", report.to_digest)
}
