//! How documents identify events.

use serde::Serialize;
use webhook_core::{EventId, Key, Kind};

use super::transaction_kind;

/// Identifies a transaction by its id, and any other event by its kind and key.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum EventName<'a> {
    /// An event of the kind `transaction`.
    Transaction {
        /// The number that the store gave the event; lists are ordered by it.
        #[serde(skip_serializing_if = "Option::is_none")]
        number: Option<i64>,
        transaction_id: &'a str,
    },
    /// An event of any other kind.
    Event {
        kind: &'a str,
        key: &'a str,
        /// The number that the store gave the event; lists are ordered by it.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<i64>,
    },
}

impl<'a> EventName<'a> {
    pub(crate) fn of(kind: &'a Kind, key: &'a Key) -> Self {
        let (kind_text, key) = (kind.as_str(), key.as_str());
        if *kind == transaction_kind() {
            Self::Transaction {
                number: None,
                transaction_id: key,
            }
        } else {
            Self::Event {
                kind: kind_text,
                key,
                id: None,
            }
        }
    }

    /// Adds the number that the store gave the event.
    pub(crate) fn numbered(mut self, event_id: EventId) -> Self {
        match &mut self {
            Self::Transaction { number, .. } => *number = Some(event_id.get()),
            Self::Event { id, .. } => *id = Some(event_id.get()),
        }
        self
    }
}
