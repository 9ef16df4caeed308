//! Runs the commands that reschedule events, `requeue` and `make-due`, on named events or on all that
//! match.

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use webhook_core::{
    Admin, Counts, EventRecord, EventRef, EventSummary, Kind, MAX_KEY_BYTES, Page, Store,
};

use super::kind_option::KindOption;
use super::output::{plain, progress, say_nothing_matches};
use super::{CommandError, Output};
use crate::audit::Audit;
use crate::backend::CommandBackend;
use crate::views::{parse_key, plural};

/// How many named events are looked up at a time. Few, because their bodies are read, too.
const NAMED_AT_ONCE: usize = 16;

/// A command that reschedules events.
pub(super) trait Reschedule {
    /// The name of the command in the log.
    const ACTION: &'static str;

    /// What it does to an event, as in "3 of 4 requeued".
    const DONE: &'static str;

    /// The answer of the database for one event.
    type Answer: Copy;

    /// The number of times each answer was given.
    type Answers: Default + Serialize;

    /// The answer for an event that does not exist.
    const NOT_FOUND: Self::Answer;

    /// The events that were selected.
    fn which(&self) -> Which<'_>;

    /// The options that both commands have.
    fn mode(&self) -> &Mode;

    /// What was selected, for the audit log.
    fn arguments(&self) -> Vec<(&'static str, Value)>;

    /// Reschedules `events`.
    async fn apply(
        &self,
        backend: &CommandBackend,
        events: &[EventRef],
    ) -> Result<Vec<Self::Answer>, CommandError>;

    /// The answer for an event that would not be rescheduled; `None` if it would be.
    fn refusal(&self, record: &EventRecord) -> Option<Self::Answer>;

    /// The first page of the events that [`matches`](Self::matches) selects from.
    fn page(&self) -> Page;

    /// About how many events all pages have, for the progress bar.
    fn total(&self, counts: &Counts) -> u64;

    /// Whether an event of a page is selected.
    fn matches(&self, summary: &EventSummary) -> bool;

    /// Why an event was not rescheduled; `None` if it was. There is no record of an event that does not exist.
    fn reason(answer: Self::Answer, record: Option<&EventRecord>) -> Option<&'static str>;

    /// Counts an answer.
    fn count(answers: &mut Self::Answers, answer: Self::Answer);

    /// How many events were rescheduled.
    fn done(answers: &Self::Answers) -> usize;

    /// How many events were refused.
    fn refused(answers: &Self::Answers) -> usize;

    /// The error if some of the named events were refused.
    fn error(kind: Kind, refused: usize, named: usize) -> CommandError;
}

/// The events that were selected.
pub(super) enum Which<'a> {
    /// The events with these ids.
    Named(&'a [String]),
    /// All events that match.
    All,
}

impl Which<'_> {
    /// The ids, for the audit log; if there are none, that the option `all` was given.
    pub(super) fn argument(ids: &[String], all: &'static str) -> (&'static str, Value) {
        if ids.is_empty() {
            (all, Value::Bool(true))
        } else {
            ("ids", ids.into())
        }
    }
}

/// The options that both commands have.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct Mode {
    #[command(flatten)]
    of: KindOption,
    /// Change nothing, and print how many events would be changed
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Mode {
    pub(super) const fn kind(&self) -> &Kind {
        &self.of.kind
    }
}

#[derive(Serialize)]
struct Report<A> {
    dry_run: bool,
    /// How many events were named or matched; in a dry run, how many would be rescheduled.
    matched: usize,
    #[serde(flatten)]
    answers: A,
}

/// A named event that was not rescheduled, or in a dry run, that would not be.
#[derive(Serialize)]
struct Unchanged<'i> {
    id: &'i str,
    reason: &'static str,
}

#[derive(Serialize)]
struct Printed<'r, A> {
    #[serde(flatten)]
    report: &'r Report<A>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unchanged: &'r [Unchanged<'r>],
}

/// A command that runs.
struct Work<'c, C: Reschedule> {
    command: &'c C,
    report: Report<C::Answers>,
    /// Begun with the first change: a command that fails before has done nothing.
    audit: Option<Audit>,
}

fn begin<C: Reschedule>(command: &C) -> Audit {
    Audit::begin(C::ACTION, command.arguments())
}

/// Runs `command`, and prints its result.
pub(super) async fn run<C: Reschedule>(
    command: &C,
    backend: &CommandBackend,
) -> Result<(), CommandError> {
    let &Mode {
        dry_run,
        json,
        ref of,
    } = command.mode();
    let mut work = Work {
        command,
        report: Report {
            dry_run,
            matched: 0,
            answers: C::Answers::default(),
        },
        audit: None,
    };
    let unchanged = match command.which() {
        Which::Named(ids) => named(ids, backend, &mut work).await?,
        Which::All => {
            all(backend, &mut work).await?;
            Vec::new()
        }
    };
    let Work { report, audit, .. } = work;
    if !dry_run {
        let audit = audit.unwrap_or_else(|| begin(command));
        let done = C::done(&report.answers) as u64;
        let target = of.kind.as_str();
        audit
            .end_in(&*backend.admin, target, Some(done), &report)
            .await;
    }
    let printed = Printed {
        report: &report,
        unchanged: &unchanged,
    };
    Output::new(json).write(&printed, |out| {
        let matched = report.matched;
        if report.dry_run {
            let verb = plural(&matched, "matches", "match");
            writeln!(out, "{matched} {verb}; none was {} (dry run)", C::DONE)?;
        } else {
            let done = C::done(&report.answers);
            writeln!(out, "{done} of {matched} {}", C::DONE)?;
        }
        for Unchanged { id, reason } in &unchanged {
            writeln!(out, "{}: {reason}", plain(id, MAX_KEY_BYTES))?;
        }
        Ok(())
    })?;
    if report.matched == 0 && matches!(command.which(), Which::All) && !json {
        say_nothing_matches(&of.kind);
    }
    match (command.which(), C::refused(&report.answers)) {
        (Which::Named(ids), refused) if refused > 0 => {
            Err(C::error(of.kind.clone(), refused, ids.len()))
        }
        _ => Ok(()),
    }
}

/// Returns those that were not rescheduled.
async fn named<'i, C: Reschedule>(
    ids: &'i [String],
    backend: &CommandBackend,
    work: &mut Work<'_, C>,
) -> Result<Vec<Unchanged<'i>>, CommandError> {
    let mut events = Vec::with_capacity(ids.len());
    let mut unchanged = Vec::new();
    let command = work.command;
    let kind = command.mode().kind();
    for id in ids {
        // Text that cannot be a key is the key of no event.
        match parse_key(kind, id) {
            Ok(key) => {
                let kind = kind.clone();
                events.push((id, EventRef { kind, key }));
            }
            Err(_) => note(id, C::NOT_FOUND, None, work, &mut unchanged),
        }
    }
    for named in events.chunks(NAMED_AT_ONCE) {
        let events: Vec<_> = named.iter().map(|(_, event)| event.clone()).collect();
        if work.report.dry_run {
            let records = backend.store.find(&events).await?;
            for (&(id, _), record) in named.iter().zip(records) {
                let refusal = match &record {
                    Some(record) => command.refusal(record),
                    None => Some(C::NOT_FOUND),
                };
                if let Some(refusal) = refusal {
                    note(id, refusal, record.as_ref(), work, &mut unchanged);
                }
            }
            continue;
        }
        let answers = apply(backend, &events, work).await?;
        let mut records = vec![None; events.len()];
        if answers.iter().any(|it| C::reason(*it, None).is_some())
            && let Ok(found) = backend.store.find(&events).await
        {
            // Without them, the reasons say less.
            records = found;
        }
        for ((&(id, _), answer), record) in named.iter().zip(answers).zip(records) {
            note(id, answer, record.as_ref(), work, &mut unchanged);
        }
    }
    let report = &mut work.report;
    report.matched = ids.len();
    if report.dry_run {
        report.matched -= unchanged.len();
    }
    Ok(unchanged)
}

/// Counts the answer for a named event, and notes why the event was not rescheduled, if it was not.
fn note<'i, C: Reschedule>(
    id: &'i str,
    answer: C::Answer,
    record: Option<&EventRecord>,
    work: &mut Work<'_, C>,
    unchanged: &mut Vec<Unchanged<'i>>,
) {
    C::count(&mut work.report.answers, answer);
    if let Some(reason) = C::reason(answer, record) {
        unchanged.push(Unchanged { id, reason });
    }
}

/// Goes through all pages, and shows the progress. An event that moves to another state is not met twice.
async fn all<C: Reschedule>(
    backend: &CommandBackend,
    work: &mut Work<'_, C>,
) -> Result<(), CommandError> {
    let command = work.command;
    let mut page = command.page();
    let counts = backend.admin.counts(&page.kind).await?;
    let bar = progress(command.total(&counts));
    loop {
        let summaries = backend.admin.list(&page).await?;
        let matching = summaries.iter().filter(|summary| command.matches(summary));
        let events: Vec<_> = matching.map(|summary| summary.event.clone()).collect();
        work.report.matched += events.len();
        if !work.report.dry_run && !events.is_empty() {
            for answer in apply(backend, &events, work).await? {
                C::count(&mut work.report.answers, answer);
            }
        }
        bar.inc(summaries.len() as u64);
        if summaries.len() < page.limit.get() {
            break;
        }
        page.after = summaries.last().map(|summary| summary.id);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn apply<C: Reschedule>(
    backend: &CommandBackend,
    events: &[EventRef],
    work: &mut Work<'_, C>,
) -> Result<Vec<C::Answer>, CommandError> {
    let command = work.command;
    work.audit.get_or_insert_with(|| begin(command));
    command.apply(backend, events).await
}
