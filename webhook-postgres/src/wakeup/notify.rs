//! Tells other processes of events that fall due soon, and of kinds that are resumed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgBindIterExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use webhook_core::Kind;

use super::POLL_INTERVAL;
use crate::session::{Database, Session};

/// At most one statement per process in this time.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);

/// What a process tells others of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// An event falls due so soon.
    DueIn(Duration),
    /// Its pause is over. A process that does not know pauses cannot read this, and need not.
    Resumed,
}

/// What stands for [`News::Resumed`] in a payload.
const RESUMED: &str = "resumed";

/// What is to be told: the earliest due time of each kind, and the kinds that are resumed.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Names this process in what it tells, so that it need not listen to itself.
    sender: u64,
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Held while something is sent: whoever ends the process waits for that, too.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    due: HashMap<Kind, Instant>,
    resumed: HashSet<Kind>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            // The keys of the standard hasher are the standard library's random numbers.
            sender: RandomState::new().hash_one("sender"),
            waiting: Mutex::default(),
            filled: Notify::new(),
            sending: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn sender(&self) -> u64 {
        self.sender
    }

    pub(super) fn put(&self, kind: &Kind, due: Instant) {
        let mut waiting = self.waiting();
        match waiting.due.get_mut(kind) {
            Some(known) => *known = due.min(*known),
            None => {
                waiting.due.insert(kind.clone(), due);
            }
        }
        self.filled.notify_one();
    }

    pub(super) fn put_resumed(&self, kind: &Kind) {
        self.waiting().resumed.insert(kind.clone());
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<String> {
        let now = Instant::now();
        let Waiting { due, resumed } = std::mem::take(&mut *self.waiting());
        let due = due.iter().map(|(kind, due)| {
            let due_in = due.saturating_duration_since(now);
            payload(self.sender, kind, News::DueIn(due_in))
        });
        let resumed = resumed
            .iter()
            .map(|kind| payload(self.sender, kind, News::Resumed));
        due.chain(resumed).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Empties `outbox` for as long as it runs.
pub(super) async fn send(outbox: Arc<Outbox>, database: Database) {
    loop {
        outbox.filled.notified().await;
        send_once(&outbox, &database).await;
        sleep(NOTIFY_INTERVAL).await;
    }
}

/// Sends what is in `outbox` now, after what is being sent.
pub(super) async fn send_once(outbox: &Outbox, database: &Database) {
    let _sending = outbox.sending.lock().await;
    let payloads = outbox.take();
    if payloads.is_empty() {
        return;
    }
    let sent = Session::Pool(database)
        .rows(
            "SELECT pg_notify($2::text, payload) FROM unnest($1::text[]) AS payload",
            |query| {
                query
                    .bind(payloads.iter().map(String::as_str).bind_iter())
                    .bind(database.schema().channel())
            },
        )
        .await;
    // A hint that is lost costs a delay of one polling interval.
    if let Err(error) = sent {
        tracing::debug!(%error, "workers elsewhere could not be notified");
    }
}

/// `sender due-in-milliseconds kind`, or `sender resumed kind`.
fn payload(sender: u64, kind: &Kind, news: News) -> String {
    match news {
        News::DueIn(due_in) => format!("{sender:x} {} {kind}", due_in.as_millis()),
        News::Resumed => format!("{sender:x} {RESUMED} {kind}"),
    }
}

/// Reads a payload of somebody else than `own`.
pub(super) fn read(payload: &str, own: u64) -> Option<(Kind, News)> {
    let mut parts = payload.splitn(3, ' ');
    let sender = u64::from_str_radix(parts.next()?, 16).ok()?;
    let news = match parts.next()? {
        RESUMED => News::Resumed,
        // Anybody may notify: what is told is no reason to sleep long, or to overflow.
        due_in => News::DueIn(Duration::from_millis(due_in.parse().ok()?).min(POLL_INTERVAL)),
    };
    let kind = Kind::new(parts.next()?.to_owned()).ok()?;
    (sender != own).then_some((kind, news))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PgStore;
    use crate::testing::TestDatabase;

    #[tokio::test]
    async fn who_sends_waits_for_what_is_being_sent() {
        let database = TestDatabase::create().await;
        let store = PgStore::connect(database.url()).await.unwrap();
        let outbox = Outbox::new();
        let sending = outbox.sending.lock().await;
        let mut sent = std::pin::pin!(send_once(&outbox, &store.inner.database));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut sent).await;
        assert!(early.is_err(), "it did not wait");
        drop(sending);
        sent.await;
        store.close().await;
        database.drop_database().await;
    }

    #[test]
    fn payloads_are_read_by_others_than_their_sender() {
        let kind = Kind::new("orders").unwrap();
        let told = payload(7, &kind, News::DueIn(Duration::from_millis(1500)));
        let due_in = News::DueIn(Duration::from_millis(1500));
        assert_eq!(read(&told, 8), Some((kind.clone(), due_in)));
        assert_eq!(read(&told, 7), None);
        let told = payload(7, &kind, News::Resumed);
        assert_eq!(read(&told, 8), Some((kind, News::Resumed)));
        assert_eq!(read(&told, 7), None);
        assert_eq!(read("anything else", 8), None);
        let far = format!("7 {} orders", u64::MAX);
        let latest = News::DueIn(POLL_INTERVAL);
        assert_eq!(read(&far, 8).map(|(_, news)| news), Some(latest));
        assert_eq!(read("", 8), None);
    }
}
