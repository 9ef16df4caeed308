//! Jobs: actions on all events that match a filter.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Capped, Time};

/// What a job does to each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Requeues FAILED events.
    Requeue,
    /// Sends copies to a destination.
    Replay,
    /// Makes waiting events due now.
    MakeDue,
    /// Deletes events with all their records.
    Delete,
    /// Deletes headers and bodies of settled events.
    Erase,
}

impl JobAction {
    /// All actions.
    pub const ALL: [Self; 5] = [
        Self::Requeue,
        Self::Replay,
        Self::MakeDue,
        Self::Delete,
        Self::Erase,
    ];

    /// The name of the action in documents: `requeue`, `replay`, `make_due`, `delete` or `erase`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Replay => "replay",
            Self::MakeDue => "make_due",
            Self::Delete => "delete",
            Self::Erase => "erase",
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Planned, and not run. A plan is valid for 60 seconds.
    Planned,
    /// The plan is too old to run.
    Expired,
    /// Running.
    Running,
    /// All events that match have been tried.
    Done,
    /// Somebody cancelled it. What it did until then stays done.
    Cancelled,
    /// The process stops. What it did until then stays done.
    Stopped,
    /// The store failed too often. What it did until then stays done.
    Failed,
}

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Job {
    /// The id of the job.
    pub id: String,
    /// What it does to each event.
    pub action: JobAction,
    /// Which events, in the grammar of filters.
    pub filter: String,
    /// The destination of copies; null for that of their source.
    pub to: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// Who planned it: the name of a token.
    pub by: String,
    /// When it was planned.
    pub planned_at: Time,
    /// How many events matched when it was planned.
    pub matching: Capped,
    /// How many seconds it will probably take.
    pub estimated_seconds: f64,
    /// Whether `matching.count` has to be confirmed to run it.
    pub needs_confirmation: bool,
    /// When it began to run.
    pub started_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// How many events it has changed.
    pub changed: u64,
    /// How many events it has left as they were, since their states did not allow the action.
    pub skipped: u64,
    /// How many events it could not change.
    pub errors: u64,
    /// Why a job that runs sends no copies for now: its destination is held, or paused. Null if it goes on.
    pub waits_because: Option<String>,
    /// The last error.
    pub last_error: Option<String>,
    /// How many events it has tried each second.
    pub events_per_second: f64,
}

/// A test event that was sent to a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TestSent {
    /// The name of the source.
    pub source: String,
    /// The key of the event, if it was accepted and the source tells it.
    pub key: Option<String>,
    /// The status that the source answered.
    pub status: u16,
    /// The answer of the source.
    pub answer: String,
}
