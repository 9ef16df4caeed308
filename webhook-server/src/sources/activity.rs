//! [`Activity`]: what a source has received since the server started.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use webhook_core::Accepted;

use super::copies::Copies;
use super::refused::{RefusedRequest, RefusedRequests};
use crate::metrics::MinuteSeries;

/// What a source has received since the server started. Reloads keep it.
#[derive(Debug)]
pub(crate) struct Activity {
    started: SystemTime,
    deliveries: AtomicU64,
    events: AtomicU64,
    duplicates: AtomicU64,
    conflicts: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    /// Milliseconds since 1970; 0 for never.
    last_received: AtomicU64,
    last_refused: AtomicU64,
    /// The events that were not settled when they were counted last, and the new ones since then.
    unsettled: AtomicU64,
    /// Whether the log has told that the source is silent.
    is_silent: AtomicBool,
    requests: Mutex<RefusedRequests>,
    /// Copies of its new events, for those who listen.
    pub(crate) copies: Copies,
}

/// The counts of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Deliveries that were stored, including duplicates and conflicts.
    pub(crate) received: u64,
    /// New events in them.
    pub(crate) events: u64,
    /// Events in them that were stored before, with the same content.
    pub(crate) duplicates: u64,
    /// Events in them that were stored before, with other content.
    pub(crate) conflicts: u64,
    /// Requests that were refused. The latest of them are listed.
    pub(crate) refused: u64,
    /// Requests that the server could not take, which their sender has to repeat.
    pub(crate) unavailable: u64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            deliveries: AtomicU64::default(),
            events: AtomicU64::default(),
            duplicates: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            refused: AtomicU64::default(),
            unavailable: AtomicU64::default(),
            last_received: AtomicU64::default(),
            last_refused: AtomicU64::default(),
            unsettled: AtomicU64::default(),
            is_silent: AtomicBool::default(),
            requests: Mutex::default(),
            copies: Copies::default(),
        }
    }
}

impl Activity {
    /// Notes a delivery whose events are stored.
    pub(crate) fn note_received(&self, accepted: &[Accepted]) {
        for accepted in accepted {
            match accepted {
                Accepted::New => {
                    add(&self.events, 1);
                    add(&self.unsettled, 1);
                }
                Accepted::Duplicate => add(&self.duplicates, 1),
                // The event had failed, and waits again.
                Accepted::Requeued => {
                    add(&self.duplicates, 1);
                    add(&self.unsettled, 1);
                }
                Accepted::Conflict => add(&self.conflicts, 1),
            }
        }
        add(&self.deliveries, 1);
        note_now(&self.last_received);
    }

    /// Notes a request that the server cannot take.
    pub(crate) fn note_unavailable(&self) {
        add(&self.unavailable, 1);
    }

    /// Notes a request that is refused.
    pub(crate) fn note_refused(&self, request: Arc<RefusedRequest>) {
        add(&self.refused, 1);
        note_now(&self.last_refused);
        self.requests().push(request);
    }

    /// The latest refused requests, the latest first.
    pub(crate) fn refused_requests(&self, limit: usize) -> Vec<Arc<RefusedRequest>> {
        self.requests().latest(limit)
    }

    /// How many requests were refused in each minute of the last hour.
    pub(crate) fn refused_by_minute(&self) -> MinuteSeries {
        self.requests().by_minute()
    }

    /// Divides the room for refused requests among `sources`.
    pub(super) fn resize(&self, sources: usize) {
        self.requests().resize(sources);
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            received: of(&self.deliveries),
            events: of(&self.events),
            duplicates: of(&self.duplicates),
            conflicts: of(&self.conflicts),
            refused: of(&self.refused),
            unavailable: of(&self.unavailable),
        }
    }

    /// When the latest delivery was stored; `None` if none was since the server started.
    pub(crate) fn last_received(&self) -> Option<SystemTime> {
        time(&self.last_received)
    }

    pub(crate) fn last_refused(&self) -> Option<SystemTime> {
        time(&self.last_refused)
    }

    /// Since when the source has received nothing: since its latest delivery, or since the server started or the
    /// source was added. `None` if that is no longer ago than `expect_every`.
    pub(crate) fn silent_since(&self, expect_every: Duration) -> Option<SystemTime> {
        let since = self.last_received().unwrap_or(self.started);
        let silence = SystemTime::now().duration_since(since).unwrap_or_default();
        (silence > expect_every).then_some(since)
    }

    /// Sets whether the log tells that the source is silent, and returns whether that is a change.
    pub(super) fn set_silent(&self, is_silent: bool) -> bool {
        self.is_silent.swap(is_silent, Ordering::Relaxed) != is_silent
    }

    /// How many events are not settled: at most, since the ones that were settled since the latest count are not
    /// known.
    pub(super) fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// Replaces the number of events that were not settled, `before`, by the `counted` one.
    pub(super) fn set_unsettled(&self, before: u64, counted: u64) {
        // Those that were accepted while they were counted may be in both numbers.
        let accepted_meanwhile = self.unsettled().saturating_sub(before);
        self.unsettled.store(
            counted.saturating_add(accepted_meanwhile),
            Ordering::Relaxed,
        );
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, RefusedRequests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn note_now(at: &AtomicU64) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    at.store(now, Ordering::Relaxed);
}

fn time(at: &AtomicU64) -> Option<SystemTime> {
    match at.load(Ordering::Relaxed) {
        0 => None,
        millis => UNIX_EPOCH.checked_add(Duration::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsettled_events_are_never_undercounted() {
        let activity = Activity::default();
        activity.note_received(&[Accepted::New, Accepted::Duplicate, Accepted::New]);
        assert_eq!(activity.unsettled(), 2);
        let before = activity.unsettled();
        activity.note_received(&[Accepted::New]);
        activity.set_unsettled(before, 1);
        assert_eq!(activity.unsettled(), 2);
    }

    #[test]
    fn source_without_deliveries_is_silent_since_the_start() {
        let activity = Activity::default();
        assert_eq!(activity.silent_since(Duration::from_secs(60)), None);
        assert_eq!(
            activity.silent_since(Duration::ZERO),
            Some(activity.started)
        );
        activity.note_received(&[Accepted::New]);
        assert_eq!(activity.silent_since(Duration::from_secs(60)), None);
        assert!(activity.set_silent(true) && !activity.set_silent(true));
        assert!(activity.set_silent(false));
    }
}
