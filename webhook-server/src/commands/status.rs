//! `status`: counts the events in each state.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use webhook_core::{Admin, Kind};

use super::output::{instant, say_nothing_matches};
use super::{CommandError, Output};
use crate::backend::CommandBackend;
use crate::views::{StatusReport, escape_key, parse_kind};

/// The options of `status`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Status {
    /// Only events of this kind: transaction, or the name of a source, such as stripe. Default: every kind
    /// that has events or is paused
    #[arg(long, value_parser = parse_kind)]
    kind: Option<Kind>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let mut output = Output::new(self.json);
        if let Some(kind) = &self.kind {
            let report = StatusReport::of(&*backend.admin, kind.clone()).await?;
            output.write(&report, |out| write(&report, out))?;
            if report.is_empty() && !report.paused && !self.json {
                say_nothing_matches(kind);
            }
            return Ok(());
        }
        let mut all = StatusOfAll { kinds: Vec::new() };
        // A paused kind is shown even if it has no events.
        let mut kinds = backend.admin.kinds().await?;
        kinds.extend(backend.admin.paused().await?);
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            all.kinds
                .push(StatusReport::of(&*backend.admin, kind).await?);
        }
        output.write(&all, |out| {
            if all.kinds.is_empty() {
                writeln!(out, "no events")?;
            }
            for (number, report) in all.kinds.iter().enumerate() {
                if number > 0 {
                    writeln!(out)?;
                }
                write(report, out)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[derive(Serialize)]
struct StatusOfAll {
    kinds: Vec<StatusReport>,
}

fn write(report: &StatusReport, out: &mut dyn Write) -> io::Result<()> {
    let pause = if report.paused {
        "paused until it is resumed"
    } else {
        ""
    };
    let kind = format!("{:<24} {:>12}  {pause}", "KIND", report.kind.as_str());
    writeln!(out, "{}", kind.trim_end())?;
    let lag = report.lag_seconds.map_or(String::new(), |lag| {
        format!("the oldest has been due for {lag:.1} s")
    });
    let rate = |rate: f64| format!("{rate:.1}/s in the last minute");
    let rows = [
        ("PROCESSING, not yet due", report.waiting, String::new()),
        ("PROCESSING, due", report.due, lag),
        ("PROCESSING, running", report.leased, String::new()),
        (
            "PROCESSED",
            report.processed,
            rate(report.processed_per_second),
        ),
        ("FAILED", report.failed, rate(report.failed_per_second)),
    ];
    for (state, count, more) in rows {
        writeln!(
            out,
            "{}",
            format!("{state:<24} {count:>12}  {more}").trim_end()
        )?;
    }
    if let Some(oldest) = &report.oldest {
        writeln!(
            out,
            "oldest PROCESSING event: \"{}\", received {}, attempts {}",
            escape_key(oldest.event.key.as_str()),
            instant(oldest.created_at),
            oldest.attempts,
        )?;
    }
    Ok(())
}
