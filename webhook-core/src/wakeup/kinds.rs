//! Wakes the workers of one process, if an event falls due earlier than their last claim said.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::event::Kind;

/// Wakes the workers of this process earlier than they expect, and never for nothing.
///
/// A worker sleeps until the next due time that its last claim told it. A backend that holds one `Wakeups`
/// for all its workers tells it of each claim ([`claiming`](Self::claiming)) and of each event that falls
/// due ([`due`](Self::due)); [`woken`](Self::woken) completes only if that is earlier than the workers of
/// the kind expect. Claims and events may cross: an event that is reported while a claim runs is kept until
/// the claim has ended, since the claim may not have seen it.
///
/// A backend that several processes use tells this of the events of other processes as well, or lets
/// workers poll.
///
/// ```
/// use std::time::Duration;
///
/// use tokio::time::Instant;
/// use webhook_core::Kind;
/// use webhook_core::wakeup::Wakeups;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// const ORDER: Kind = Kind::from_static("order");
/// let wakeups = Wakeups::default();
///
/// // In `Scheduler::claim`: the next event falls due in a minute.
/// let claiming = wakeups.claiming(&ORDER);
/// claiming.ended(Some(Duration::from_secs(60)));
///
/// // After the commit in `Store::accept`: this one falls due earlier.
/// wakeups.due(&ORDER, Instant::now() + Duration::from_secs(1));
///
/// // In `Scheduler::wait_for_work`, for each of its kinds, by `webhook_core::wakeup::any`.
/// wakeups.woken(&ORDER).await;
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Wakeups {
    kinds: Mutex<HashMap<Kind, Arc<Waiting>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    notify: Notify,
    /// How many workers are waiting now.
    waiters: AtomicUsize,
    expected: Mutex<Expected>,
}

#[derive(Debug, Default)]
struct Expected {
    /// When workers will claim without being woken; `None` if they know of no further event.
    at: Option<Instant>,
    /// The number of claims under way: their answers may miss events that fall due meanwhile.
    claims: usize,
    /// The earliest due time that was reported meanwhile.
    meanwhile: Option<Instant>,
    /// Whether the last claim found the kind paused: then only the resume wakes workers.
    paused: bool,
    /// How many times the kind was resumed: a claim that began before the last resume may still find it
    /// paused.
    resumes: u64,
}

impl Wakeups {
    /// Wakes the workers of `kind` if `due` is earlier than they expect. Call it after the commit.
    pub fn due(&self, kind: &Kind, due: Instant) {
        let waiting = self.kinds().get(kind).cloned();
        if let Some(waiting) = waiting {
            waiting.due(due);
        }
    }

    /// Wakes the workers of `kind`, which was [resumed](crate::Admin::resume). Call it after the commit.
    pub fn resumed(&self, kind: &Kind) {
        let waiting = self.kinds().get(kind).cloned();
        if let Some(waiting) = waiting {
            waiting.resumed();
        }
    }

    /// Wakes all workers, as after notifications of other processes may have been missed.
    pub fn wake_all(&self) {
        let kinds: Vec<_> = self.kinds().values().cloned().collect();
        kinds.iter().for_each(|waiting| waiting.wake());
    }

    /// Records that a claim of `kind` begins. Call it before the claim's snapshot is taken.
    pub fn claiming(&self, kind: &Kind) -> Claiming {
        let waiting = self.waiting(kind);
        let resumes = {
            let mut expected = waiting.expected();
            expected.claims += 1;
            expected.resumes
        };
        Claiming { waiting, resumes }
    }

    /// Completes when the workers of `kind` are woken. If they were woken while none of them waited, it
    /// completes at once.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub async fn woken(&self, kind: &Kind) {
        let waiting = self.waiting(kind);
        let woken = waiting.notify.notified();
        let _counted = Counted::new(&waiting.waiters);
        woken.await;
    }

    fn waiting(&self, kind: &Kind) -> Arc<Waiting> {
        let mut kinds = self.kinds();
        match kinds.get(kind) {
            Some(waiting) => waiting.clone(),
            None => kinds.entry(kind.clone()).or_default().clone(),
        }
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<Kind, Arc<Waiting>>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn due(&self, due: Instant) {
        let mut expected = self.expected();
        if expected.claims > 0 && expected.meanwhile.is_none_or(|at| due < at) {
            expected.meanwhile = Some(due);
        }
        if !expected.paused && expected.at.is_none_or(|at| due < at) {
            expected.at = Some(due);
            drop(expected);
            self.wake();
        }
    }

    fn resumed(&self) {
        let mut expected = self.expected();
        expected.resumes += 1;
        expected.paused = false;
        drop(expected);
        self.wake();
    }

    /// Wakes all waiting workers; if there are none, the next worker that waits is woken at once.
    fn wake(&self) {
        if self.waiters.load(Ordering::Acquire) == 0 {
            self.notify.notify_one();
        } else {
            self.notify.notify_waiters();
        }
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim under way. Dropping it without an answer changes nothing that workers expect.
#[derive(Debug)]
#[must_use = "its answer sets when workers are woken"]
pub struct Claiming {
    waiting: Arc<Waiting>,
    /// How often the kind had been resumed when the claim began.
    resumes: u64,
}

impl Claiming {
    /// Records that the claim succeeded, and how long until the next event falls due: what it answers as
    /// [`Claimed::next_due`](crate::Claimed::next_due).
    pub fn ended(self, next_due: Option<Duration>) {
        let mut expected = self.waiting.expected();
        expected.paused = false;
        expected.at = next_due.and_then(|next_due| Instant::now().checked_add(next_due));
        let earlier = expected
            .meanwhile
            .filter(|due| expected.at.is_none_or(|at| *due < at));
        if earlier.is_some() {
            expected.at = earlier;
            drop(expected);
            self.waiting.wake();
        }
    }

    /// Records that the claim found the kind paused: workers sleep until it is resumed.
    pub fn found_paused(self) {
        let mut expected = self.waiting.expected();
        expected.at = None;
        if expected.resumes != self.resumes {
            // The snapshot of the claim was older than the resume.
            drop(expected);
            self.waiting.wake();
        } else {
            expected.paused = true;
        }
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        let mut expected = self.waiting.expected();
        expected.claims -= 1;
        if expected.claims == 0 {
            expected.meanwhile = None;
        }
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    fn kind() -> Kind {
        Kind::new("k").unwrap()
    }

    async fn is_woken(wakeups: &Wakeups) -> bool {
        timeout(SOON, wakeups.woken(&kind())).await.is_ok()
    }

    fn after(wakeups: &Wakeups, next_due: Option<Duration>) {
        wakeups.claiming(&kind()).ended(next_due);
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_due_time_than_expected_wakes_workers() {
        let wakeups = Wakeups::default();
        after(&wakeups, Some(Duration::from_secs(10)));
        wakeups.due(&kind(), Instant::now() + Duration::from_secs(11));
        assert!(!is_woken(&wakeups).await);
        wakeups.due(&kind(), Instant::now() + Duration::from_secs(1));
        assert!(is_woken(&wakeups).await);
        // Workers expect it now.
        wakeups.due(&kind(), Instant::now() + Duration::from_secs(1));
        assert!(!is_woken(&wakeups).await);
    }

    #[tokio::test(start_paused = true)]
    async fn any_due_time_wakes_workers_that_expect_none() {
        let wakeups = Wakeups::default();
        after(&wakeups, None);
        wakeups.due(&kind(), Instant::now() + Duration::from_secs(3600));
        assert!(is_woken(&wakeups).await);
    }

    #[tokio::test(start_paused = true)]
    async fn due_time_reported_during_a_claim_is_kept() {
        let wakeups = Wakeups::default();
        after(&wakeups, Some(Duration::ZERO));
        let claim = wakeups.claiming(&kind());
        wakeups.due(&kind(), Instant::now() + Duration::from_secs(1));
        assert!(!is_woken(&wakeups).await);
        // The snapshot of the claim was older.
        claim.ended(None);
        assert!(is_woken(&wakeups).await);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_claim_changes_nothing() {
        let wakeups = Wakeups::default();
        after(&wakeups, None);
        drop(wakeups.claiming(&kind()));
        wakeups.due(&kind(), Instant::now());
        assert!(is_woken(&wakeups).await);
    }

    #[tokio::test(start_paused = true)]
    async fn only_resume_wakes_workers_of_a_paused_kind() {
        let wakeups = Wakeups::default();
        wakeups.claiming(&kind()).found_paused();
        wakeups.due(&kind(), Instant::now());
        assert!(!is_woken(&wakeups).await);
        wakeups.resumed(&kind());
        assert!(is_woken(&wakeups).await);
        wakeups.due(&kind(), Instant::now());
        assert!(is_woken(&wakeups).await);
    }

    #[tokio::test(start_paused = true)]
    async fn resume_during_a_claim_is_kept() {
        let wakeups = Wakeups::default();
        let claim = wakeups.claiming(&kind());
        wakeups.resumed(&kind());
        assert!(is_woken(&wakeups).await);
        // The snapshot of the claim was older.
        claim.found_paused();
        assert!(is_woken(&wakeups).await);
        wakeups.due(&kind(), Instant::now());
        assert!(is_woken(&wakeups).await);
        // The next pause counts again.
        wakeups.claiming(&kind()).found_paused();
        wakeups.due(&kind(), Instant::now());
        assert!(!is_woken(&wakeups).await);
    }

    #[tokio::test(start_paused = true)]
    async fn due_time_of_an_unclaimed_kind_wakes_no_worker() {
        let wakeups = Wakeups::default();
        wakeups.due(&Kind::new("other").unwrap(), Instant::now());
        assert!(!is_woken(&wakeups).await);
    }
}
