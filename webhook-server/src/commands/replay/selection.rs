//! [`Selection`]: which events are replayed, in the order of their numbers.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use webhook_core::{Admin, EventId, EventSummary, Kind, Page, State, StoreError};

use crate::commands::event_types::EventTypes;

/// How many events of a state are read at a time; each has three kilobytes at most.
const PAGE: NonZeroUsize = NonZeroUsize::new(500).expect("five hundred is not zero");

/// Which events are replayed.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) kind: Kind,
    pub(super) states: &'static [State],
    pub(super) event_types: Option<EventTypes>,
    pub(super) since: SystemTime,
    pub(super) until: Option<SystemTime>,
}

impl Selection {
    /// About how many events are read, for the progress.
    pub(super) async fn total(&self, admin: &dyn Admin) -> Result<u64, StoreError> {
        let counts = admin.counts(&self.kind).await?;
        let of = |state: &State| match state {
            State::Processing => counts.waiting + counts.due + counts.leased,
            State::Processed => counts.processed,
            State::Failed => counts.failed,
        };
        Ok(self.states.iter().map(of).sum())
    }

    fn has(&self, event: &EventSummary) -> bool {
        event.accepted_at >= self.since
            && self.until.is_none_or(|until| event.accepted_at < until)
            && self
                .event_types
                .as_ref()
                .is_none_or(|types| types.has(event))
    }
}

/// Finds the selected events, page by page. The pages of several states are merged, so that one number tells how
/// far it came.
pub(super) struct Found<'b> {
    admin: &'b dyn Admin,
    selection: &'b Selection,
    states: Vec<Pages>,
    last: Option<EventId>,
}

/// The events in one state.
struct Pages {
    next: Page,
    events: VecDeque<EventSummary>,
    is_last: bool,
}

impl<'b> Found<'b> {
    pub(super) fn new(
        admin: &'b dyn Admin,
        selection: &'b Selection,
        after: Option<EventId>,
    ) -> Self {
        let pages = |state: &State| {
            let mut next = Page::new(selection.kind.clone(), *state, PAGE);
            let types = selection.event_types.as_ref();
            next.event_type = types.and_then(EventTypes::only).cloned();
            Pages {
                next,
                events: VecDeque::new(),
                is_last: false,
            }
        };
        Self {
            admin,
            selection,
            states: selection.states.iter().map(pages).collect(),
            last: after,
        }
    }

    /// The next selected event, and how many were read since the one before, itself included.
    pub(super) async fn next(&mut self) -> Result<Option<(EventSummary, u64)>, StoreError> {
        let mut read = 0;
        while let Some(event) = self.read().await? {
            read += 1;
            // An event that moved to another state meanwhile comes again.
            let is_new = self.last.is_none_or(|last| event.id > last);
            self.last = self.last.max(Some(event.id));
            if is_new && self.selection.has(&event) {
                return Ok(Some((event, read)));
            }
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<Option<EventSummary>, StoreError> {
        // All pages are read together, in the order in which events pass through the states: an event that
        // moves between two reads would be in neither otherwise.
        if self.states.iter().any(Pages::is_empty) {
            for pages in &mut self.states {
                pages.read(self.admin, self.last).await?;
            }
        }
        let filled = self.states.iter_mut().filter(|it| !it.events.is_empty());
        let next = filled.min_by_key(|it| it.events.front().map(|event| event.id));
        Ok(next.and_then(|pages| pages.events.pop_front()))
    }
}

impl Pages {
    /// Whether there may be more events, and none of them has been read yet.
    fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.is_last
    }

    /// Reads the events after the one with the number `after`, instead of those that were read before.
    async fn read(&mut self, admin: &dyn Admin, after: Option<EventId>) -> Result<(), StoreError> {
        self.next.after = after;
        let events = admin.list(&self.next).await?;
        self.is_last = events.len() < PAGE.get();
        self.events = events.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use webhook_core::{EventRef, EventType, Fingerprint, Key, MockAdmin};

    use super::*;

    const KIND: Kind = Kind::from_static("a");

    /// An event that was accepted this many seconds after 1970.
    fn event(number: i64, state: State, seconds: u64) -> EventSummary {
        let event = EventRef {
            kind: KIND,
            key: Key::new(number.to_string()).unwrap(),
        };
        let accepted_at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let fingerprint = Fingerprint::of(["a"]);
        EventSummary::new(EventId::new(number), event, fingerprint, state, accepted_at)
    }

    /// A store with these events, as far as their states are listed.
    fn store(events: Vec<EventSummary>) -> MockAdmin {
        let mut admin = MockAdmin::new();
        admin.expect_list().returning(move |page| {
            let listed = events.iter().filter(|event| {
                event.state == page.state && page.after.is_none_or(|after| event.id > after)
            });
            Ok(listed.take(page.limit.get()).cloned().collect())
        });
        admin
    }

    async fn found(
        admin: &MockAdmin,
        selection: &Selection,
        after: Option<i64>,
    ) -> Vec<(i64, u64)> {
        let mut found = Found::new(admin, selection, after.map(EventId::new));
        let mut numbers = Vec::new();
        while let Some((event, read)) = found.next().await.unwrap() {
            numbers.push((event.id.get(), read));
        }
        numbers
    }

    #[tokio::test]
    async fn events_of_all_states_come_once_in_the_order_of_their_numbers() {
        use State::{Failed, Processed, Processing};
        let admin = store(vec![
            event(1, Processed, 9),
            event(2, Failed, 5),
            event(3, Processing, 6),
            // It was listed in both states, since it was processed in between.
            event(3, Processed, 6),
            event(4, Processed, 10),
            event(7, Failed, 7),
        ]);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut selection = Selection {
            kind: KIND,
            states: &[Processing, Processed, Failed],
            event_types: None,
            since: at(0),
            until: None,
        };
        assert_eq!(
            found(&admin, &selection, None).await,
            [(1, 1), (2, 1), (3, 1), (4, 2), (7, 1)]
        );
        assert_eq!(found(&admin, &selection, Some(3)).await, [(4, 1), (7, 1)]);
        (selection.since, selection.until) = (at(6), Some(at(10)));
        assert_eq!(
            found(&admin, &selection, None).await,
            [(1, 1), (3, 2), (7, 3)]
        );
        selection.states = &[Failed];
        assert_eq!(found(&admin, &selection, None).await, [(7, 2)]);
    }

    #[tokio::test]
    async fn types_are_selected_by_their_beginnings() {
        let of_type = |number, event_type| {
            let mut event = event(number, State::Failed, 1);
            event.event_type = Some(EventType::new(event_type).unwrap());
            event
        };
        let types = ["push", "push.tag", "pull", "push.*"];
        let events = (1..).zip(types).map(|(number, it)| of_type(number, it));
        let admin = store(events.chain([event(5, State::Failed, 1)]).collect());
        for (text, expected) in [
            ("push.*", &[2, 4][..]),
            ("p*", &[1, 2, 3, 4]),
            ("\"push.*\"", &[4]),
            ("x*", &[]),
        ] {
            let selection = Selection {
                kind: KIND,
                states: &[State::Failed],
                event_types: Some(text.parse().unwrap()),
                since: SystemTime::UNIX_EPOCH,
                until: None,
            };
            let found = found(&admin, &selection, None).await;
            let numbers: Vec<_> = found.into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, expected, "{text}");
        }
    }

    #[tokio::test]
    async fn pages_follow_each_other() {
        let many = i64::try_from(PAGE.get()).unwrap() * 2;
        let events = (1..=many).map(|number| event(number, State::Failed, 1));
        let admin = store(events.collect());
        let selection = Selection {
            kind: KIND,
            states: &[State::Failed],
            event_types: None,
            since: SystemTime::UNIX_EPOCH,
            until: None,
        };
        let found = found(&admin, &selection, None).await;
        assert_eq!(
            found,
            (1..=many).map(|number| (number, 1)).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn events_that_move_to_another_state_meanwhile_are_found() {
        let last = i64::try_from(PAGE.get()).unwrap() + 1;
        let is_processed = Arc::new(AtomicBool::new(false));
        let moved = Arc::clone(&is_processed);
        let mut admin = MockAdmin::new();
        admin.expect_list().returning(move |page| {
            let state = |number| match moved.load(Ordering::Relaxed) && number == last {
                true => State::Processed,
                false => State::Processing,
            };
            let events = (1..=last).map(|number| event(number, state(number), 1));
            let listed = events.filter(|event| {
                event.state == page.state && page.after.is_none_or(|after| event.id > after)
            });
            Ok(listed.take(page.limit.get()).collect())
        });
        let selection = Selection {
            kind: KIND,
            states: &[State::Processing, State::Processed],
            event_types: None,
            since: SystemTime::UNIX_EPOCH,
            until: None,
        };
        let mut found = Found::new(&admin, &selection, None);
        for number in 1..=last {
            let (event, _) = found.next().await.unwrap().unwrap();
            assert_eq!(event.id, EventId::new(number));
            // Both states have been read, the latter without an event.
            is_processed.store(true, Ordering::Relaxed);
        }
        assert!(found.next().await.unwrap().is_none());
    }
}
