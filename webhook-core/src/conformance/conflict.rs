//! Conflicts: records of deliveries with a taken key and other content.

use super::Backend;
use super::steps::*;
use crate::{
    Accepted, ConflictRecord, EventRef, Fingerprint, MAX_CONFLICT_BODIES, MAX_CONFLICT_BODY_BYTES,
    NewEvent,
};

/// Conflicts are listed with all their fields, the latest first.
pub async fn conflicts_are_listed_latest_first(backend: Backend) {
    backend.accept_new(&[event("a", "first")]).await;
    let contents = ["second", "third", "second"];
    for content in contents {
        let accepted = backend.accept(&[event("a", content)]).await;
        assert_eq!(accepted, [Accepted::Conflict]);
    }
    let conflicts = conflicts(&backend, "a").await;
    assert_eq!(conflicts.len(), 3);
    for (conflict, content) in conflicts.iter().zip(contents.iter().rev()) {
        assert_eq!(conflict.body, *content);
        assert_eq!(conflict.body_bytes, content.len() as u64);
        assert_eq!(conflict.fingerprint, Fingerprint::of([content]));
    }
    assert!(conflicts.is_sorted_by(|later, earlier| later.received_at >= earlier.received_at));
    let record = backend.record("a").await;
    assert_eq!(record.conflict_count, 3);
    assert_eq!(record.last_conflict_at, Some(conflicts[0].received_at));
    assert!(conflicts[2].received_at >= record.accepted_at);
}

/// All conflicts are counted, and the latest bodies are kept.
pub async fn the_latest_conflict_bodies_are_kept(backend: Backend) {
    backend.accept_new(&[event("a", "first")]).await;
    let many = MAX_CONFLICT_BODIES + 5;
    for number in 0..many {
        backend.accept(&[event("a", &number.to_string())]).await;
    }
    assert_eq!(backend.record("a").await.conflict_count, many as u64);
    assert_eq!(bodies(&backend, "a").await, latest(many));
}

/// The same, with all conflicts in one batch.
pub async fn many_conflicts_within_a_batch_are_bounded(backend: Backend) {
    let many = MAX_CONFLICT_BODIES + 5;
    let first = event("a", "first");
    let others = (0..many).map(|number| event("a", &number.to_string()));
    let batch: Vec<_> = std::iter::once(first).chain(others).collect();
    let accepted = backend.accept(&batch).await;
    assert_eq!(accepted[0], Accepted::New);
    assert!(accepted[1..].iter().all(|it| *it == Accepted::Conflict));
    assert_eq!(backend.record("a").await.conflict_count, many as u64);
    assert_eq!(bodies(&backend, "a").await, latest(many));
}

/// A conflicting body over the limit is truncated, and its length is kept.
pub async fn long_conflict_bodies_are_truncated(backend: Backend) {
    let lengths = [
        0,
        1,
        MAX_CONFLICT_BODY_BYTES - 1,
        MAX_CONFLICT_BODY_BYTES,
        MAX_CONFLICT_BODY_BYTES + 1,
        2 * MAX_CONFLICT_BODY_BYTES,
    ];
    backend.accept_new(&[event("a", "first")]).await;
    let batch: Vec<_> = lengths.iter().map(|length| with_body(*length)).collect();
    let accepted = backend.accept(&batch).await;
    assert!(accepted.iter().all(|it| *it == Accepted::Conflict));
    let conflicts = conflicts(&backend, "a").await;
    assert_eq!(conflicts.len(), lengths.len());
    for (conflict, event) in conflicts.iter().rev().zip(&batch) {
        let body = &event.envelope.body;
        let kept = body.len().min(MAX_CONFLICT_BODY_BYTES);
        assert_eq!(conflict.body_bytes, body.len() as u64);
        assert!(conflict.body == body[..kept], "the first bytes are kept");
        assert_eq!(conflict.fingerprint, event.envelope.fingerprint);
    }
}

/// The list is empty for an event without conflicts, and for an unknown event.
pub async fn events_without_conflicts_list_none(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    backend.accept(&[event("a", "1")]).await;
    assert_eq!(conflicts(&backend, "a").await, []);
    assert_eq!(conflicts(&backend, "unknown").await, []);
}

/// Conflicts belong to one event, not to its key in other kinds or to its neighbours.
pub async fn conflicts_belong_to_one_event(backend: Backend) {
    let other = kind_named("other");
    let batch = [event("a", "1"), event("b", "1"), event_of(&other, "a", "1")];
    backend.accept_new(&batch).await;
    let conflicting = [event("a", "of a"), event_of(&other, "a", "of the other a")];
    backend.accept(&conflicting).await;
    assert_eq!(bodies(&backend, "a").await, ["of a"]);
    assert_eq!(conflicts(&backend, "b").await, []);
    let elsewhere = EventRef {
        kind: other,
        key: key("a"),
    };
    let elsewhere = backend.admin.conflicts(&elsewhere).await;
    let elsewhere = elsewhere.expect("conflicts");
    assert_eq!(elsewhere[0].body, "of the other a");
    assert_eq!(elsewhere.len(), 1);
}

async fn conflicts(backend: &Backend, name: &str) -> Vec<ConflictRecord> {
    let conflicts = backend.admin.conflicts(&event_ref(name)).await;
    conflicts.expect("conflicts")
}

async fn bodies(backend: &Backend, name: &str) -> Vec<String> {
    let conflicts = conflicts(backend, name).await;
    conflicts
        .iter()
        .map(|conflict| String::from_utf8_lossy(&conflict.body).into_owned())
        .collect()
}

/// The bodies that are kept of conflicts numbered from 0.
fn latest(many: usize) -> Vec<String> {
    let numbers = (0..many).rev().take(MAX_CONFLICT_BODIES);
    numbers.map(|number| number.to_string()).collect()
}

fn with_body(length: usize) -> NewEvent {
    let mut event = event("a", &format!("{length} bytes"));
    let bytes = (0..=u8::MAX).cycle().take(length);
    event.envelope.body = bytes.collect::<Vec<_>>().into();
    event
}
