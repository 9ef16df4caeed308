//! What senders know: which events they sent, and what they were told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testkit::http::Reply;
use tokio::time::Instant;

use crate::http::Failure;

/// All deliveries of a run.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Entries>);

/// What is in it.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) sent: BTreeMap<String, Sent>,
    /// Requests answered 503.
    pub(crate) unavailable: u64,
    /// Requests without an answer, but for those on connections closed while idle.
    pub(crate) unanswered: u64,
    /// Requests on connections that were closed while idle.
    pub(crate) closed_while_idle: u64,
    /// Answers that no sender should get.
    pub(crate) odd: Vec<String>,
    /// When the latest 202 came.
    latest: Option<Instant>,
    /// The longest time between two of them, whichever node they came from.
    pub(crate) longest_pause: Duration,
}

/// What became of the deliveries of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// How often it was called new.
    pub(crate) accepted: u32,
    /// How often it was called a duplicate.
    pub(crate) duplicates: u32,
    /// How often it was called a conflict.
    pub(crate) conflicts: u32,
    /// How often other content was sent, whatever the answer.
    pub(crate) contested: u32,
    /// How often its own content was sent and not acknowledged: it may be stored.
    pub(crate) open: u32,
}

/// What is sent of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// What is always sent first.
    Own,
    /// Something else under the same key.
    Other,
}

impl Sent {
    /// Whether a 202 said that it is durable.
    pub(crate) const fn is_acknowledged(&self) -> bool {
        self.accepted + self.duplicates + self.conflicts > 0
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
    /// Notes an answer, or that there was none: whether it was a 202.
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

    /// How many events are acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let entries = self.entries();
        let sent = entries.sent.values();
        sent.filter(|sent| sent.is_acknowledged()).count()
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        // Whatever panicked, counts are counts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status that an acknowledgement names.
fn status(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(r#""status":""#)?;
    rest.split('"').next()
}

/// The body of a delivery: its content follows from its key.
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
