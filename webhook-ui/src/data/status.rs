//! How many events of each source are in each state, counted now.

use std::num::NonZeroUsize;
use std::time::Duration;

use webhook_core::{Counts, Kind, Page, State};

use crate::access::Caller;
use crate::model::{OldestEvent, Status};
use crate::{Problem, Ui};

/// The time over which rates are measured.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts the events of `source`, or those of each source that has events. The names are those of all sources that are
/// paused. It takes as long as they are many: the
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
        statuses.push(of_source(ui, source, is_paused).await?);
    }
    let mut paused: Vec<_> = paused
        .iter()
        .filter(|it| caller.sees(it))
        .map(Kind::to_string)
        .collect();
    paused.sort_unstable();
    Ok((statuses, paused))
}

async fn of_source(ui: &Ui, source: Kind, paused: bool) -> Result<Status, Problem> {
    let Counts {
        waiting,
        due,
        leased,
        processed,
        failed,
        ..
    } = ui.admin().counts(&source).await?;
    let lag = ui.admin().lag(&source).await?;
    let settled = ui.admin().settled(&source, MINUTE).await?;
    let first = Page::new(source.clone(), State::Processing, NonZeroUsize::MIN);
    let oldest = ui.admin().list(&first).await?.pop();
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody settles 2^52 in a minute"
    )]
    let rate = |count: u64| count as f64 / MINUTE.as_secs_f64();
    Ok(Status {
        source: source.to_string(),
        paused,
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
