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

/// How many hours the numbers of a group are of.
const HOURS: usize = 24;

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
        let hour = event.settled_at.and_then(|at| hour(at.age_seconds()));
        match groups.get_mut(*index) {
            Some(group) => {
                group.count += 1;
                if let Some(hour) = hour {
                    group.last_24_hours[hour] += 1;
                }
                group.first_failed_at = group.first_failed_at.min(event.settled_at);
                if group.last_failed_at < event.settled_at {
                    group.last_failed_at = event.settled_at;
                    group.sample = event;
                }
            }
            None => {
                let destination = destinations.iter().find(|it| it.source == event.source);
                let mut last_24_hours = vec![0; HOURS];
                if let Some(hour) = hour {
                    last_24_hours[hour] = 1;
                }
                groups.push(FailureGroup {
                    source: event.source.clone(),
                    destination: destination.map(|it| it.url.clone()),
                    reason,
                    count: 1,
                    first_failed_at: event.settled_at,
                    last_failed_at: event.settled_at,
                    last_24_hours,
                    sample: event,
                });
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.last_failed_at));
    Ok(Failures {
        groups,
        examined,
        more: page.next_before.is_some() && !page.stopped_early,
        stopped_early: page.stopped_early,
    })
}

/// The index of the hour that was `age` seconds ago. The clock of the store may be ahead.
fn hour(age: f64) -> Option<usize> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts of floats saturate"
    )]
    let ago = (age.max(0.0) / 3600.0) as usize;
    (HOURS - 1).checked_sub(ago)
}

/// What stands before the status of an answer in a reason.
const BEFORE_STATUS: &str = "answered ";

/// The reason with `#` for each number, so that reasons that differ only in numbers are the same. The status of an
/// answer stays: 404 and 503 have different causes.
pub(crate) fn without_numbers(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit());
        let (number, after) = from.split_at(end.unwrap_or(from.len()));
        text.push_str(before);
        if number.len() == 3 && before.ends_with(BEFORE_STATUS) {
            text.push_str(number);
        } else if !text.ends_with('#') {
            text.push('#');
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_numbers_are_the_same() {
        for (reason, group) in [
            ("answered 503 after 12 ms", "answered 503 after # ms"),
            ("answered 404 after 1,204 ms", "answered 404 after #,# ms"),
            ("answered 5031", "answered #"),
            (
                "answered 429, to be tried again in 90s",
                "answered 429, to be tried again in #s",
            ),
            ("timed out after 15s", "timed out after #s"),
            ("no numbers", "no numbers"),
            ("", ""),
            ("#1", "#"),
        ] {
            assert_eq!(without_numbers(reason), group);
        }
    }

    #[test]
    fn hours_are_those_of_the_last_day() {
        for (age, index) in [
            (-5.0, Some(23)),
            (0.0, Some(23)),
            (3_599.0, Some(23)),
            (3_600.0, Some(22)),
            (86_399.0, Some(0)),
            (86_400.0, None),
            (f64::MAX, None),
        ] {
            assert_eq!(hour(age), index, "{age}");
        }
    }
}
