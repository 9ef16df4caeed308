//! Transactions that wait, made due now.

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args};
use serde::Serialize;
use webhook_core::{EventRecord, EventRef, MadeDue, Operator, Page, RunningLeases, State, Store};
use webhook_postgres::PgStore;

use super::list::PAGE;
use super::named::{self, NAMED_AT_ONCE};
use super::{OperateError, Output, pages};
use crate::audit::Audit;
use crate::config::age;
use crate::shown::kind;

/// Which ones.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "all"])))]
pub struct MakeDue {
    /// The ids of those to make due, as they are or as the other commands show them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that wait and match the following option
    #[arg(long)]
    all: bool,
    /// Only those that fall due, or (with --leased) whose lease ends, later than this from now by the
    /// database's clock, such as 1h
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "ids")]
    due_in_more_than: Option<Duration>,
    /// Also end the leases of those that a worker holds. Only for leases whose worker is gone: a
    /// worker that is alive may run the same transaction beside the next one
    #[arg(long)]
    leased: bool,
    /// Change nothing, and tell how many it would be
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON object instead of a line of text
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    dry_run: bool,
    /// How many were named, or matched.
    matched: usize,
    made_due: usize,
    already_due: usize,
    /// Held by a worker, and left alone.
    leased: usize,
    /// PROCESSED or FAILED.
    settled: usize,
    not_found: usize,
}

impl Report {
    fn count(&mut self, answer: MadeDue) {
        *match answer {
            MadeDue::Applied => &mut self.made_due,
            MadeDue::AlreadyDue => &mut self.already_due,
            MadeDue::Leased => &mut self.leased,
            MadeDue::Settled => &mut self.settled,
            MadeDue::NotFound => &mut self.not_found,
        } += 1;
    }
}

impl MakeDue {
    pub(super) async fn run(&self, database: &PgStore) -> Result<(), OperateError> {
        let audit = (!self.dry_run).then(|| Audit::begin("make-due", self));
        let mut report = Report {
            dry_run: self.dry_run,
            ..Report::default()
        };
        if self.all {
            self.all(database, &mut report).await?;
        } else {
            self.named(database, &mut report).await?;
        }
        if let Some(audit) = audit {
            audit.end(&report);
        }
        Output::new(self.json).write(&report, |out| {
            let Report {
                matched, made_due, ..
            } = report;
            if self.dry_run {
                writeln!(out, "{matched} match; none was made due (dry run)")
            } else {
                writeln!(out, "{made_due} of {matched} made due")
            }
        })?;
        let refused = report.leased + report.settled + report.not_found;
        if refused > 0 && !self.all {
            return Err(OperateError::NotMadeDue {
                refused,
                named: self.ids.len(),
            });
        }
        Ok(())
    }

    fn leases(&self) -> RunningLeases {
        if self.leased {
            RunningLeases::End
        } else {
            RunningLeases::Keep
        }
    }

    async fn named(&self, database: &PgStore, report: &mut Report) -> Result<(), OperateError> {
        let events = named::events(&self.ids);
        report.matched = self.ids.len();
        report.not_found = self.ids.len() - events.len();
        for events in events.chunks(NAMED_AT_ONCE) {
            if !self.dry_run {
                self.make_due(database, events, report).await?;
                continue;
            }
            for record in database.find(events).await? {
                match record {
                    None => report.not_found += 1,
                    Some(record) if record.state != State::Processing => report.settled += 1,
                    Some(record) if record.leased_until.is_some() && !self.leased => {
                        report.leased += 1;
                    }
                    Some(record) if is_due(&record) => report.already_due += 1,
                    Some(_) => {}
                }
            }
        }
        if self.dry_run {
            let others = report.already_due + report.leased + report.settled + report.not_found;
            report.matched -= others;
        }
        Ok(())
    }

    async fn all(&self, database: &PgStore, report: &mut Report) -> Result<(), OperateError> {
        let counts = database.counts(&kind()).await?;
        let page = Page {
            kind: kind(),
            state: State::Processing,
            after: None,
            held_for_over: Some(self.due_in_more_than.unwrap_or_default()),
            limit: PAGE,
        };
        let total = counts.waiting + counts.leased;
        pages::each(database, page, total, async |records| {
            let matching = records
                .iter()
                .filter(|record| self.leased || record.leased_until.is_none());
            let events: Vec<_> = matching.map(|record| record.event.clone()).collect();
            report.matched += events.len();
            if self.dry_run {
                return Ok(());
            }
            self.make_due(database, &events, report).await
        })
        .await
    }

    async fn make_due(
        &self,
        database: &PgStore,
        events: &[EventRef],
        report: &mut Report,
    ) -> Result<(), OperateError> {
        let answers = database.make_due(events, self.leases()).await?;
        answers.into_iter().for_each(|answer| report.count(answer));
        Ok(())
    }
}

/// Whether it seems due, by this machine's clock: a dry run changes nothing, and may be wrong where
/// the database's clock differs.
fn is_due(record: &EventRecord) -> bool {
    let due = record
        .due_at
        .is_some_and(|due_at| due_at <= SystemTime::now());
    due && record.leased_until.is_none()
}
