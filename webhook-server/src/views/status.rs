//! The status of a kind: how many events are in each state.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use webhook_core::{Admin, Counts, EventRef, Kind, Page, State, StoreError};

use super::{EventName, as_instant};

/// The time over which rates are measured.
const MINUTE: Duration = Duration::from_secs(60);

/// The status of a kind. The counts are of one moment, the other members of a moment later.
#[derive(Serialize)]
pub(crate) struct StatusReport {
    #[serde(serialize_with = "as_text")]
    pub(crate) kind: Kind,
    /// Whether the kind is paused.
    pub(crate) paused: bool,
    pub(crate) waiting: u64,
    pub(crate) due: u64,
    pub(crate) leased: u64,
    pub(crate) processed: u64,
    pub(crate) failed: u64,
    /// How long the oldest event has been due that nobody has claimed.
    pub(crate) lag_seconds: Option<f64>,
    /// The PROCESSING event that was accepted first.
    pub(crate) oldest: Option<Oldest>,
    pub(crate) processed_per_second: f64,
    pub(crate) failed_per_second: f64,
}

#[derive(Serialize)]
pub(crate) struct Oldest {
    #[serde(flatten, serialize_with = "as_name")]
    pub(crate) event: EventRef,
    #[serde(serialize_with = "as_instant")]
    pub(crate) created_at: SystemTime,
    pub(crate) attempts: u32,
}

impl StatusReport {
    /// Whether there are no events of the kind.
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting + self.due + self.leased + self.processed + self.failed == 0
    }

    /// Reads the status of `kind`.
    pub(crate) async fn of(operator: &dyn Admin, kind: Kind) -> Result<Self, StoreError> {
        let Counts {
            waiting,
            due,
            leased,
            processed,
            failed,
            ..
        } = operator.counts(&kind).await?;
        let paused = operator.paused().await?.contains(&kind);
        let lag = operator.lag(&kind).await?;
        let settled = operator.settled(&kind, MINUTE).await?;
        let first = Page::new(kind.clone(), State::Processing, NonZeroUsize::MIN);
        let oldest = operator.list(&first).await?.pop().map(|record| Oldest {
            event: record.event,
            created_at: record.accepted_at,
            attempts: record.attempts,
        });
        #[expect(
            clippy::cast_precision_loss,
            reason = "nobody settles 2^52 in a minute"
        )]
        let rate = |count: u64| count as f64 / MINUTE.as_secs_f64();
        Ok(Self {
            kind,
            paused,
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

fn as_text<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

fn as_name<S: Serializer>(event: &EventRef, serializer: S) -> Result<S::Ok, S::Error> {
    EventName::of(&event.kind, &event.key).serialize(serializer)
}
