//! The faults, one per file.

mod failpoint;
mod kill;
mod postgres_stops;

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
    inject: fn(Run) -> Injected,
}

type Injected = Pin<Box<dyn Future<Output = anyhow::Result<Tally>> + Send>>;

/// A fault out of an async function.
macro_rules! fault {
    ($name:literal, $inject:path, $about:literal) => {
        Fault {
            name: $name,
            about: $about,
            inject: |run| Box::pin($inject(run)),
        }
    };
}

/// All faults.
pub const FAULTS: &[Fault] = &[
    fault!("kill-node", kill::one, "SIGKILL of a node, again and again"),
    fault!(
        "kill-worker",
        kill::worker,
        "SIGKILL of a node that only works"
    ),
    fault!("kill-all", kill::all, "SIGKILL of all nodes at once"),
    fault!(
        "failpoints",
        failpoint::inject,
        "a node dies before, within or after accept, claim, extend, settle"
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
];

impl Fault {
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
