//! The faults, one per file.

mod clock;
mod failing_disk;
mod failpoint;
mod forwarding;
mod full_disk;
mod kill;
mod lies;
mod log_sink;
mod network;
mod old_transaction;
mod other_programs;
mod poison;
mod pooler;
mod postgres_stops;
mod power_loss;
mod rights;
mod rolling_restart;
mod schema;
mod settings;
mod standbys;
mod starved;
mod upgrade;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use testkit::postgres::Postgres;

use crate::backend::SqliteFile;
use crate::reconcile::Tally;
use crate::rig::Run;

/// A fault: what goes wrong in a run, and how the run is judged afterwards.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The fault's name on the command line.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// Why no test runs it, if none does.
    pub no_test: Option<&'static str>,
    inject: fn(Run) -> Injected,
}

type Injected = Pin<Box<dyn Future<Output = anyhow::Result<Tally>> + Send>>;

/// Makes a fault from an async function, and the reason why no test runs it.
macro_rules! fault {
    ($name:literal, $inject:path, $about:literal) => {
        fault!($name, $inject, $about, None)
    };
    ($name:literal, $inject:path, $about:literal, $no_test:expr) => {
        Fault {
            name: $name,
            about: $about,
            no_test: $no_test,
            inject: |run| Box::pin($inject(run)),
        }
    };
}

/// All faults.
pub const FAULTS: &[Fault] = &[
    fault!(
        "kill-node",
        kill::one::<Postgres>,
        "SIGKILL of a node, repeatedly"
    ),
    fault!(
        "kill-api",
        kill::api::<Postgres>,
        "SIGKILL of one of two nodes that only accept"
    ),
    fault!(
        "kill-worker",
        kill::worker::<Postgres>,
        "SIGKILL of one of two nodes that only process"
    ),
    fault!(
        "kill-all",
        kill::all::<Postgres>,
        "SIGKILL of all nodes at once"
    ),
    fault!(
        "failpoints",
        failpoint::on_postgres,
        "a node dies before, during or after accept, claim, extend, settle, settle_in"
    ),
    fault!(
        "postgres-kill",
        postgres_stops::kill,
        "SIGKILL of PostgreSQL's main process"
    ),
    fault!(
        "postgres-immediate",
        postgres_stops::immediate,
        "immediate stop of PostgreSQL"
    ),
    fault!(
        "postgres-backend",
        postgres_stops::backend,
        "SIGKILL of one session's process"
    ),
    fault!(
        "cuts",
        network::cuts,
        "connections cut during a statement, during a commit, before the response"
    ),
    fault!(
        "stall",
        network::stalls,
        "one node's network stalls for longer than its leases"
    ),
    fault!(
        "silence",
        network::forgets,
        "one node's connections stay open and carry nothing"
    ),
    fault!(
        "pooler",
        pooler::plain,
        "PgBouncer in transaction mode, with fewer connections; killed"
    ),
    fault!(
        "pooler-prepared",
        pooler::prepared,
        "the same, with support for prepared statements",
        Some("needs PgBouncer 1.21")
    ),
    fault!(
        "full-disk",
        full_disk::on_postgres,
        "PostgreSQL's disk is full for a while"
    ),
    fault!(
        "no-connections",
        starved::connections,
        "other clients hold all of PostgreSQL's connections"
    ),
    fault!(
        "locked",
        starved::pool,
        "all pooled connections wait for a lock"
    ),
    fault!(
        "no-time",
        starved::time,
        "statements cancelled, and limited to a millisecond"
    ),
    fault!(
        "read-only",
        standbys::read_only,
        "the database's address leads to a read-only standby"
    ),
    fault!(
        "no-rights",
        rights::inject,
        "a role without rights, and one that loses them"
    ),
    fault!(
        "settings-reloaded",
        settings::reloaded,
        "synchronous_commit and other settings changed by a reload, then SIGKILL of PostgreSQL"
    ),
    fault!(
        "hostile-role",
        settings::hostile_role,
        "a role without rights plants operators and functions in the search path"
    ),
    fault!(
        "half-migrated",
        schema::half_migrated,
        "a migration dies in the middle (server or database)"
    ),
    fault!(
        "newer-schema",
        schema::newer,
        "a schema that is newer than the server"
    ),
    fault!(
        "older-schema",
        schema::older,
        "a schema that seems older than the server"
    ),
    fault!(
        "failover",
        standbys::failover,
        "the primary killed, its synchronous standby promoted"
    ),
    fault!(
        "rolling-restart",
        rolling_restart::of_nodes::<Postgres>,
        "three nodes restarted by SIGTERM, one by one"
    ),
    fault!(
        "rolling-restart-server",
        rolling_restart::of_servers,
        "the same with webhook-server itself"
    ),
    fault!(
        "upgrade",
        upgrade::one_by_one,
        "three servers of the previous release (--from) replaced one by one, by SIGTERM and SIGKILL"
    ),
    fault!(
        "log-sink",
        log_sink::unwritable,
        "standard error closed, stalled and full; one node killed"
    ),
    fault!(
        "poison-kill",
        poison::kills::<Postgres>,
        "events whose handler kills its process"
    ),
    fault!(
        "poison-hang",
        poison::hangs::<Postgres>,
        "events whose handler never returns"
    ),
    fault!(
        "poison-panic",
        poison::panics::<Postgres>,
        "events whose handler panics"
    ),
    fault!(
        "poison-body",
        poison::bodies,
        "stored bodies that can no longer be read"
    ),
    fault!(
        "clock",
        clock::inject::<Postgres>,
        "one node's clock is wrong by years, and steps by hours"
    ),
    fault!(
        "destinations",
        forwarding::destinations::<Postgres>,
        "destinations of forwarded events do badly in ten ways at the same time",
        Some("the test `sqlite_destinations` runs the same")
    ),
    fault!(
        "kill-forwarding",
        forwarding::killed::<Postgres>,
        "SIGKILL of webhook-server before a destination answers, and between the answer and the settlement",
        Some("the test `sqlite_kill_forwarding` runs the same")
    ),
    fault!(
        "old-transaction",
        old_transaction::inject,
        "a transaction stays open, so that vacuum cannot clean up",
        Some("needs a longer run than a test has")
    ),
    fault!(
        "sqlite-destinations",
        forwarding::destinations::<SqliteFile>,
        "SQLite: destinations of forwarded events do badly in ten ways at the same time"
    ),
    fault!(
        "sqlite-kill-forwarding",
        forwarding::killed::<SqliteFile>,
        "SQLite: SIGKILL of webhook-server before a destination answers, and between the answer and the settlement"
    ),
    fault!(
        "sqlite-kill-all",
        kill::all::<SqliteFile>,
        "SQLite: SIGKILL of all three nodes on a file at once"
    ),
    fault!(
        "sqlite-kill-node",
        kill::one::<SqliteFile>,
        "SQLite: SIGKILL of one of three nodes on a file, repeatedly"
    ),
    fault!(
        "sqlite-kill-server",
        kill::sqlite_server,
        "SQLite: SIGKILL of webhook-server, repeatedly"
    ),
    fault!(
        "sqlite-stopped",
        kill::stopped::<SqliteFile>,
        "SQLite: one of two nodes on a file stopped (SIGSTOP) for longer than its leases"
    ),
    fault!(
        "sqlite-failpoints",
        failpoint::on_sqlite,
        "SQLite: a node dies before, during or after accept, claim, extend, settle, settle_in"
    ),
    fault!(
        "sqlite-rolling-restart",
        rolling_restart::of_nodes::<SqliteFile>,
        "SQLite: three nodes on a file restarted by SIGTERM, one by one"
    ),
    fault!(
        "sqlite-power-loss",
        power_loss::inject,
        "SQLite: power lost at random moments, with unsynced writes lost, torn and reordered"
    ),
    fault!(
        "sqlite-half-synced",
        power_loss::after_failed_syncs,
        "SQLite: the same on a disk whose syncs fail from time to time"
    ),
    fault!(
        "sqlite-full-disk",
        full_disk::on_sqlite,
        "SQLite: the file's disk is full for a while; one node killed"
    ),
    fault!(
        "sqlite-read-only",
        failing_disk::read_only,
        "SQLite: the file system is read-only for a while; one node killed"
    ),
    fault!(
        "sqlite-failed-writes",
        failing_disk::writes,
        "SQLite: writes fail half-way for a while; one node killed"
    ),
    fault!(
        "sqlite-failed-syncs",
        failing_disk::syncs,
        "SQLite: syncs fail for a while; one node killed"
    ),
    fault!(
        "sqlite-locked",
        other_programs::writer,
        "SQLite: another program holds the write lock for longer than nodes wait for it"
    ),
    fault!(
        "sqlite-old-reader",
        other_programs::reader,
        "SQLite: a transaction that reads stays open, so that the log cannot be cut"
    ),
    fault!(
        "sqlite-backup",
        other_programs::backup,
        "SQLite: another program makes backups under load"
    ),
    fault!(
        "sqlite-clock",
        clock::inject::<SqliteFile>,
        "SQLite: one node's clock is wrong by years, and steps by hours; it is killed"
    ),
];

/// A node, and disks, that break their promise on purpose. If a run with one of them reports no loss,
/// the runs of the real faults prove nothing.
pub const LIES: &[Fault] = &[
    fault!(
        "lost-events",
        lies::inject,
        "a node answers 202 for events that it does not store"
    ),
    fault!(
        "ignored-database-syncs",
        power_loss::without_database_syncs,
        "SQLite: power lost on a disk that does not sync the database file"
    ),
    fault!(
        "ignored-log-syncs",
        power_loss::without_wal_syncs,
        "SQLite: power lost on a disk that does not sync the write-ahead log"
    ),
    fault!(
        "ignored-folder-syncs",
        power_loss::without_folder_syncs,
        "SQLite: power lost on a disk that does not sync the folder"
    ),
];

impl Fault {
    /// Returns the name of the test that runs it.
    pub fn test_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Runs the fault once.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if this machine cannot run it, any other error if the system under test or
    /// the fault itself did not finish.
    pub async fn run(&self, run: Run) -> anyhow::Result<Tally> {
        (self.inject)(run).await
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.name).finish()
    }
}

/// The reason why this machine cannot run a fault.
#[derive(Debug)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not possible on this machine: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}
