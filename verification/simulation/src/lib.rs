//! Tests the whole inbox in simulated time, with faults that a seed decides.
//!
//! One seed is one run: several nodes, each with an inbox and workers for two kinds, share one
//! store in memory, of one to four partitions, under Tokio's paused clock. A decorator between the nodes and the store delays
//! calls, makes them fail and loses their answers, as networks, databases and crashes do. When the
//! faults end, every event must end without help. The run is recorded, and an oracle checks each
//! promise as a property of that history: one file for each in `properties`.
//!
//! Only the memory backend can run in simulated time: SQLite and PostgreSQL work on threads, in
//! files and by clocks that a seed does not decide. The differential test compares them with the
//! memory backend instead, and the crate `faults` runs them in real time.
//!
//! ```text
//! cargo run --release -p simulation -- --seconds 60
//! cargo run --release -p simulation -- --seed 42
//! ```

mod dice;
mod handlers;
mod history;
mod ledger;
mod payload;
mod plan;
mod properties;
mod time;
mod wire;
mod world;

use std::collections::BTreeMap;

use webhook_core::{EventRecord, EventRef, EventSummary, FailedAttempt};

pub use history::{Answer, Call, CallId, End, Fact, Life, Part, Record, Verb};
pub use plan::{Faults, Plan};
pub use properties::Violation;

/// The result of one seed.
#[derive(Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Its nodes, limits and faults.
    pub plan: Plan,
    /// What happened, in order.
    pub history: Vec<Record>,
    /// Whether every event, call and delivery had ended when the run stopped making progress.
    pub finished: bool,
    /// The store's final records of all events that were sent.
    pub found: BTreeMap<EventRef, Option<EventRecord>>,
    /// The failed attempts that the store kept of them, the latest first.
    pub failed_attempts: BTreeMap<EventRef, Vec<FailedAttempt>>,
    /// Everything that the store held in the end.
    pub listed: Vec<EventSummary>,
}

impl Run {
    /// Runs one seed.
    ///
    /// # Panics
    ///
    /// Panics when the pipeline panics.
    pub fn of(seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // The world must continue only when no other task is ready.
            .event_interval(u32::MAX)
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        runtime.block_on(async { world::World::new(seed).await.run().await })
    }

    /// Returns every property that does not hold.
    pub fn violations(&self) -> Vec<Violation> {
        properties::violations(self)
    }
}
