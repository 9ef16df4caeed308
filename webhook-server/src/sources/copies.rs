//! [`Copies`]: copies of the latest events of a source, for those who listen.
//!
//! Copies are kept only while somebody asks for them. Otherwise a delivery costs the load of an atomic.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use webhook_core::{Envelope, EventType, Headers, Key, Kind};

/// How many copies of a source are kept.
const MAX_COPIES: usize = 1_000;

/// How many bytes the copies of a source may take.
const MAX_BYTES: usize = 16 << 20;

/// What a copy takes beside its texts.
const OVERHEAD_BYTES: usize = 256;

/// How many copies one answer has.
const MAX_TAKEN: usize = 100;

/// With how many bytes an answer is full.
const MAX_TAKEN_BYTES: usize = 4 << 20;

/// How long copies are kept after somebody has asked for them.
const WANTED_FOR: Duration = Duration::from_secs(60);

/// The longest time that a request for copies may wait.
pub(crate) const MAX_COPIES_WAIT: Duration = Duration::from_secs(30);

/// How often a request that waits looks whether it must end.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The copies of the latest events of a source.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    are_wanted: AtomicBool,
    ring: Mutex<Ring>,
    added: Notify,
}

/// A copy of an event.
#[derive(Debug)]
pub(crate) struct EventCopy {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    pub(crate) event_type: Option<EventType>,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// When it was accepted, by the clock of this process.
    pub(crate) accepted_at: SystemTime,
}

/// The answer to a request for copies.
#[derive(Debug)]
pub(crate) struct TakenCopies {
    pub(crate) copies: Vec<Arc<EventCopy>>,
    /// The number after which to go on.
    pub(crate) next_after: u64,
    /// How many copies are gone that were asked for; `None` if it is not known, because copies were not kept all the
    /// time.
    pub(crate) lost: Option<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Arc<EventCopy>>,
    bytes: usize,
    /// The number before that of the first copy since copies are kept.
    began: u64,
    /// The number of the last copy.
    last: u64,
    /// Who asks, and when they did so last.
    askers: Vec<(String, Instant)>,
}

impl Copies {
    /// Whether somebody asks for copies.
    pub(crate) fn are_wanted(&self) -> bool {
        self.are_wanted.load(Ordering::Relaxed)
    }

    /// Notes that `asker` asks for copies, so that they are kept, and returns whether that is new: whether they have not
    /// done so for a while.
    pub(crate) fn ask(&self, asker: &str) -> bool {
        let mut ring = self.ring();
        let now = Instant::now();
        ring.forget_askers(now);
        if !self.are_wanted.swap(true, Ordering::Relaxed) {
            ring.begin();
        }
        match ring.askers.iter_mut().find(|(name, _)| name == asker) {
            Some((_, asked)) => {
                *asked = now;
                false
            }
            None => {
                ring.askers.push((asker.to_owned(), now));
                true
            }
        }
    }

    /// Forgets all copies if nobody has asked for them for a while.
    pub(crate) fn forget_unwanted(&self) {
        if !self.are_wanted() {
            return;
        }
        let mut ring = self.ring();
        ring.forget_askers(Instant::now());
        if ring.askers.is_empty() {
            self.are_wanted.store(false, Ordering::Relaxed);
            ring.clear();
        }
    }

    /// Keeps copies of these new events.
    pub(crate) fn add<'e>(&self, events: impl Iterator<Item = &'e Envelope>) {
        let mut ring = self.ring();
        // Nobody may have wanted them any more since they were made.
        if !self.are_wanted() {
            return;
        }
        let accepted_at = SystemTime::now();
        events.for_each(|envelope| ring.add(envelope, accepted_at));
        drop(ring);
        self.added.notify_waiters();
    }

    /// The copies after the one with the number `after`, or how to go on from now if that is `None`. Waits up to `wait`
    /// for the next one, and until `is_over`.
    pub(crate) async fn take(
        &self,
        after: Option<u64>,
        wait: Duration,
        is_over: impl Fn() -> bool,
    ) -> TakenCopies {
        let end = Instant::now() + wait;
        loop {
            let mut added = pin!(self.added.notified());
            // Before the look, so that no copy comes unnoticed in between.
            added.as_mut().enable();
            let taken = self.ring().after(after);
            let now = Instant::now();
            let has_news = !taken.copies.is_empty() || taken.lost != Some(0);
            if has_news || after.is_none() || now >= end || is_over() {
                return taken;
            }
            let _ = timeout_at(end.min(now + LOOK_INTERVAL), added).await;
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Begins to keep copies, after the numbers of all that were kept before: by this process, and probably by those
    /// before it, since the numbers begin with the time.
    fn begin(&mut self) {
        self.clear();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or_default();
        // One number is left out, so that the last one of before is not the beginning of these.
        self.began = micros.max(self.last + 1);
        self.last = self.began;
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
    }

    fn forget_askers(&mut self, now: Instant) {
        self.askers
            .retain(|(_, asked)| now.duration_since(*asked) < WANTED_FOR);
    }

    fn add(&mut self, envelope: &Envelope, accepted_at: SystemTime) {
        self.last += 1;
        let copy = EventCopy {
            number: self.last,
            kind: envelope.kind.clone(),
            key: envelope.key.clone(),
            event_type: envelope.event_type.clone(),
            headers: envelope.headers.clone(),
            // A copy: a slice would keep the bodies of all events of the delivery in memory.
            body: Bytes::copy_from_slice(&envelope.body),
            accepted_at,
        };
        self.bytes += copy.bytes();
        self.kept.push_back(Arc::new(copy));
        while self.kept.len() > MAX_COPIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
        }
    }

    fn after(&self, after: Option<u64>) -> TakenCopies {
        let Some(after) = after else {
            return TakenCopies {
                copies: Vec::new(),
                next_after: self.last,
                lost: Some(0),
            };
        };
        // It is of another time, or of another server.
        let is_known = (self.began..=self.last).contains(&after);
        let from = if is_known { after } else { self.began };
        let mut copies = Vec::new();
        let mut bytes = 0;
        let mut is_full = false;
        for copy in self.kept.iter().filter(|copy| copy.number > from) {
            if copies.len() >= MAX_TAKEN || bytes >= MAX_TAKEN_BYTES {
                is_full = true;
                break;
            }
            bytes += copy.bytes();
            copies.push(Arc::clone(copy));
        }
        let next_after = match copies.last() {
            Some(last) if is_full => last.number,
            _ => self.last,
        };
        let gone = (next_after - from).saturating_sub(copies.len() as u64);
        TakenCopies {
            copies,
            next_after,
            lost: is_known.then_some(gone),
        }
    }
}

impl EventCopy {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let event_type = self.event_type.as_ref().map_or(0, |it| it.as_str().len());
        self.key.as_str().len() + event_type + headers + self.body.len() + OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use webhook_core::Fingerprint;

    use super::*;

    fn envelope(key: usize, bytes: usize) -> Envelope {
        let key = Key::new(key.to_string()).unwrap();
        let body = Bytes::from(vec![b'x'; bytes]);
        Envelope::new(Kind::from_static("a"), key, Fingerprint::of([&body]), body)
    }

    fn add(copies: &Copies, keys: std::ops::Range<usize>, bytes: usize) {
        let envelopes: Vec<_> = keys.map(|key| envelope(key, bytes)).collect();
        copies.add(envelopes.iter());
    }

    /// Without waiting.
    fn take(copies: &Copies, after: Option<u64>) -> TakenCopies {
        let taken = copies.take(after, Duration::ZERO, || false);
        taken.now_or_never().unwrap()
    }

    fn keys(taken: &TakenCopies) -> Vec<&str> {
        taken.copies.iter().map(|copy| copy.key.as_str()).collect()
    }

    #[tokio::test]
    async fn nothing_is_kept_before_somebody_asks() {
        let copies = Copies::default();
        add(&copies, 0..3, 1);
        assert!(copies.ring().kept.is_empty());
        assert!(copies.ask("ana") && copies.ask("bob") && !copies.ask("ana"));
        let start = take(&copies, None);
        assert_eq!((start.copies.len(), start.lost), (0, Some(0)));
        add(&copies, 3..5, 1);
        let taken = take(&copies, Some(start.next_after));
        assert_eq!((keys(&taken), taken.lost), (vec!["3", "4"], Some(0)));
        assert!(take(&copies, Some(taken.next_after)).copies.is_empty());
    }

    #[tokio::test]
    async fn answers_are_bounded_and_lose_nothing() {
        let copies = Copies::default();
        copies.ask("ana");
        let mut after = take(&copies, None).next_after;
        add(&copies, 0..250, 1);
        for count in [100, 100, 50, 0] {
            let taken = take(&copies, Some(after));
            assert_eq!((taken.copies.len(), taken.lost), (count, Some(0)));
            after = taken.next_after;
        }
        add(&copies, 0..6, 1 << 20);
        let taken = take(&copies, Some(after));
        assert_eq!((taken.copies.len(), taken.lost), (4, Some(0)));
        assert_eq!(keys(&take(&copies, Some(taken.next_after))), ["4", "5"]);
    }

    #[tokio::test]
    async fn lost_copies_are_counted() {
        let copies = Copies::default();
        copies.ask("ana");
        let start = take(&copies, None).next_after;
        add(&copies, 0..MAX_COPIES + 7, 1);
        let taken = take(&copies, Some(start));
        assert_eq!((keys(&taken)[0], taken.lost), ("7", Some(7)));

        // By their bytes, and one that is too large by itself.
        let start = copies.ring().last;
        add(&copies, 0..20, 1 << 20);
        add(&copies, 20..21, MAX_BYTES);
        add(&copies, 21..22, 1);
        let taken = take(&copies, Some(start));
        assert_eq!((keys(&taken), taken.lost), (vec!["21"], Some(21)));
        assert!(copies.ring().bytes < 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn copies_are_forgotten_a_minute_after_the_last_request() {
        let copies = Copies::default();
        copies.ask("ana");
        let start = take(&copies, None).next_after;
        add(&copies, 0..1, 1);
        tokio::time::advance(WANTED_FOR / 2).await;
        copies.forget_unwanted();
        assert!(copies.are_wanted());
        tokio::time::advance(WANTED_FOR).await;
        copies.forget_unwanted();
        assert!(!copies.are_wanted() && copies.ring().kept.is_empty());
        add(&copies, 1..2, 1);
        assert!(copies.ask("ana"), "the request is new again");
        add(&copies, 2..3, 1);
        let taken = take(&copies, Some(start));
        assert_eq!((keys(&taken), taken.lost), (vec!["2"], None));
        // A number that is still to come.
        let taken = take(&copies, Some(u64::MAX));
        assert_eq!((taken.next_after, taken.lost), (copies.ring().last, None));
        assert_eq!(take(&copies, Some(taken.next_after)).lost, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_the_next_copy() {
        let copies = Copies::default();
        copies.ask("ana");
        let start = take(&copies, None).next_after;
        let begin = Instant::now();
        let wait = |after, is_over| copies.take(Some(after), MAX_COPIES_WAIT, move || is_over);
        let next = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            add(&copies, 0..1, 1);
        };
        let (taken, ()) = tokio::join!(wait(start, false), next);
        assert_eq!((keys(&taken), begin.elapsed().as_secs()), (vec!["0"], 7));
        assert!(wait(taken.next_after, false).await.copies.is_empty());
        assert_eq!(begin.elapsed().as_secs(), 37);
        assert!(wait(taken.next_after, true).await.copies.is_empty());
        assert_eq!(begin.elapsed().as_secs(), 37);
    }
}
