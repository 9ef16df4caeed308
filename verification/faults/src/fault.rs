//! The faults, one per file.

mod clock;
mod failpoint;
mod full_disk;
mod kill;
mod lies;
mod log_sink;
mod network;
mod old_transaction;
mod poison;
mod pooler;
mod postgres_stops;
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

use crate::reconcile::Tally;
use crate::rig::Run;

/// Something that goes wrong, and what is left of it afterwards.
#[derive(Clone, Copy)]
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// Why no test runs it, where none does.
    pub no_test: Option<&'static str>,
    inject: fn(Run) -> Injected,
}

type Injected = Pin<Box<dyn Future<Output = anyhow::Result<Tally>> + Send>>;

/// A fault out of an async function, and why no test runs it.
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
    fault!("kill-node", kill::one, "SIGKILL of a node, again and again"),
    fault!(
        "kill-api",
        kill::api,
        "SIGKILL of one of two nodes that only accept"
    ),
    fault!(
        "kill-worker",
        kill::worker,
        "SIGKILL of one of two nodes that only work"
    ),
    fault!("kill-all", kill::all, "SIGKILL of all nodes at once"),
    fault!(
        "failpoints",
        failpoint::inject,
        "a node dies before, within or after accept, claim, extend, settle, settle_in"
    ),
    fault!(
        "postgres-kill",
        postgres_stops::kill,
        "SIGKILL of PostgreSQL's first process"
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
        "connections cut in mid-statement, in mid-commit, before the answer"
    ),
    fault!(
        "stall",
        network::stalls,
        "one node's network stalls for longer than its leases"
    ),
    fault!(
        "silence",
        network::forgets,
        "one node's connections pass nothing any more, and do not end"
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
        full_disk::inject,
        "PostgreSQL's disk is full for a while"
    ),
    fault!(
        "no-connections",
        starved::connections,
        "others hold all of PostgreSQL's connections"
    ),
    fault!(
        "locked",
        starved::pool,
        "all connections of the pools wait for a lock"
    ),
    fault!(
        "no-time",
        starved::time,
        "statements cancelled, limits of a millisecond on the role"
    ),
    fault!(
        "read-only",
        standbys::read_only,
        "the database's address leads to a standby"
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
        "a migration dies in the middle, on either side"
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
        rolling_restart::of_nodes,
        "three nodes restarted by SIGTERM, one after the other"
    ),
    fault!(
        "rolling-restart-server",
        rolling_restart::of_servers,
        "the same with webhook-server itself"
    ),
    fault!(
        "upgrade",
        upgrade::one_by_one,
        "three servers of the release before (--from) replaced one after the other, by SIGTERM and SIGKILL"
    ),
    fault!(
        "log-sink",
        log_sink::unwritable,
        "standard error closed, stalled and full; one node killed"
    ),
    fault!(
        "poison-kill",
        poison::kills,
        "events whose handler kills its process"
    ),
    fault!(
        "poison-hang",
        poison::hangs,
        "events whose handler never returns"
    ),
    fault!(
        "poison-panic",
        poison::panics,
        "events whose handler panics"
    ),
    fault!(
        "poison-body",
        poison::bodies,
        "stored bodies that can no longer be read"
    ),
    fault!(
        "clock",
        clock::inject,
        "one node's clock is wrong by years, and steps by hours"
    ),
    fault!(
        "old-transaction",
        old_transaction::inject,
        "a transaction stays open and holds vacuum back",
        Some("seconds show nothing of it")
    ),
];

/// What is no fault, but a node that breaks the promise: a run that finds no fault with it is worth
/// nothing.
pub const LIES: Fault = fault!("lies", lies::inject, "202 for what is not kept");

impl Fault {
    /// The name of the test that runs it.
    pub fn test_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Runs it once.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] where this machine cannot do it; anything else when the system under
    /// attack, or the attack itself, did not come to an end.
    pub async fn run(&self, run: Run) -> anyhow::Result<Tally> {
        (self.inject)(run).await
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.name).finish()
    }
}

/// What this machine cannot do.
#[derive(Debug)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not possible here: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}
