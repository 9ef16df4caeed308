//! Accepting: once per key, and what a key that is taken answers.

use super::Backend;
use super::steps::*;
use crate::{Accepted, State};

/// A batch of nothing is answered with nothing.
pub async fn an_empty_batch_has_no_outcomes(backend: Backend) {
    assert_eq!(backend.accept(&[]).await, []);
    assert_eq!(backend.find(&[]).await, []);
}

/// An event whose key is free is new, and is held as it was delivered.
pub async fn a_free_key_is_new(backend: Backend) {
    let event = event_in(LONG, "a", "content");
    assert_eq!(backend.accept(std::slice::from_ref(&event)).await, [Accepted::New]);
    let record = backend.record("a").await;
    assert_eq!(record.envelope, event.envelope);
    assert_eq!(record.state, State::Processing);
    assert_eq!(record.attempts, 0);
    assert_eq!(record.settled_at, None);
    assert_eq!(record.reason, None);
    assert_eq!(record.conflict_count, 0);
    assert_eq!(record.last_conflict_at, None);
}
