//! `list`: lists the events in one state.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use webhook_core::{Admin, EventId, EventSummary, EventType, FailureReason, Page, State};

use super::event_types::{self, EventTypes};
use super::kind_option::KindOption;
use super::output::{instant, plain, say_nothing_matches};
use super::{CommandError, Output};
use crate::backend::CommandBackend;
use crate::views::{EventSummaryView, escape_key, noun, transaction_kind};

/// How many events are read at a time; each has three kilobytes at most.
pub(super) const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).expect("a thousand is not zero");

/// The options of `list`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct List {
    #[command(flatten)]
    of: KindOption,
    /// State of the events
    #[arg(long, value_enum, ignore_case = true, default_value = "failed")]
    state: ListedState,
    #[arg(long = "type", value_name = "TYPE", help = event_types::HELP)]
    event_types: Option<EventTypes>,
    /// Most events to list
    #[arg(long, value_name = "COUNT", default_value = "100")]
    limit: NonZeroUsize,
    /// Only events after the one with this number, which is the first column of the table
    #[arg(long, value_name = "NUMBER")]
    after: Option<i64>,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

/// A state, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListedState {
    /// Waiting, due or being processed
    Processing,
    /// Processed successfully
    Processed,
    /// Failed for good
    Failed,
}

impl ListedState {
    /// The name of the second time column.
    fn time_column(self) -> &'static str {
        match self {
            Self::Processing => "DUE",
            Self::Processed => "PROCESSED",
            Self::Failed => "FAILED",
        }
    }
}

impl From<ListedState> for State {
    fn from(state: ListedState) -> Self {
        match state {
            ListedState::Processing => Self::Processing,
            ListedState::Processed => Self::Processed,
            ListedState::Failed => Self::Failed,
        }
    }
}

impl List {
    pub(super) async fn run(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let mut output = Output::new(self.json);
        let mut page = Page::new(self.of.kind.clone(), self.state.into(), PAGE);
        page.after = self.after.map(EventId::new);
        page.event_type = self
            .event_types
            .as_ref()
            .and_then(EventTypes::only)
            .cloned();
        // A store is asked for one event type, or for all.
        let is_filtered = self.event_types.is_some() && page.event_type.is_none();
        let mut left = self.limit.get();
        let mut is_first = true;
        while let Some(limit) = NonZeroUsize::new(left.min(PAGE.get())) {
            page.limit = if is_filtered { PAGE } else { limit };
            let records = backend.admin.list(&page).await?;
            let listed = records.iter().filter(|it| {
                let types = self.event_types.as_ref();
                types.is_none_or(|types| types.has(it))
            });
            for record in listed.take(left) {
                left -= 1;
                output.write(&EventSummaryView::of(record), |out| {
                    if is_first {
                        writeln!(
                            out,
                            "{:>10}  {:<20}  {:<20}  {:>8}  {}{:<32}  REASON",
                            "NUMBER",
                            "RECEIVED",
                            self.state.time_column(),
                            "ATTEMPTS",
                            self.type_column("TYPE"),
                            noun(&self.of.kind).to_uppercase()
                        )?;
                    }
                    let row = format!(
                        "{:>10}  {:<20}  {:<20}  {:>8}  {}{:<32}  {}",
                        record.id.get(),
                        instant(record.accepted_at),
                        record
                            .settled_at
                            .or(record.due_at)
                            .map_or_else(String::new, instant),
                        record.attempts,
                        self.type_column(&event_type(record)),
                        escape_key(record.event.key.as_str()),
                        plain(
                            record.reason.as_ref().map_or("", FailureReason::as_str),
                            120
                        ),
                    );
                    writeln!(out, "{}", row.trim_end())
                })?;
                is_first = false;
            }
            page.after = records.last().map(|record| record.id).or(page.after);
            if records.len() < page.limit.get() {
                break;
            }
        }
        if is_first && !self.json {
            say_nothing_matches(&self.of.kind);
        }
        Ok(())
    }

    /// Transactions have no event types.
    fn type_column(&self, text: &str) -> String {
        if self.of.kind == transaction_kind() {
            String::new()
        } else {
            format!("{text:<32}  ")
        }
    }
}

fn event_type(event: &EventSummary) -> String {
    let event_type = event.event_type.as_ref().map_or("", EventType::as_str);
    plain(event_type, 120)
}
