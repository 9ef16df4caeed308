//! Tells other processes of events that fall due soon.

use std::collections::HashMap;
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

/// What is to be told: the earliest due time of each kind.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Names this process in what it tells, so that it need not listen to itself.
    sender: u64,
    due: Mutex<HashMap<Kind, Instant>>,
    filled: Notify,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            // The keys of the standard hasher are the standard library's random numbers.
            sender: RandomState::new().hash_one("sender"),
            due: Mutex::default(),
            filled: Notify::new(),
        }
    }

    pub(super) fn sender(&self) -> u64 {
        self.sender
    }

    pub(super) fn put(&self, kind: &Kind, due: Instant) {
        let mut waiting = self.due();
        match waiting.get_mut(kind) {
            Some(known) => *known = due.min(*known),
            None => {
                waiting.insert(kind.clone(), due);
            }
        }
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<String> {
        let now = Instant::now();
        let due = std::mem::take(&mut *self.due());
        due.into_iter()
            .map(|(kind, due)| payload(self.sender, &kind, due.saturating_duration_since(now)))
            .collect()
    }

    fn due(&self) -> MutexGuard<'_, HashMap<Kind, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Sends what is in `outbox` now.
pub(super) async fn send_once(outbox: &Outbox, database: &Database) {
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

/// `sender due-in-milliseconds kind`.
fn payload(sender: u64, kind: &Kind, due_in: Duration) -> String {
    format!("{sender:x} {} {kind}", due_in.as_millis())
}

/// Reads a payload of somebody else than `own`.
pub(super) fn read(payload: &str, own: u64) -> Option<(Kind, Duration)> {
    let mut parts = payload.splitn(3, ' ');
    let sender = u64::from_str_radix(parts.next()?, 16).ok()?;
    // Anybody may notify: what is told is no reason to sleep long, or to overflow.
    let due_in = Duration::from_millis(parts.next()?.parse().ok()?).min(POLL_INTERVAL);
    let kind = Kind::new(parts.next()?.to_owned()).ok()?;
    (sender != own).then_some((kind, due_in))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_read_by_others_than_their_sender() {
        let kind = Kind::new("orders").unwrap();
        let told = payload(7, &kind, Duration::from_millis(1500));
        assert_eq!(read(&told, 8), Some((kind, Duration::from_millis(1500))));
        assert_eq!(read(&told, 7), None);
        assert_eq!(read("anything else", 8), None);
        let far = format!("7 {} orders", u64::MAX);
        assert_eq!(read(&far, 8).map(|(_, due_in)| due_in), Some(POLL_INTERVAL));
        assert_eq!(read("", 8), None);
    }
}
