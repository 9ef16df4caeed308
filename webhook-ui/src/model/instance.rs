//! The process around the inbox, its siblings, and the overview of all.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Destination, Sample, Series, SourceInfo, Time};

/// What stands for the id of a trace in [`InstanceInfo::trace_url`].
pub const TRACE_ID: &str = "{trace_id}";

/// The process around the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct InstanceInfo {
    /// The name of the instance, such as `production`. Visitors who have not signed in do not see it.
    #[schema(example = "production")]
    pub name: Option<String>,
    /// The colour of the instance in the dashboard: `#` and six hexadecimal digits.
    pub color: Option<String>,
    /// The page of a trace: a URL in which `{trace_id}` stands for its id.
    pub trace_url: Option<String>,
    /// The version of the program.
    pub version: String,
    /// The kind of store, such as `PostgreSQL`.
    pub store: String,
    /// Whether events are lost when the process ends.
    pub in_memory: bool,
    /// What an operator should know about the whole instance, such as that deliveries are not verified.
    pub warnings: Vec<String>,
    /// What does not work now, such as a store that does not answer. It is empty if everything works.
    pub outages: Vec<Outage>,
}

/// Something that the whole inbox needs, and that does not work now. It is about the events of all sources, and callers
/// of one source see it too: it names neither sources nor machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Outage {
    /// What does not work, as a clause.
    #[schema(example = "the store does not answer")]
    pub problem: String,
    /// What follows from it, as a clause.
    #[schema(example = "events wait, and deliveries get 503 until it does")]
    pub effect: String,
    /// When this process noticed it.
    pub since: Time,
}

/// A process that serves the inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Node {
    /// The random id of the process.
    pub id: String,
    /// What it does: `all`, `api` or `worker`.
    pub role: String,
    /// The version of the program.
    pub version: String,
    /// The name of its machine.
    pub host: String,
    /// How many events it can hold at the same time. For sources that are forwarded, these are twice as many as requests
    /// may run: as many events are claimed ahead.
    pub slots: u32,
    /// How many it holds now: those that it processes, and those that are claimed ahead.
    pub running: u32,
    /// When it reported for the first time.
    pub started_at: Time,
    /// When it reported last.
    pub last_seen_at: Time,
}

/// A source on the overview.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SourceOverview {
    /// The source; for the events of an app, only its name is known.
    #[serde(flatten)]
    pub info: SourceInfo,
    /// Its latest sample.
    pub sample: Option<Sample>,
    /// Its last 60 minutes.
    pub series: Option<Series>,
}

/// What an operator sees first. It is read from memory, never from the store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Overview {
    /// The process.
    pub instance: InstanceInfo,
    /// When the samples were taken.
    pub sampled_at: Option<Time>,
    /// All sources.
    pub sources: Vec<SourceOverview>,
    /// All destinations.
    pub destinations: Vec<Destination>,
}

/// How many events of a source are in each state, counted a short time ago.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// The name of the source.
    pub source: String,
    /// Whether it is paused.
    pub paused: bool,
    /// When the events were counted: at most twenty times as long ago as it took, and at most a minute.
    pub counted_at: Time,
    /// Events that are not due yet.
    pub waiting: u64,
    /// Events that are due, and not leased.
    pub due: u64,
    /// Events that workers hold.
    pub leased: u64,
    /// Events that were processed.
    pub processed: u64,
    /// Events that have failed.
    pub failed: u64,
    /// How long the oldest due event has waited.
    pub oldest_due_age_seconds: Option<f64>,
    /// The PROCESSING event that was accepted first.
    pub oldest: Option<OldestEvent>,
    /// Events that became PROCESSED, each second of the last minute.
    pub processed_per_second: f64,
    /// Events that became FAILED, each second of the last minute.
    pub failed_per_second: f64,
}

/// An event that waits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OldestEvent {
    /// The idempotency key.
    pub key: String,
    /// When it was accepted.
    pub received_at: Time,
    /// How many attempts began.
    pub attempts: u32,
}
