//! The inbox attacked in simulated time, by seeds.
//!
//! One seed is one run: several nodes, each with a receiver and two workers, on one store in
//! memory, under Tokio's paused clock. Between the nodes and the store stands a decorator that
//! does to calls what networks, databases and processes do. When faults end, everything must come
//! right by itself. What happened is written down, and an oracle checks each promise as a
//! property of that history: one file for each in `properties`.
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

use webhook_core::{EventRecord, EventRef, EventSummary};

pub use history::{Answer, Call, CallId, End, Fact, Life, Part, Record, Verb};
pub use plan::{Faults, Plan};
pub use properties::Violation;

/// All that one seed came to.
#[derive(Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Its circumstances.
    pub plan: Plan,
    /// What happened, in its order.
    pub history: Vec<Record>,
    /// Whether everything had come to an end when nothing moved any more.
    pub finished: bool,
    /// What the store knew in the end of every event ever sent.
    pub found: BTreeMap<EventRef, Option<EventRecord>>,
    /// All that the store held in the end.
    pub listed: Vec<EventSummary>,
}

impl Run {
    /// Lets one seed happen.
    ///
    /// # Panics
    ///
    /// When the pipeline does.
    pub fn of(seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // The world goes on when no task is ready, and not a moment sooner.
            .event_interval(u32::MAX)
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        runtime.block_on(async { world::World::new(seed).run().await })
    }

    /// Every property that does not hold.
    pub fn violations(&self) -> Vec<Violation> {
        properties::violations(self)
    }
}
