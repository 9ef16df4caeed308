//! What senders know: the events that they sent, and the answers that they got.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testkit::http::Reply;
use tokio::time::Instant;

use crate::http::Failure;
use crate::ledger::now_us;

/// All deliveries of a run.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Entries>);

/// The deliveries by key, and counts of answers.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) sent: BTreeMap<String, Sent>,
    /// Requests answered with 503.
    pub(crate) unavailable: u64,
    /// Requests without an answer, except those on connections that were closed while idle.
    pub(crate) unanswered: u64,
    /// Requests on connections that were closed while idle.
    pub(crate) closed_while_idle: u64,
    /// Answers that no sender should get.
    pub(crate) odd: Vec<String>,
    /// When the latest 202 arrived.
    latest: Option<Instant>,
    /// The longest time between two 202 answers, from any node.
    pub(crate) longest_pause: Duration,
}

/// The answers to the deliveries of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// How often an answer said that the event was accepted as new.
    pub(crate) accepted: u32,
    /// How often an answer said that the event was a duplicate.
    pub(crate) duplicates: u32,
    /// How often an answer said that the event was a conflict.
    pub(crate) conflicts: u32,
    /// How often different content was sent, whatever the answer.
    pub(crate) contested: u32,
    /// How often its own content was sent without an acknowledgement. It may be stored.
    pub(crate) open: u32,
    /// When the first 202 arrived, in microseconds since 1970.
    pub(crate) acknowledged_at_us: Option<i64>,
}

/// The content of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The content that is always sent first.
    Own,
    /// Different content under the same key.
    Other,
}

impl Sent {
    /// Returns whether a 202 acknowledged the event.
    pub(crate) const fn is_acknowledged(&self) -> bool {
        self.accepted + self.duplicates + self.conflicts > 0
    }
}

impl From<BTreeMap<String, Sent>> for Entries {
    fn from(sent: BTreeMap<String, Sent>) -> Self {
        Self {
            sent,
            ..Self::default()
        }
    }
}

impl Entries {
    fn time_acknowledgement(&mut self) {
        let now = Instant::now();
        if let Some(latest) = self.latest.replace(now) {
            self.longest_pause = self.longest_pause.max(now - latest);
        }
    }
}

impl Book {
    /// Records an answer, or that there was none; returns whether it was a 202.
    pub(crate) fn note(
        &self,
        key: &str,
        content: Content,
        answer: &Result<Reply, Failure>,
    ) -> bool {
        let mut entries = self.entries();
        if matches!(answer, Ok(answer) if answer.status == 202) {
            entries.time_acknowledgement();
        }
        let sent = entries.sent.entry(key.to_owned()).or_default();
        if content == Content::Other {
            sent.contested += 1;
        }
        let open = u32::from(content == Content::Own);
        match answer {
            Ok(answer) if answer.status == 202 => {
                sent.acknowledged_at_us.get_or_insert_with(now_us);
                let text = String::from_utf8_lossy(&answer.body);
                match status(&text) {
                    Some("ACCEPTED") if content == Content::Own => sent.accepted += 1,
                    Some("DUPLICATE") if content == Content::Own => sent.duplicates += 1,
                    Some("CONFLICT") if content == Content::Other => sent.conflicts += 1,
                    _ => {
                        let odd = format!("{key}, {content:?} content: 202 {text}");
                        entries.odd.push(odd);
                    }
                }
                true
            }
            Ok(answer) if answer.status == 503 => {
                sent.open += open;
                entries.unavailable += 1;
                false
            }
            Ok(answer) => {
                sent.open += open;
                let text = String::from_utf8_lossy(&answer.body);
                let odd = format!("{key}: {} {text}", answer.status);
                entries.odd.push(odd);
                false
            }
            Err(failure) => {
                sent.open += open;
                match failure {
                    Failure::ClosedWhileIdle => entries.closed_while_idle += 1,
                    Failure::Cut | Failure::Silent => entries.unanswered += 1,
                }
                false
            }
        }
    }

    /// Returns the number of acknowledged events.
    pub(crate) fn acknowledged(&self) -> usize {
        let entries = self.entries();
        let sent = entries.sent.values();
        sent.filter(|sent| sent.is_acknowledged()).count()
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        // The counts are valid even if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the status that an acknowledgement names.
fn status(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(r#""status":""#)?;
    rest.split('"').next()
}

/// Returns the body of a delivery. Its content is derived from its key.
pub(crate) fn body(key: &str, content: Content) -> String {
    let cents = key.bytes().map(u32::from).sum::<u32>() % 100;
    let currency = match content {
        Content::Own => "EUR",
        Content::Other => "USD",
    };
    format!(
        r#"{{"transaction_id":"{key}","source_account":"DE89370400440532013000","destination_account":"GB29NWBK60161331926819","amount":1500.{cents:02},"currency":"{currency}"}}"#
    )
}
