//! [`Selection`]: which events are replayed, in the order of their numbers.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use webhook_core::{Admin, EventId, EventSummary, EventType, Kind, Page, State, StoreError};

/// How many events of a state are read at a time; each has three kilobytes at most.
const PAGE: NonZeroUsize = NonZeroUsize::new(500).expect("five hundred is not zero");

/// Which events are replayed.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) kind: Kind,
    pub(super) states: &'static [State],
    pub(super) event_type: Option<EventType>,
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
        event.accepted_at >= self.since && self.until.is_none_or(|until| event.accepted_at < until)
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
            next.after = after;
            next.event_type.clone_from(&selection.event_type);
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
        for pages in &mut self.states {
            pages.fill(self.admin).await?;
        }
        let filled = self.states.iter_mut().filter(|it| !it.events.is_empty());
        let next = filled.min_by_key(|it| it.events.front().map(|event| event.id));
        Ok(next.and_then(|pages| pages.events.pop_front()))
    }
}

impl Pages {
    async fn fill(&mut self, admin: &dyn Admin) -> Result<(), StoreError> {
        if self.is_last || !self.events.is_empty() {
            return Ok(());
        }
        let events = admin.list(&self.next).await?;
        self.is_last = events.len() < PAGE.get();
        self.next.after = events.last().map(|event| event.id).or(self.next.after);
        self.events = events.into();
        Ok(())
    }
}
