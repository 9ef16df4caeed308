//! Failed transactions, once more.

use std::time::SystemTime;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Serialize;
use webhook_core::{EventRef, EventSummary, Operator, Page, Requeued, State, Store};
use webhook_postgres::PgStore;

use super::list::PAGE;
use super::named::{self, NAMED_AT_ONCE};
use super::{OperateError, Output, pages};
use crate::audit::Audit;
use crate::shown::kind;

/// Which ones.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "all_failed"])))]
pub struct Requeue {
    /// The ids of those to process again
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that are FAILED and match the following options
    #[arg(long)]
    all_failed: bool,
    /// Only those whose reason contains this text
    #[arg(long, value_name = "TEXT", conflicts_with = "ids")]
    reason: Option<String>,
    /// Only those that failed at this time or later, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    failed_after: Option<Timestamp>,
    /// Only those that failed before this time
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    failed_before: Option<Timestamp>,
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
    requeued: usize,
    /// Named, but in another state; or requeued by somebody else meanwhile.
    not_failed: usize,
    not_found: usize,
}

impl Requeue {
    pub(super) async fn run(&self, database: &PgStore) -> Result<(), OperateError> {
        let audit = (!self.dry_run).then(|| Audit::begin("requeue", self));
        let mut report = Report {
            dry_run: self.dry_run,
            ..Report::default()
        };
        if self.all_failed {
            self.all_failed(database, &mut report).await?;
        } else {
            self.named(database, &mut report).await?;
        }
        if let Some(audit) = audit {
            audit.end(&report);
        }
        Output::new(self.json).write(&report, |out| {
            let Report {
                matched, requeued, ..
            } = report;
            if self.dry_run {
                writeln!(out, "{matched} match; none was requeued (dry run)")
            } else {
                writeln!(out, "{requeued} of {matched} requeued")
            }
        })?;
        let refused = report.not_failed + report.not_found;
        if refused > 0 && !self.all_failed {
            return Err(OperateError::NotRequeued {
                refused,
                named: report.matched,
            });
        }
        Ok(())
    }

    async fn named(&self, database: &PgStore, report: &mut Report) -> Result<(), OperateError> {
        let events = named::events(&self.ids);
        report.matched = self.ids.len();
        report.not_found = self.ids.len() - events.len();
        for events in events.chunks(NAMED_AT_ONCE) {
            if !self.dry_run {
                self.requeue(database, events, report).await?;
                continue;
            }
            for record in database.find(events).await? {
                match record.map(|record| record.state) {
                    Some(State::Failed) => {}
                    Some(_) => report.not_failed += 1,
                    None => report.not_found += 1,
                }
            }
        }
        if self.dry_run {
            report.matched -= report.not_failed + report.not_found;
        }
        Ok(())
    }

    async fn all_failed(
        &self,
        database: &PgStore,
        report: &mut Report,
    ) -> Result<(), OperateError> {
        let total = database.counts(&kind()).await?.failed;
        let page = Page {
            kind: kind(),
            state: State::Failed,
            after: None,
            held_for_over: None,
            limit: PAGE,
        };
        pages::each(database, page, total, async |records| {
            let matching = records.iter().filter(|record| self.matches(record));
            let events: Vec<_> = matching.map(|record| record.event.clone()).collect();
            report.matched += events.len();
            if self.dry_run {
                return Ok(());
            }
            self.requeue(database, &events, report).await
        })
        .await
    }

    fn matches(&self, record: &EventSummary) -> bool {
        let reason = record.reason.as_deref().unwrap_or("");
        let failed_at = record.settled_at;
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

    async fn requeue(
        &self,
        database: &PgStore,
        events: &[EventRef],
        report: &mut Report,
    ) -> Result<(), OperateError> {
        for answer in database.requeue(events).await? {
            *match answer {
                Requeued::Applied => &mut report.requeued,
                Requeued::NotFailed => &mut report.not_failed,
                Requeued::NotFound => &mut report.not_found,
            } += 1;
        }
        Ok(())
    }
}
