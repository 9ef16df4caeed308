//! Event types: the first delivery's is kept unchanged, claims have it, and lists select by it.

use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{
    Accepted, DeleteBodies, EventType, Kind, MAX_EVENT_TYPE_BYTES, NewEvent, Outcome, Page,
    Requeued, State,
};

fn event_type(text: &str) -> EventType {
    EventType::new(text).expect("cases name valid event types")
}

fn typed(name: &str, text: &str) -> NewEvent {
    let event = event(name, "1");
    NewEvent {
        envelope: event.envelope.with_event_type(event_type(text)),
        ..event
    }
}

/// The keys of the events of a type, page by page.
async fn listed(
    backend: &Backend,
    kind: Kind,
    state: State,
    text: &str,
    limit: usize,
) -> Vec<String> {
    let mut page = Page::new(kind, state, up_to(limit).limit).event_type(event_type(text));
    let mut keys = Vec::new();
    loop {
        let listed = backend.admin.list(&page).await.expect("list");
        for summary in &listed {
            assert_eq!(summary.event_type, page.event_type);
            assert_eq!(summary.state, state);
            keys.push(summary.event.key.to_string());
        }
        let Some(last) = listed.last().filter(|_| listed.len() == limit) else {
            return keys;
        };
        page.after = Some(last.id);
    }
}

/// Event types of any form, and events without one, in one batch.
pub async fn event_types_are_kept_unchanged(backend: Backend) {
    let longest = "\u{1f4a9}".repeat(MAX_EVENT_TYPE_BYTES / 4);
    let types = [
        Some("payment.captured"),
        None,
        Some("Payment.Captured"),
        Some(" it's; DROP TABLE events "),
        Some(&*longest),
        None,
    ];
    let batch: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(number, text)| match text {
            Some(text) => typed(&format!("event-{number}"), text),
            None => event(&format!("event-{number}"), "1"),
        })
        .collect();
    backend.accept_new(&batch).await;
    for event in &batch {
        let record = backend.record(event.envelope.key.as_str()).await;
        assert_eq!(record.envelope, event.envelope);
    }
    let page = Page::new(kind(), State::Processing, up_to(9).limit);
    let all = backend.admin.list(&page).await.expect("list");
    assert_eq!(all.len(), types.len());
    for summary in all {
        let expected = batch
            .iter()
            .find(|it| it.envelope.key == summary.event.key)
            .expect("it was accepted");
        assert_eq!(summary.event_type, expected.envelope.event_type);
    }
    for (number, text) in types.iter().enumerate() {
        if let Some(text) = text {
            let keys = listed(&backend, kind(), State::Processing, text, 9).await;
            assert_eq!(keys, [format!("event-{number}")], "{text}");
        }
    }
}

/// A redelivery with another event type is a duplicate, and the first event type is kept.
pub async fn event_types_are_not_compared(backend: Backend) {
    backend
        .accept_new(&[typed("a", "one"), event("b", "1")])
        .await;
    let before = [backend.record("a").await, backend.record("b").await];
    let again = [typed("a", "two"), typed("b", "one"), event("a", "1")];
    assert_eq!(backend.accept(&again).await, [Accepted::Duplicate; 3]);
    let after = [backend.record("a").await, backend.record("b").await];
    assert_eq!(after, before);
    let of_two = listed(&backend, kind(), State::Processing, "two", 9).await;
    assert!(of_two.is_empty(), "{of_two:?}");
}

/// An event whose body is deleted keeps its event type, also through attempts and requeues.
pub async fn event_types_outlive_bodies(backend: Backend) {
    backend.accept_new(&[typed("a", "one")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, failed("no")).await;
    assert_eq!(
        listed(&backend, kind(), State::Failed, "one", 9).await,
        ["a"]
    );
    let requeued = backend.admin.requeue(&[event_ref("a")]).await;
    requeued.expect("requeue");
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, Outcome::Processed).await;
    let delete = DeleteBodies::new(kind(), Duration::ZERO, up_to(1).limit);
    let deleted = backend.admin.delete_bodies(&delete).await;
    assert_eq!(deleted.expect("delete bodies"), 1);
    let record = backend.record("a").await;
    assert!(record.body_deleted);
    assert_eq!(record.envelope.event_type, Some(event_type("one")));
    assert_eq!(
        listed(&backend, kind(), State::Processed, "one", 9).await,
        ["a"]
    );
    for state in [State::Processing, State::Failed] {
        let keys = listed(&backend, kind(), state, "one", 9).await;
        assert!(keys.is_empty(), "{state}: {keys:?}");
    }
}

/// Each claim has the event type of the first delivery, or none: at first, after a failed attempt, after a
/// redelivery with another type, and after a requeue.
pub async fn claims_have_event_types(backend: Backend) {
    let longest = "\u{1f4a9}".repeat(MAX_EVENT_TYPE_BYTES / 4);
    backend
        .accept_new(&[typed("a", "one"), event("b", "1"), typed("c", &longest)])
        .await;
    let claim = async || {
        let mut claimed = backend.claim_within(&up_to(3), 3).await;
        claimed.sort_by(|one, other| one.key.cmp(&other.key));
        let types: Vec<_> = claimed.iter().map(|it| it.event_type.clone()).collect();
        assert_eq!(
            types,
            [Some(event_type("one")), None, Some(event_type(&longest))]
        );
        claimed
    };
    for claimed in claim().await {
        let again = retry(Duration::ZERO, "again");
        backend.settle_one(claimed.lease, again).await;
    }
    let redelivered = [typed("a", "two"), typed("b", "one"), event("c", "1")];
    let answers = backend.accept(&redelivered).await;
    assert_eq!(answers, [Accepted::Duplicate; 3]);
    for claimed in claim().await {
        backend.settle_one(claimed.lease, failed("no")).await;
    }
    let all = ["a", "b", "c"].map(event_ref);
    let requeued = backend.admin.requeue(&all).await.expect("requeue");
    assert_eq!(requeued, [Requeued::Applied; 3]);
    claim().await;
}

/// A list is of one kind, one state and one type.
pub async fn lists_select_events_of_a_type(backend: Backend) {
    let other = kind_named("another-kind");
    let mut of_other_kind = typed("a", "one");
    of_other_kind.envelope.kind = other.clone();
    backend.accept_new(&[of_other_kind]).await;
    for (name, text, outcome) in [
        ("processed", "one", Outcome::Processed),
        ("failed", "one", failed("no")),
        ("failed-2", "two", failed("no")),
    ] {
        backend.accept_new(&[typed(name, text)]).await;
        let claimed = backend.claim_one(&up_to(1)).await;
        backend.settle_one(claimed.lease, outcome).await;
    }
    let mut late = typed("late", "one");
    late.delay = LONG;
    backend
        .accept_new(&[
            event("untyped", "1"),
            typed("b", "one"),
            typed("c", "two"),
            late,
        ])
        .await;
    for (state, text, expected) in [
        (State::Processing, "one", &["b", "late"][..]),
        (State::Processing, "two", &["c"]),
        (State::Processed, "one", &["processed"]),
        (State::Processed, "two", &[]),
        (State::Failed, "one", &["failed"]),
        (State::Failed, "two", &["failed-2"]),
        (State::Failed, "ONE", &[]),
        (State::Failed, "on", &[]),
    ] {
        let mut keys = listed(&backend, kind(), state, text, 9).await;
        keys.sort();
        assert_eq!(keys, expected, "{state} {text}");
    }
    assert_eq!(
        listed(&backend, other, State::Processing, "one", 9).await,
        ["a"]
    );
    let held = Page::new(kind(), State::Processing, up_to(9).limit)
        .event_type(event_type("one"))
        .held_for_over(LONG / 2);
    let held = backend.admin.list(&held).await.expect("list");
    let keys: Vec<_> = held.iter().map(|it| it.event.key.as_str()).collect();
    assert_eq!(keys, ["late"]);
}

/// Pages of one type among others.
pub async fn pages_of_a_type_list_each_event_once(backend: Backend) {
    let types = ["one", "two", "three"];
    let batch: Vec<_> = (0..60)
        .map(|number| typed(&format!("event-{number:02}"), types[number % 3]))
        .collect();
    for part in batch.chunks(7) {
        backend.accept_new(part).await;
    }
    for (place, text) in types.iter().enumerate() {
        let mut keys = listed(&backend, kind(), State::Processing, text, 3).await;
        keys.sort();
        let expected = (0..60).filter(|number| number % 3 == place);
        let expected: Vec<_> = expected
            .map(|number| format!("event-{number:02}"))
            .collect();
        assert_eq!(keys, expected, "{text}");
    }
}
