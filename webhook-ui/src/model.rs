//! The documents of the admin API, which the dashboard shows as well: plain structs.
//!
//! *Source* is the name of the kind of an event: the event of an embedder's kind `order` is one of the source
//! `order`.

mod destination;
mod event;
mod instance;
mod job;
mod source;
mod time;

pub use destination::{Answer, Destination, DestinationState};
pub use event::{
    Attempt, AuditPage, AuditRecord, Body, BodyEncoding, Conflict, Event, EventPage, EventState,
    EventSummary, FailureGroup, Failures, Header, Scheduled, Trace,
};
pub use instance::{
    InstanceInfo, Node, OldestEvent, Outage, Overview, SourceOverview, Status, TRACE_ID,
};
pub use job::{Job, JobAction, JobState, TestSent};
pub use source::{
    Capped, Copy, CopyPage, PausedSource, Refused, RefusedPage, Sample, Samples, SecretInfo,
    Series, SourceCounts, SourceInfo, SourceStatus,
};
pub use time::Time;
