//! Failures, grouped by their reasons.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use webhook_core::{Kind, State};

use super::events::{events, visible};
use crate::access::Caller;
use crate::filter::Filter;
use crate::model::{FailureGroup, Failures};
use crate::{Problem, Ui};

/// How many FAILED events are examined.
const MAX_EXAMINED: NonZeroUsize = NonZeroUsize::new(10_000).expect("ten thousand is not zero");

/// Groups the newest FAILED events, of one source or of all, by source and reason.
pub(crate) async fn failures(
    ui: &Ui,
    caller: &Caller,
    source: Option<&Kind>,
) -> Result<Failures, Problem> {
    let filter = Filter {
        source: source.cloned(),
        state: Some(State::Failed),
        ..Filter::default()
    };
    let filter = visible(caller, &filter)?;
    let page = events(ui, caller, &filter, None, MAX_EXAMINED).await?;
    let destinations = ui.instance().destinations();
    let examined = page.events.len() as u64;
    let mut indexes = HashMap::new();
    let mut groups: Vec<FailureGroup> = Vec::new();
    for event in page.events {
        let reason = without_numbers(event.error.as_deref().unwrap_or_default());
        let index = indexes
            .entry((event.source.clone(), reason.clone()))
            .or_insert(groups.len());
        match groups.get_mut(*index) {
            Some(group) => {
                group.count += 1;
                group.first_failed_at = group.first_failed_at.min(event.settled_at);
                if group.last_failed_at < event.settled_at {
                    group.last_failed_at = event.settled_at;
                    group.sample = event;
                }
            }
            None => {
                let destination = destinations.iter().find(|it| it.source == event.source);
                groups.push(FailureGroup {
                    source: event.source.clone(),
                    destination: destination.map(|it| it.url.clone()),
                    reason,
                    count: 1,
                    first_failed_at: event.settled_at,
                    last_failed_at: event.settled_at,
                    sample: event,
                });
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.last_failed_at));
    Ok(Failures {
        groups,
        examined,
        more: page.next_before.is_some() || page.stopped_early,
    })
}

/// The reason with `#` for each number, so that reasons that differ only in numbers are the same.
pub(crate) fn without_numbers(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    for c in reason.chars() {
        if !c.is_ascii_digit() {
            text.push(c);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
    text
}
