//! Notifies other processes of events that fall due soon, and of kinds that are resumed.

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

/// A process sends at most one statement with notifications in this time.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);

/// What a process notifies others of, for one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notification {
    /// An event falls due within this time.
    DueIn(Duration),
    /// The kind is resumed. Older versions, which do not know pauses, ignore this.
    Resumed,
}

/// How a payload spells [`Notification::Resumed`].
const RESUMED: &str = "resumed";

/// Notifications to send: the earliest due time of each kind, and the resumed kinds.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Identifies this process in its payloads, so that it can ignore its own.
    sender: u64,
    pending: Mutex<Pending>,
    filled: Notify,
    /// Locked while notifications are sent: a store that closes waits for that.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Pending {
    due: HashMap<Kind, Instant>,
    resumed: HashSet<Kind>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            // The keys of the standard hasher are the standard library's random numbers.
            sender: RandomState::new().hash_one("sender"),
            pending: Mutex::default(),
            filled: Notify::new(),
            sending: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn sender(&self) -> u64 {
        self.sender
    }

    pub(super) fn put(&self, kind: &Kind, due: Instant) {
        let mut pending = self.pending();
        match pending.due.get_mut(kind) {
            Some(known) => *known = due.min(*known),
            None => {
                pending.due.insert(kind.clone(), due);
            }
        }
        self.filled.notify_one();
    }

    pub(super) fn put_resumed(&self, kind: &Kind) {
        self.pending().resumed.insert(kind.clone());
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<String> {
        let now = Instant::now();
        let Pending { due, resumed } = std::mem::take(&mut *self.pending());
        let due = due.iter().map(|(kind, due)| {
            let due_in = due.saturating_duration_since(now);
            payload(self.sender, kind, Notification::DueIn(due_in))
        });
        let resumed = resumed
            .iter()
            .map(|kind| payload(self.sender, kind, Notification::Resumed));
        due.chain(resumed).collect()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the notifications in `outbox`, for ever.
pub(super) async fn send(outbox: Arc<Outbox>, database: Database) {
    loop {
        outbox.filled.notified().await;
        send_once(&outbox, &database).await;
        sleep(NOTIFY_INTERVAL).await;
    }
}

/// Sends the notifications that are in `outbox` now, once those under way are sent.
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
    // A lost notification delays an event by at most one polling interval.
    if let Err(error) = sent {
        tracing::debug!(%error, "failed to notify other processes, their workers poll");
    }
}

/// `sender due-in-milliseconds kind`, or `sender resumed kind`.
fn payload(sender: u64, kind: &Kind, notification: Notification) -> String {
    match notification {
        Notification::DueIn(due_in) => format!("{sender:x} {} {kind}", due_in.as_millis()),
        Notification::Resumed => format!("{sender:x} {RESUMED} {kind}"),
    }
}

/// Parses a payload; `None` for those of the sender `own` and for unknown ones.
pub(super) fn read(payload: &str, own: u64) -> Option<(Kind, Notification)> {
    let mut parts = payload.splitn(3, ' ');
    let sender = u64::from_str_radix(parts.next()?, 16).ok()?;
    let notification = match parts.next()? {
        RESUMED => Notification::Resumed,
        // Any role may notify: limited, so that no payload can cause a long sleep or an overflow.
        due_in => {
            Notification::DueIn(Duration::from_millis(due_in.parse().ok()?).min(POLL_INTERVAL))
        }
    };
    let kind = Kind::new(parts.next()?.to_owned()).ok()?;
    (sender != own).then_some((kind, notification))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PgStore;
    use crate::testing::TestDatabase;

    #[tokio::test]
    async fn send_once_waits_for_a_send_under_way() {
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
    fn payloads_are_ignored_by_their_sender() {
        let kind = Kind::new("orders").unwrap();
        let sent_payload = payload(7, &kind, Notification::DueIn(Duration::from_millis(1500)));
        let due_in = Notification::DueIn(Duration::from_millis(1500));
        assert_eq!(read(&sent_payload, 8), Some((kind.clone(), due_in)));
        assert_eq!(read(&sent_payload, 7), None);
        let sent_payload = payload(7, &kind, Notification::Resumed);
        assert_eq!(read(&sent_payload, 8), Some((kind, Notification::Resumed)));
        assert_eq!(read(&sent_payload, 7), None);
        assert_eq!(read("anything else", 8), None);
        let far = format!("7 {} orders", u64::MAX);
        let latest = Notification::DueIn(POLL_INTERVAL);
        assert_eq!(
            read(&far, 8).map(|(_, notification)| notification),
            Some(latest)
        );
        assert_eq!(read("", 8), None);
    }
}
