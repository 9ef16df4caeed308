//! The operations of [`Admin`](webhook_core::Admin).

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use webhook_core::{
    ActionId, ActionPage, ActionRecord, ConflictRecord, Counts, DeleteBodies, Deleted, Erased,
    EventId, EventRef, EventSummary, FailedAttempt, Kind, KindSample, MadeDue, Page, Prune,
    Requeued, RunningLeases, Search, SearchStep, SettledCounts, State, StoredAction, TerminalState,
};

use crate::clock::Clock;
use crate::event::Stage;
use crate::state;

/// How many audit records are kept at most: each has up to 7 KiB, and they are lost with the process anyway.
pub(crate) const MAX_ACTIONS: usize = 10_000;

impl state::State {
    pub(crate) fn counts(&mut self, kind: &Kind, now: Duration) -> Counts {
        let Some(number) = self.number(kind) else {
            return Counts::default();
        };
        self.expire(number, now);
        let queue = &self.queues[number];
        let due = queue
            .pending
            .range(..=(now, EventId::new(i64::MAX)))
            .count();
        Counts::default()
            .with_waiting((queue.pending.len() - due) as u64)
            .with_due(due as u64)
            .with_leased(queue.leased.len() as u64)
            .with_processed(queue.processed_len() as u64)
            .with_failed(queue.failed_len() as u64)
    }

    pub(crate) fn lag(&mut self, kind: &Kind, now: Duration) -> Option<Duration> {
        let number = self.number(kind)?;
        self.expire(number, now);
        let (due_at, _) = self.queues[number].pending.first()?;
        now.checked_sub(*due_at)
    }

    pub(crate) fn settled(&self, kind: &Kind, within: Duration, now: Duration) -> SettledCounts {
        let Some(number) = self.number(kind) else {
            return SettledCounts::default();
        };
        let queue = &self.queues[number];
        let since = now.saturating_sub(within);
        let recent = |settled: &VecDeque<(Duration, EventId)>| {
            let before = settled.partition_point(|(at, _)| *at < since);
            (settled.len() - before) as u64
        };
        let failed = [&queue.failed, &queue.failed_without_bodies];
        let first = (since, EventId::new(i64::MIN));
        let failed: usize = failed.iter().map(|it| it.range(first..).count()).sum();
        SettledCounts::default()
            .with_processed(recent(&queue.processed) + recent(&queue.without_bodies))
            .with_failed(failed as u64)
    }

    pub(crate) fn list(&self, page: &Page, clock: &Clock, now: Duration) -> Vec<EventSummary> {
        let Some(number) = self.number(&page.kind) else {
            return Vec::new();
        };
        let from = page.after.map_or(Bound::Unbounded, Bound::Excluded);
        let events = self.events.range((from, Bound::Unbounded));
        let listed = events
            .filter(|(_, event)| event.queue == number && event.state() == page.state)
            .filter(|(_, event)| page.event_type.is_none() || event.event_type == page.event_type)
            .filter(|(_, event)| {
                page.held_for_over
                    .is_none_or(|over| event.claimable_in(now).is_some_and(|wait| wait > over))
            })
            .take(page.limit.get());
        listed
            .map(|(id, event)| event.record(*id, &page.kind, clock, now).summary())
            .collect()
    }

    /// Examines the events of one step of a search. Returns how many they are, the last of them, and those that match.
    pub(crate) fn search_step(
        &self,
        search: &Search,
        step: &SearchStep,
        clock: &Clock,
        now: Duration,
    ) -> (usize, Option<EventId>, Vec<EventSummary>) {
        let kinds = search.kinds.as_ref();
        let kinds: Option<HashMap<usize, &Kind>> = kinds.map(|kinds| {
            let numbered = kinds.iter().map(|it| Some((self.number(it)?, it)));
            numbered.flatten().collect()
        });
        let until = step.before.map_or(Bound::Unbounded, Bound::Excluded);
        let below = self.events.range((Bound::Unbounded, until)).rev();
        let (mut examined, mut last, mut found) = (0, None, Vec::new());
        for (id, event) in below.take(step.examine.get()) {
            (examined, last) = (examined + 1, Some(*id));
            if search.state.is_some_and(|state| state != event.state()) {
                continue;
            }
            let kind = match &kinds {
                Some(kinds) => kinds.get(&event.queue).copied(),
                None => self.kind(event.queue),
            };
            let Some(kind) = kind else { continue };
            let summary = event.record(*id, kind, clock, now).summary();
            if search.matches(&summary) && found.len() < step.limit.get() {
                found.push(summary);
            }
        }
        (examined, last, found)
    }

    pub(crate) fn sample(&mut self, kind: &Kind, cap: NonZeroUsize, now: Duration) -> KindSample {
        let sample = KindSample::new(kind.clone());
        let Some(number) = self.number(kind) else {
            return sample;
        };
        self.expire(number, now);
        let queue = &self.queues[number];
        let latest = (now, EventId::new(i64::MAX));
        let most = cap.get();
        let leased = queue.leased.len().min(most);
        let due = queue.pending.range(..=latest).take(most - leased).count();
        let later = (Bound::Excluded(latest), Bound::Unbounded);
        let waiting = queue.pending.range(later).take(most).count();
        let failed = queue.failed_len().min(most);
        let oldest = queue.pending.first();
        sample
            .with_waiting(waiting as u64)
            .with_due(due as u64)
            .with_leased(leased as u64)
            .with_failed(failed as u64)
            .capped_at(cap)
            .with_oldest_due(oldest.and_then(|(due_at, _)| now.checked_sub(*due_at)))
            .with_paused(queue.is_paused())
    }

    pub(crate) fn conflicts(&self, event: &EventRef, clock: &Clock) -> Vec<ConflictRecord> {
        let event = self.id(event).and_then(|id| self.events.get(&id));
        let conflicts = event.and_then(|event| event.conflicts.as_deref());
        conflicts.map_or_else(Vec::new, |conflicts| conflicts.records(clock))
    }

    pub(crate) fn failed_attempts(&self, event: &EventRef, clock: &Clock) -> Vec<FailedAttempt> {
        let event = self.id(event).and_then(|id| self.events.get(&id));
        let failures = event.and_then(|event| event.failures.as_deref());
        failures.map_or_else(Vec::new, |failures| failures.records(clock))
    }

    pub(crate) fn requeue(&mut self, events: &[EventRef], now: Duration) -> Vec<Requeued> {
        let answers = events.iter().map(|event| {
            let Some(id) = self.id(event) else {
                return Requeued::NotFound;
            };
            if self.events.get(&id).map(|event| event.state()) != Some(State::Failed) {
                return Requeued::NotFailed;
            }
            if self.is_without_body(id) {
                return Requeued::Erased;
            }
            self.requeue_failed(id, now);
            Requeued::Applied
        });
        answers.collect()
    }

    pub(crate) fn make_due(
        &mut self,
        events: &[EventRef],
        leases: RunningLeases,
        now: Duration,
    ) -> Vec<MadeDue> {
        let answers = events.iter().map(|event| {
            let Some((id, event)) = self
                .id(event)
                .and_then(|id| Some((id, self.events.get(&id)?)))
            else {
                return MadeDue::NotFound;
            };
            match event.stage {
                Stage::Processed { .. } | Stage::Failed { .. } => return MadeDue::Settled,
                Stage::Leased { until } if until <= now => return MadeDue::AlreadyDue,
                Stage::Leased { .. } if leases == RunningLeases::Keep => return MadeDue::Leased,
                Stage::Pending { .. } if event.due_at <= now => return MadeDue::AlreadyDue,
                Stage::Leased { .. } | Stage::Pending { .. } => {}
            }
            self.shift(id, |event| {
                event.due_at = event.due_at.min(now);
                match event.stage {
                    Stage::Leased { .. } => Stage::Pending {
                        expired_at: Some(now),
                    },
                    stage => stage,
                }
            });
            MadeDue::Applied
        });
        answers.collect()
    }

    fn is_without_body(&self, id: EventId) -> bool {
        let event = self.events.get(&id);
        event.is_some_and(|event| event.stage.is_without_body())
    }

    pub(crate) fn delete(&mut self, events: &[EventRef], now: Duration) -> Vec<Deleted> {
        let answers = events.iter().map(|event| {
            let Some(id) = self.id(event) else {
                return Deleted::NotFound;
            };
            let event = self.events.get(&id);
            if event.is_some_and(|event| event.leased_until(now).is_some()) {
                return Deleted::Leased;
            }
            self.forget(id);
            Deleted::Applied
        });
        answers.collect()
    }

    pub(crate) fn erase(&mut self, events: &[EventRef]) -> Vec<Erased> {
        let answers = events.iter().map(|event| {
            let Some(id) = self.id(event) else {
                return Erased::NotFound;
            };
            match self.events.get(&id).map(|event| event.state()) {
                None => return Erased::NotFound,
                Some(State::Processing) => return Erased::Unsettled,
                Some(State::Processed | State::Failed) => {}
            }
            if self.is_without_body(id) {
                return Erased::AlreadyErased;
            }
            self.shift(id, |event| {
                event.delete_body();
                match event.stage {
                    Stage::Processed { at, .. } => Stage::Processed {
                        at,
                        body_deleted: true,
                    },
                    Stage::Failed { at, .. } => Stage::Failed {
                        at,
                        body_deleted: true,
                    },
                    stage => stage,
                }
            });
            Erased::Applied
        });
        answers.collect()
    }

    pub(crate) fn prune(&mut self, prune: &Prune, now: Duration) -> usize {
        let Some(number) = self.number(&prune.kind) else {
            return 0;
        };
        // A store that is younger than `older_than` has no such events.
        let Some(latest) = now.checked_sub(prune.older_than) else {
            return 0;
        };
        let mut pruned = 0;
        while pruned < prune.limit.get() {
            let queue = &self.queues[number];
            let oldest = match prune.state {
                TerminalState::Processed => queue.oldest_processed(),
                TerminalState::Failed => queue.oldest_failed(),
            };
            match oldest {
                Some((settled_at, id)) if settled_at <= latest => self.forget(id),
                _ => break,
            }
            pruned += 1;
        }
        pruned
    }

    pub(crate) fn delete_bodies(&mut self, delete: &DeleteBodies, now: Duration) -> usize {
        let Some(number) = self.number(&delete.kind) else {
            return 0;
        };
        let Some(latest) = now.checked_sub(delete.older_than) else {
            return 0;
        };
        let mut deleted = 0;
        while deleted < delete.limit.get() {
            match self.queues[number].processed.front() {
                Some(&(settled_at, id)) if settled_at <= latest => self.shift(id, |event| {
                    event.delete_body();
                    Stage::Processed {
                        at: settled_at,
                        body_deleted: true,
                    }
                }),
                _ => break,
            }
            deleted += 1;
        }
        deleted
    }

    pub(crate) fn record_action(&mut self, action: &ActionRecord, at: SystemTime) -> ActionId {
        let last = self.actions.back().map_or(0, |last| last.id.get());
        let id = ActionId::new(last + 1);
        if self.actions.len() == MAX_ACTIONS {
            self.actions.pop_front();
        }
        self.actions
            .push_back(StoredAction::new(id, at, action.clone()));
        id
    }

    pub(crate) fn actions(&self, page: &ActionPage) -> Vec<StoredAction> {
        let latest = self.actions.iter().rev();
        let listed = latest.filter(|it| page.before.is_none_or(|before| it.id < before));
        listed.take(page.records()).cloned().collect()
    }

    pub(crate) fn pause(&mut self, kind: &Kind) -> bool {
        let number = self.number_or_new(kind);
        self.queues[number].pause()
    }

    pub(crate) fn resume(&mut self, kind: &Kind) -> bool {
        let number = self.number(kind);
        number.is_some_and(|number| self.queues[number].resume())
    }
}
