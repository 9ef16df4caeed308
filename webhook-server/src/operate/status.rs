//! How many transactions stand where.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use webhook_core::{Counts, Operator, Page, State};
use webhook_postgres::PgStore;

use super::output::instant;
use super::{OperateError, Output, kind};
use crate::shown::as_instant;

/// How long "of late" is.
const MINUTE: Duration = Duration::from_secs(60);

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Status {
    /// Write one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Counts are of one moment, the rest of a moment later.
#[derive(Serialize)]
struct Report {
    kind: &'static str,
    waiting: u64,
    due: u64,
    leased: u64,
    processed: u64,
    failed: u64,
    /// The age of the oldest event that is due and held by nobody.
    lag_seconds: Option<f64>,
    /// Those accepted first among those PROCESSING.
    oldest: Option<Oldest>,
    processed_per_second: f64,
    failed_per_second: f64,
}

#[derive(Serialize)]
struct Oldest {
    transaction_id: String,
    #[serde(serialize_with = "as_instant")]
    created_at: SystemTime,
    attempts: u32,
}

impl Status {
    pub(super) async fn run(&self, database: &PgStore) -> Result<(), OperateError> {
        let kind = kind();
        let Counts {
            waiting,
            due,
            leased,
            processed,
            failed,
        } = database.counts(&kind).await?;
        let lag = database.lag(&kind).await?;
        let settled = database.settled(&kind, MINUTE).await?;
        let first = Page {
            kind: kind.clone(),
            state: State::Processing,
            after: None,
            limit: NonZeroUsize::MIN,
        };
        let oldest = database.list(&first).await?.pop().map(|record| Oldest {
            transaction_id: record.envelope.key.as_str().to_owned(),
            created_at: record.accepted_at,
            attempts: record.attempts,
        });
        #[expect(
            clippy::cast_precision_loss,
            reason = "nobody settles 2^52 in a minute"
        )]
        let rate = |count: u64| count as f64 / MINUTE.as_secs_f64();
        let report = Report {
            kind: "transaction",
            waiting,
            due,
            leased,
            processed,
            failed,
            lag_seconds: lag.map(|lag| lag.as_secs_f64()),
            oldest,
            processed_per_second: rate(settled.processed),
            failed_per_second: rate(settled.failed),
        };
        Output::new(self.json).write(&report, |out| report.write(out))?;
        Ok(())
    }
}

impl Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let lag = self.lag_seconds.map_or(String::new(), |lag| {
            format!("the oldest has been for {lag:.1} s")
        });
        let rate = |rate: f64| format!("{rate:.1}/s in the last minute");
        let rows = [
            ("PROCESSING, not yet due", self.waiting, String::new()),
            ("PROCESSING, due", self.due, lag),
            ("PROCESSING, under way", self.leased, String::new()),
            ("PROCESSED", self.processed, rate(self.processed_per_second)),
            ("FAILED", self.failed, rate(self.failed_per_second)),
        ];
        for (state, count, more) in rows {
            writeln!(
                out,
                "{}",
                format!("{state:<24} {count:>12}  {more}").trim_end()
            )?;
        }
        if let Some(oldest) = &self.oldest {
            writeln!(
                out,
                "the oldest still PROCESSING is {:?}, received {}, attempts {}",
                oldest.transaction_id,
                instant(oldest.created_at),
                oldest.attempts,
            )?;
        }
        Ok(())
    }
}
