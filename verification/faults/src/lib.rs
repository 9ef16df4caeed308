//! Tests the inbox in real time, with real processes, real databases and real faults.
//!
//! A run starts a database, nodes and senders, injects a fault under load, and then compares three
//! records: what senders were told, what the database holds, and what handlers wrote into a ledger.
//! `cargo run -p faults -- --help` explains the options.

mod backend;
pub mod behaviour;
mod book;
mod destination;
mod disk;
pub mod failpoint;
mod fault;
mod http;
pub mod ledger;
mod node;
mod reconcile;
pub mod report;
mod rig;
mod senders;
mod standby;
mod stored;
mod tools;

pub use fault::{FAULTS, Fault, LIES, Unsupported};
pub use reconcile::Tally;
pub use rig::Run;
pub use tools::Tools;
