//! How many transactions stand where, written.

use std::io::{self, Write};

use clap::Args;
use webhook_postgres::PgStore;

use super::output::instant;
use super::{OperateError, Output};
use crate::shown::{StatusReport, shown_id};

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Status {
    /// Write one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(&self, database: &PgStore) -> Result<(), OperateError> {
        let report = StatusReport::of(database).await?;
        Output::new(self.json).write(&report, |out| write(&report, out))?;
        Ok(())
    }
}

fn write(report: &StatusReport, out: &mut dyn Write) -> io::Result<()> {
    let lag = report.lag_seconds.map_or(String::new(), |lag| {
        format!("the oldest has been for {lag:.1} s")
    });
    let rate = |rate: f64| format!("{rate:.1}/s in the last minute");
    let rows = [
        ("PROCESSING, not yet due", report.waiting, String::new()),
        ("PROCESSING, due", report.due, lag),
        ("PROCESSING, under way", report.leased, String::new()),
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
            "the oldest still PROCESSING is \"{}\", received {}, attempts {}",
            shown_id(&oldest.transaction_id),
            instant(oldest.created_at),
            oldest.attempts,
        )?;
    }
    Ok(())
}
