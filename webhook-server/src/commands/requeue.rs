//! `requeue`: processes FAILED events again.

use std::time::SystemTime;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use webhook_core::{
    Admin, Counts, EventRecord, EventRef, EventSummary, FailureReason, Kind, Page, Requeued, State,
};

use super::CommandError;
use super::list::PAGE;
use super::reschedule::{self, Mode, Reschedule, Which};
use crate::backend::CommandBackend;

/// The options of `requeue`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "all_failed"])))]
pub struct Requeue {
    /// Ids of the transactions, or keys of the events, to requeue
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Requeue all FAILED events that match the following options
    #[arg(long)]
    all_failed: bool,
    /// Only events whose reason contains this text
    #[arg(long, value_name = "TEXT", conflicts_with = "ids")]
    reason: Option<String>,
    /// Only events that failed at this time or later, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "ids")]
    failed_after: Option<Timestamp>,
    /// Only events that failed before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "ids")]
    failed_before: Option<Timestamp>,
    #[command(flatten)]
    mode: Mode,
}

fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    let time = text.parse();
    time.map_err(|_| "expected a time such as 2026-01-02T03:04:05Z")
}

#[derive(Default, Serialize)]
pub(super) struct Answers {
    requeued: usize,
    /// In another state, or requeued by somebody else meanwhile.
    not_failed: usize,
    /// FAILED, but without a body.
    erased: usize,
    not_found: usize,
}

impl Requeue {
    pub(super) async fn run(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        reschedule::run(self, backend).await
    }
}

impl Reschedule for Requeue {
    const ACTION: &'static str = "requeue";
    const DONE: &'static str = "requeued";

    type Answer = Requeued;
    type Answers = Answers;

    const NOT_FOUND: Requeued = Requeued::NotFound;

    fn which(&self) -> Which<'_> {
        if self.all_failed {
            Which::All
        } else {
            Which::Named(&self.ids)
        }
    }

    fn mode(&self) -> &Mode {
        &self.mode
    }

    fn arguments(&self) -> Vec<(&'static str, Value)> {
        let Self {
            ids,
            all_failed: _,
            reason,
            failed_after,
            failed_before,
            mode,
        } = self;
        vec![
            ("kind", json!(mode.kind().as_str())),
            Which::argument(ids, "all_failed"),
            ("reason", json!(reason)),
            ("failed_after", json!(failed_after.map(|it| it.to_string()))),
            (
                "failed_before",
                json!(failed_before.map(|it| it.to_string())),
            ),
        ]
    }

    async fn apply(
        &self,
        backend: &CommandBackend,
        events: &[EventRef],
    ) -> Result<Vec<Requeued>, CommandError> {
        Ok(backend.admin.requeue(events).await?)
    }

    fn refusal(&self, record: &EventRecord) -> Option<Requeued> {
        match record.state {
            State::Failed if record.body_deleted => Some(Requeued::Erased),
            State::Failed => None,
            State::Processing | State::Processed => Some(Requeued::NotFailed),
        }
    }

    fn page(&self) -> Page {
        Page::new(self.mode.kind().clone(), State::Failed, PAGE)
    }

    fn total(&self, counts: &Counts) -> u64 {
        counts.failed
    }

    fn matches(&self, summary: &EventSummary) -> bool {
        let reason = summary.reason.as_ref().map_or("", FailureReason::as_str);
        let failed_at = summary.settled_at;
        let time = |time: Timestamp| Some(SystemTime::from(time));
        self.reason
            .as_ref()
            .is_none_or(|text| reason.contains(text))
            && self
                .failed_after
                .is_none_or(|after| failed_at >= time(after))
            && self
                .failed_before
                .is_none_or(|before| failed_at < time(before))
    }

    fn reason(answer: Requeued, record: Option<&EventRecord>) -> Option<&'static str> {
        match (answer, record.map(|it| it.state)) {
            (Requeued::Applied, _) => None,
            (Requeued::NotFailed, Some(State::Processing)) => Some("still PROCESSING"),
            (Requeued::NotFailed, Some(State::Processed)) => Some("already PROCESSED"),
            (Requeued::NotFailed, _) => Some("not FAILED"),
            (Requeued::Erased, _) => Some("FAILED, and its body is deleted"),
            (Requeued::NotFound, _) => Some("unknown"),
        }
    }

    fn count(answers: &mut Answers, answer: Requeued) {
        *match answer {
            Requeued::Applied => &mut answers.requeued,
            Requeued::NotFailed => &mut answers.not_failed,
            Requeued::Erased => &mut answers.erased,
            Requeued::NotFound => &mut answers.not_found,
        } += 1;
    }

    fn done(answers: &Answers) -> usize {
        answers.requeued
    }

    fn refused(answers: &Answers) -> usize {
        answers.not_failed + answers.erased + answers.not_found
    }

    fn error(kind: Kind, refused: usize, named: usize) -> CommandError {
        CommandError::NotRequeued {
            kind,
            refused,
            named,
        }
    }
}
