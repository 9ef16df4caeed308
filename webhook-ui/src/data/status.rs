//! How many events of each source are in each state, counted exactly.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use webhook_core::{Counts, Kind, Page, State};

use crate::access::Caller;
use crate::model::{OldestEvent, Status, Time};
use crate::{Problem, Ui};

/// The time over which rates are measured.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts are kept for as many times as long as it took to count them, so that whoever asks all the time uses no more
/// than a small part of the store.
const KEPT_TIMES: u32 = 20;

/// How long counts are kept at most.
const LONGEST_KEPT: Duration = Duration::from_secs(60);

/// The counts of how many sources are kept.
const MAX_KEPT: usize = 1_000;

/// The latest counts of each source. A [`Ui`] counts one source at a time.
#[derive(Debug)]
pub(crate) struct LatestCounts {
    turn: Semaphore,
    latest: Mutex<HashMap<Kind, Counted>>,
}

#[derive(Clone, Debug)]
struct Counted {
    status: Status,
    until: Instant,
}

impl Default for LatestCounts {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            latest: Mutex::default(),
        }
    }
}

impl LatestCounts {
    /// The counts of a source, if they are not too old.
    fn of(&self, source: &Kind) -> Option<Status> {
        let latest = self.latest();
        let counted = latest.get(source)?;
        (Instant::now() < counted.until).then(|| counted.status.clone())
    }

    fn keep(&self, source: Kind, status: Status, took: Duration) {
        let until = Instant::now() + took.saturating_mul(KEPT_TIMES).min(LONGEST_KEPT);
        let mut latest = self.latest();
        if latest.len() >= MAX_KEPT {
            latest.clear();
        }
        latest.insert(source, Counted { status, until });
    }

    fn latest(&self) -> MutexGuard<'_, HashMap<Kind, Counted>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the events of `source`, or those of each source that has events. The names are those of all sources that are
/// paused. It takes as long as they are many, unless they were counted a short time ago: the
/// [overview](super::overview) does not.
pub(crate) async fn status(
    ui: &Ui,
    caller: &Caller,
    source: Option<&Kind>,
) -> Result<(Vec<Status>, Vec<String>), Problem> {
    let sources = match (source, &caller.source) {
        (Some(source), _) if !caller.sees(source) => return Err(Problem::no_such_source()),
        (Some(source), _) | (None, Some(source)) => vec![source.clone()],
        (None, None) => ui.admin().kinds().await?,
    };
    let paused = ui.admin().paused().await?;
    let mut statuses = Vec::with_capacity(sources.len());
    for source in sources {
        let is_paused = paused.contains(&source);
        let status = counted(ui, source).await?;
        statuses.push(Status {
            paused: is_paused,
            ..status
        });
    }
    let mut paused: Vec<_> = paused
        .iter()
        .filter(|it| caller.sees(it))
        .map(Kind::to_string)
        .collect();
    paused.sort_unstable();
    Ok((statuses, paused))
}

/// The counts of a source: the latest ones, unless they are too old.
async fn counted(ui: &Ui, source: Kind) -> Result<Status, Problem> {
    let counts = ui.latest_counts();
    if let Some(status) = counts.of(&source) {
        return Ok(status);
    }
    // Nobody closes it, so this is no error.
    let _turn = counts.turn.acquire().await;
    if let Some(status) = counts.of(&source) {
        return Ok(status);
    }
    let began = Instant::now();
    let status = count(ui, &source).await?;
    counts.keep(source, status.clone(), began.elapsed());
    Ok(status)
}

async fn count(ui: &Ui, source: &Kind) -> Result<Status, Problem> {
    let Counts {
        waiting,
        due,
        leased,
        processed,
        failed,
        ..
    } = ui.admin().counts(source).await?;
    let lag = ui.admin().lag(source).await?;
    let settled = ui.admin().settled(source, MINUTE).await?;
    let first = Page::new(source.clone(), State::Processing, NonZeroUsize::MIN);
    let oldest = ui.admin().list(&first).await?.pop();
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody settles 2^52 in a minute"
    )]
    let rate = |count: u64| count as f64 / MINUTE.as_secs_f64();
    Ok(Status {
        source: source.to_string(),
        paused: false,
        counted_at: Time::now(),
        waiting,
        due,
        leased,
        processed,
        failed,
        oldest_due_age_seconds: lag.map(|lag| lag.as_secs_f64()),
        oldest: oldest.map(|event| OldestEvent {
            key: event.event.key.to_string(),
            received_at: event.accepted_at.into(),
            attempts: event.attempts,
        }),
        processed_per_second: rate(settled.processed),
        failed_per_second: rate(settled.failed),
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn status() -> Status {
        Status {
            source: "shop".to_owned(),
            paused: false,
            counted_at: Time::now(),
            waiting: 0,
            due: 0,
            leased: 0,
            processed: 0,
            failed: 0,
            oldest_due_age_seconds: None,
            oldest: None,
            processed_per_second: 0.0,
            failed_per_second: 0.0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_kept_for_longer_if_it_took_longer_to_count() {
        const SECOND: Duration = Duration::from_secs(1);
        let shop = Kind::from_static("shop");
        let counts = LatestCounts::default();
        for (took, kept) in [
            (Duration::ZERO, Duration::ZERO),
            (SECOND, 20 * SECOND),
            (60 * SECOND, 60 * SECOND),
        ] {
            counts.keep(shop.clone(), status(), took);
            assert_eq!(counts.of(&shop).is_some(), !kept.is_zero());
            advance(kept.saturating_sub(SECOND)).await;
            assert_eq!(counts.of(&shop).is_some(), !kept.is_zero(), "{took:?}");
            advance(SECOND).await;
            assert!(counts.of(&shop).is_none(), "{took:?}");
        }
    }
}
