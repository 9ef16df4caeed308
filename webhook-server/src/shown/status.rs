//! How many transactions stand where.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use webhook_core::{Counts, Error, Operator, Page, State};

use super::{as_instant, kind};

/// How long "of late" is.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts are of one moment, the rest of a moment later.
#[derive(Serialize)]
pub(crate) struct StatusReport {
    kind: &'static str,
    pub(crate) waiting: u64,
    pub(crate) due: u64,
    pub(crate) leased: u64,
    pub(crate) processed: u64,
    pub(crate) failed: u64,
    /// The age of the oldest event that is due and held by nobody.
    pub(crate) lag_seconds: Option<f64>,
    /// Those accepted first among those PROCESSING.
    pub(crate) oldest: Option<Oldest>,
    pub(crate) processed_per_second: f64,
    pub(crate) failed_per_second: f64,
}

#[derive(Serialize)]
pub(crate) struct Oldest {
    pub(crate) transaction_id: String,
    #[serde(serialize_with = "as_instant")]
    pub(crate) created_at: SystemTime,
    pub(crate) attempts: u32,
}

impl StatusReport {
    pub(crate) async fn of(operator: &dyn Operator) -> Result<Self, Error> {
        let kind = kind();
        let Counts {
            waiting,
            due,
            leased,
            processed,
            failed,
        } = operator.counts(&kind).await?;
        let lag = operator.lag(&kind).await?;
        let settled = operator.settled(&kind, MINUTE).await?;
        let first = Page {
            kind,
            state: State::Processing,
            after: None,
            held_for_over: None,
            limit: NonZeroUsize::MIN,
        };
        let oldest = operator.list(&first).await?.pop().map(|record| Oldest {
            transaction_id: record.event.key.as_str().to_owned(),
            created_at: record.accepted_at,
            attempts: record.attempts,
        });
        #[expect(
            clippy::cast_precision_loss,
            reason = "nobody settles 2^52 in a minute"
        )]
        let rate = |count: u64| count as f64 / MINUTE.as_secs_f64();
        Ok(Self {
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
        })
    }
}
