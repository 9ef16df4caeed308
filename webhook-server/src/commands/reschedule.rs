//! Runs the commands that reschedule events, `requeue` and `make-due`, on named events or on all that
//! match.

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use webhook_core::{Admin, Counts, EventRecord, EventRef, EventSummary, Kind, Page, Store};

use super::kind_option::KindOption;
use super::output::{progress, say_nothing_matches};
use super::{CommandError, Output};
use crate::audit::Audit;
use crate::backend::CommandBackend;
use crate::views::parse_key;

/// How many named events are looked up at a time. Few, because their bodies are read, too.
const NAMED_AT_ONCE: usize = 16;

/// A command that reschedules events.
pub(super) trait Reschedule {
    /// The name of the command in the log.
    const ACTION: &'static str;

    /// What it does to an event, as in "3 of 4 requeued".
    const DONE: &'static str;

    /// The answer of the database for one event.
    type Answer;

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
    match command.which() {
        Which::Named(ids) => named(ids, backend, &mut work).await?,
        Which::All => all(backend, &mut work).await?,
    }
    let Work { report, audit, .. } = work;
    if !dry_run {
        let audit = audit.unwrap_or_else(|| begin(command));
        let done = C::done(&report.answers) as u64;
        let target = of.kind.as_str();
        audit
            .end_in(&*backend.admin, target, Some(done), &report)
            .await;
    }
    Output::new(json).write(&report, |out| {
        let matched = report.matched;
        if report.dry_run {
            writeln!(out, "{matched} match; none was {} (dry run)", C::DONE)
        } else {
            let done = C::done(&report.answers);
            writeln!(out, "{done} of {matched} {}", C::DONE)
        }
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

async fn named<C: Reschedule>(
    ids: &[String],
    backend: &CommandBackend,
    work: &mut Work<'_, C>,
) -> Result<(), CommandError> {
    let mut events = Vec::with_capacity(ids.len());
    let mut refusals = Vec::new();
    let command = work.command;
    let kind = command.mode().kind();
    for id in ids {
        // Text that cannot be a key is the key of no event.
        match parse_key(kind, id) {
            Ok(key) => events.push(EventRef {
                kind: kind.clone(),
                key,
            }),
            Err(_) => refusals.push(C::NOT_FOUND),
        }
    }
    for events in events.chunks(NAMED_AT_ONCE) {
        if work.report.dry_run {
            let records = backend.store.find(events).await?;
            refusals.extend(records.into_iter().filter_map(|record| match record {
                Some(record) => command.refusal(&record),
                None => Some(C::NOT_FOUND),
            }));
        } else {
            apply(backend, events, work).await?;
        }
    }
    let report = &mut work.report;
    report.matched = ids.len();
    if report.dry_run {
        report.matched -= refusals.len();
    }
    refusals
        .into_iter()
        .for_each(|refusal| C::count(&mut report.answers, refusal));
    Ok(())
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
            apply(backend, &events, work).await?;
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
) -> Result<(), CommandError> {
    let command = work.command;
    work.audit.get_or_insert_with(|| begin(command));
    for answer in command.apply(backend, events).await? {
        C::count(&mut work.report.answers, answer);
    }
    Ok(())
}
