//! Audit records: what operators did.

use std::num::NonZeroUsize;
use std::time::SystemTime;

use crate::setters::setters;
use crate::text::BoundedText;

/// The largest length of the actor and the action of an [`ActionRecord`] in bytes; longer texts are truncated.
pub const MAX_ACTOR_BYTES: usize = 255;

/// The largest length of the target and the result of an [`ActionRecord`] in bytes; longer texts are truncated.
pub const MAX_TARGET_BYTES: usize = 1024;

/// The largest length of the details of an [`ActionRecord`] in bytes.
pub const MAX_ACTION_DETAILS_BYTES: usize = 4 * 1024;

/// How many audit records a store keeps at most: the latest ones.
pub const MAX_ACTIONS: usize = 100_000;

/// How many audit records [`Admin::actions`](crate::Admin::actions) returns at most.
pub const MAX_ACTION_PAGE: usize = 1_000;

/// What an operator did, to what, and what came of it: an audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionRecord {
    /// Who did it, such as the name of a token.
    pub actor: BoundedText<MAX_ACTOR_BYTES>,
    /// What was done, such as `requeue`.
    pub action: BoundedText<MAX_ACTOR_BYTES>,
    /// What it was done to: a source, a filter or an event, as text.
    pub target: BoundedText<MAX_TARGET_BYTES>,
    /// Further details as JSON text; empty for none.
    pub details: BoundedText<MAX_ACTION_DETAILS_BYTES>,
    /// How many events it applied to, if it is known.
    pub count: Option<u64>,
    /// How it ended, such as `ok`, or the text of an error.
    pub result: BoundedText<MAX_TARGET_BYTES>,
}

impl ActionRecord {
    /// Says that `actor` did `action` to `target`, and that it succeeded (`ok`).
    pub fn new(
        actor: impl Into<BoundedText<MAX_ACTOR_BYTES>>,
        action: impl Into<BoundedText<MAX_ACTOR_BYTES>>,
        target: impl Into<BoundedText<MAX_TARGET_BYTES>>,
    ) -> Self {
        Self {
            actor: actor.into(),
            action: action.into(),
            target: target.into(),
            details: BoundedText::default(),
            count: None,
            result: BoundedText::new("ok"),
        }
    }

    /// Sets [`details`](field@Self::details) to a JSON text. One that is longer than [`MAX_ACTION_DETAILS_BYTES`] is
    /// replaced by `{"too_long":true}`, since a part of it would be no JSON.
    #[must_use]
    pub fn with_details(self, json: impl AsRef<str>) -> Self {
        let json = match json.as_ref() {
            json if json.len() <= MAX_ACTION_DETAILS_BYTES => json,
            _ => r#"{"too_long":true}"#,
        };
        Self {
            details: BoundedText::new(json),
            ..self
        }
    }

    /// Sets [`result`](field@Self::result).
    #[must_use]
    pub fn with_result(self, result: impl Into<BoundedText<MAX_TARGET_BYTES>>) -> Self {
        Self {
            result: result.into(),
            ..self
        }
    }

    setters! {
        with_count count: Option<u64>;
    }
}

/// The number that a store assigns to an audit record. Later records have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(i64);

impl ActionId {
    /// Creates an id from its number, which only backends assign.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// An audit record as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAction {
    /// Its number.
    pub id: ActionId,
    /// When it was recorded, by the store's clock.
    pub at: SystemTime,
    /// What was recorded.
    pub record: ActionRecord,
}

impl StoredAction {
    /// A record with its number and its time.
    pub const fn new(id: ActionId, at: SystemTime, record: ActionRecord) -> Self {
        Self { id, at, record }
    }
}

/// Parameters of [`Admin::actions`](crate::Admin::actions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionPage {
    /// Only records with a smaller id; `None` for the first page.
    pub before: Option<ActionId>,
    /// The largest number of records; at most [`MAX_ACTION_PAGE`] are returned.
    pub limit: NonZeroUsize,
}

impl ActionPage {
    /// The latest `limit` records.
    pub const fn new(limit: NonZeroUsize) -> Self {
        Self {
            before: None,
            limit,
        }
    }

    /// Sets [`before`](field@Self::before).
    #[must_use]
    pub fn before(self, before: impl Into<Option<ActionId>>) -> Self {
        Self {
            before: before.into(),
            ..self
        }
    }

    /// How many records are returned at most.
    pub fn records(&self) -> usize {
        self.limit.get().min(MAX_ACTION_PAGE)
    }
}
