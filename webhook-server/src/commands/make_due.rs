//! `make-due`: makes waiting events due now.

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args};
use serde::Serialize;
use serde_json::{Value, json};
use webhook_core::{
    Admin, Counts, EventRecord, EventRef, EventSummary, Kind, MadeDue, Page, RunningLeases, State,
};

use super::CommandError;
use super::list::PAGE;
use super::reschedule::{self, Mode, Reschedule, Which};
use crate::backend::CommandBackend;
use crate::config::age;
use crate::views::duration;

/// The options of `make-due`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "all"])))]
pub struct MakeDue {
    /// Ids of the transactions, or keys of the events, to make due
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Make all waiting events due that match the following option
    #[arg(long)]
    all: bool,
    /// Only events that fall due, or with --leased whose lease ends, later than this from now by the
    /// clock of the database, such as 1h
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "ids")]
    due_in_more_than: Option<Duration>,
    /// Also end the leases of events that a worker holds. Only use this if the worker is gone: a worker
    /// that is alive may process the event a second time
    #[arg(long)]
    leased: bool,
    #[command(flatten)]
    mode: Mode,
}

#[derive(Default, Serialize)]
pub(super) struct Answers {
    made_due: usize,
    already_due: usize,
    /// Held by a worker, and not changed.
    leased: usize,
    /// PROCESSED or FAILED.
    settled: usize,
    not_found: usize,
}

impl MakeDue {
    pub(super) async fn run(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        reschedule::run(self, backend).await
    }
}

impl Reschedule for MakeDue {
    const ACTION: &'static str = "make-due";
    const DONE: &'static str = "made due";

    type Answer = MadeDue;
    type Answers = Answers;

    const NOT_FOUND: MadeDue = MadeDue::NotFound;

    fn which(&self) -> Which<'_> {
        if self.all {
            Which::All
        } else {
            Which::Named(&self.ids)
        }
    }

    fn mode(&self) -> &Mode {
        &self.mode
    }

    fn arguments(&self) -> Vec<(&'static str, Value)> {
        let due_in_more_than = self.due_in_more_than.map(duration);
        vec![
            ("kind", json!(self.mode.kind().as_str())),
            Which::argument(&self.ids, "all"),
            ("due_in_more_than", json!(due_in_more_than)),
            ("leased", json!(self.leased)),
        ]
    }

    async fn apply(
        &self,
        backend: &CommandBackend,
        events: &[EventRef],
    ) -> Result<Vec<MadeDue>, CommandError> {
        let leases = if self.leased {
            RunningLeases::End
        } else {
            RunningLeases::Keep
        };
        Ok(backend.admin.make_due(events, leases).await?)
    }

    fn refusal(&self, record: &EventRecord) -> Option<MadeDue> {
        if record.state != State::Processing {
            Some(MadeDue::Settled)
        } else if record.leased_until.is_some() && !self.leased {
            Some(MadeDue::Leased)
        } else if is_due(record) {
            Some(MadeDue::AlreadyDue)
        } else {
            None
        }
    }

    fn page(&self) -> Page {
        Page::new(self.mode.kind().clone(), State::Processing, PAGE)
            .held_for_over(self.due_in_more_than.unwrap_or_default())
    }

    fn total(&self, counts: &Counts) -> u64 {
        counts.waiting + counts.leased
    }

    fn matches(&self, summary: &EventSummary) -> bool {
        self.leased || summary.leased_until.is_none()
    }

    fn reason(answer: MadeDue, record: Option<&EventRecord>) -> Option<&'static str> {
        match (answer, record.map(|it| it.state)) {
            (MadeDue::Applied, _) => None,
            (MadeDue::AlreadyDue, _) => Some("already due"),
            (MadeDue::Leased, _) => Some("held by a worker (--leased ends its lease)"),
            (MadeDue::Settled, Some(State::Processed)) => Some("already PROCESSED"),
            (MadeDue::Settled, Some(State::Failed)) => {
                Some("already FAILED (`requeue` processes it again)")
            }
            (MadeDue::Settled, _) => Some("already PROCESSED or FAILED"),
            (MadeDue::NotFound, _) => Some("unknown"),
        }
    }

    fn count(answers: &mut Answers, answer: MadeDue) {
        *match answer {
            MadeDue::Applied => &mut answers.made_due,
            MadeDue::AlreadyDue => &mut answers.already_due,
            MadeDue::Leased => &mut answers.leased,
            MadeDue::Settled => &mut answers.settled,
            MadeDue::NotFound => &mut answers.not_found,
        } += 1;
    }

    fn done(answers: &Answers) -> usize {
        answers.made_due
    }

    fn refused(answers: &Answers) -> usize {
        answers.leased + answers.settled + answers.not_found
    }

    fn error(kind: Kind, refused: usize, named: usize) -> CommandError {
        CommandError::NotMadeDue {
            kind,
            refused,
            named,
        }
    }
}

/// Whether the event seems due by the clock of this machine. A dry run may be wrong if the clock of the
/// database differs.
fn is_due(record: &EventRecord) -> bool {
    let due = record
        .due_at
        .is_some_and(|due_at| due_at <= SystemTime::now());
    due && record.leased_until.is_none()
}
