//! Transfers: whole events are read and written unchanged.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Backend;
use super::steps::*;
use crate::transfer::{MoveMark, StoredEvent, Transfer};
use crate::{
    Accepted, Attempt, ConflictRecord, DeleteBodies, Envelope, EventId, EventRecord, EventType,
    FailedAttempt, FailureReason, Fence, Fingerprint, Headers, MAX_CONFLICT_BODIES,
    MAX_CONFLICT_BODY_BYTES, MAX_DETAILS_BYTES, MAX_FAILED_ATTEMPTS, MAX_HEADERS_BYTES,
    MAX_KEY_BYTES, Outcome, Reason, Requeued, State,
};

/// Events that were accepted and processed here are exported as they are found and listed.
pub async fn exported_events_are_what_is_found(backend: Backend) {
    accept_and_work(&backend).await;
    let exported = export_all(&backend, 3).await;
    assert_eq!(exported.len(), 7);
    assert!(exported.is_sorted_by(|a, b| a.record.id < b.record.id));
    for event in &exported {
        assert_found(&backend, event).await;
    }
    let fence = |name: &str| named(&exported, name).fence.get();
    assert_eq!(fence("waiting"), 0);
    assert_eq!(fence("retried"), 2);
    let conflicted = named(&exported, "conflicted");
    let numbers: Vec<u64> = conflicted.conflicts.iter().map(|(at, _)| *at).collect();
    let count = MAX_CONFLICT_BODIES as u64 + 2;
    assert_eq!(conflicted.record.conflict_count, count);
    assert!(
        numbers.iter().copied().eq(3..=count),
        "the latest: {numbers:?}"
    );
    let fences = |name: &str| -> Vec<i64> {
        let kept = named(&exported, name).failed_attempts.iter();
        kept.map(|(fence, _)| fence.get()).collect()
    };
    assert_eq!(fences("retried"), [1]);
    assert_eq!(fences("failed"), [1]);
    assert!(named(&exported, "emptied").record.body_deleted);
}

/// Events of every sort are exported as they were imported, and found and listed so.
pub async fn imported_events_are_unchanged(backend: Backend) {
    let events = events_of_every_sort();
    assert_eq!(import(&backend, &events).await, events.len());
    for event in &events {
        assert_found(&backend, event).await;
    }
    assert_same(&backend, export_all(&backend, 1_000).await, events);
}

/// Guards are exported, and those that were imported are known.
pub async fn imported_guards_are_known(backend: Backend) {
    let guard = Fingerprint::of(["guard"]);
    let mut accepted = event_of(&guarded_kind(), "accepted", "1");
    accepted.envelope.guard = Some(guard);
    backend.accept_new(&[accepted]).await;
    let exported = export_all(&backend, 9).await;
    assert_eq!(exported[0].guard, Some(guard));
    let other = Fingerprint::of(["other guard"]);
    let mut imported = [
        processing("imported").with_guard(Some(other)),
        settled("settled", State::Processed).with_guard(Some(Fingerprint::of(["third"]))),
    ];
    for event in &mut imported {
        event.record.envelope.kind = guarded_kind();
    }
    assert_eq!(import(&backend, &imported).await, 2);
    assert_eq!(
        without_ids(export_all(&backend, 9).await)[1..],
        without_ids(imported.to_vec())
    );
    for (name, guard) in [("a", guard), ("b", other)] {
        let mut again = event_of(&guarded_kind(), name, "1");
        again.envelope.guard = Some(guard);
        assert_eq!(backend.accept(&[again]).await, [Accepted::Duplicate]);
    }
}

/// The ids of imported events are in the order of the import, after those that are there.
pub async fn imported_events_keep_their_order(backend: Backend) {
    backend.accept_new(&[event("first", "1")]).await;
    let names: Vec<String> = (0..250)
        .map(|number| format!("{}", 977 * number % 250))
        .collect();
    let events: Vec<StoredEvent> = names.iter().map(|name| processing(name)).collect();
    for batch in events.chunks(100) {
        import(&backend, batch).await;
    }
    let exported = export_all(&backend, 7).await;
    let exported: Vec<&str> = exported.iter().map(key_of).collect();
    let expected: Vec<&str> = ["first"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    backend.assert_order(&exported, &expected);
    let newest = transfer(&backend).newest().await.expect("newest");
    let newest = newest.expect("there are events in every partition");
    assert!(!backend.orders_all() || newest == event_ref(&names[249]));
    // A move continues after it: what was imported before is in all partitions.
    assert!(names[100..].iter().any(|name| newest == event_ref(name)));
}

/// Importing an event again changes nothing, also if the event has changed since.
pub async fn a_repeated_import_changes_nothing(backend: Backend) {
    let mut events = events_of_every_sort();
    let half = events.len() / 2;
    assert_eq!(import(&backend, &events[..half]).await, half);
    let before = export_all(&backend, 1_000).await;
    assert_eq!(import(&backend, &events[..half]).await, 0);
    assert_eq!(export_all(&backend, 1_000).await, before);
    for event in &mut events[..half] {
        event.record.attempts += 1;
        event.conflicts.clear();
    }
    let new = events.len() - half;
    assert_eq!(import(&backend, &events).await, new);
    let after = export_all(&backend, 1_000).await;
    let (old, new): (Vec<_>, Vec<_>) = after.into_iter().partition(|event| before.contains(event));
    assert_eq!(old, before);
    assert_same(&backend, new, events[half..].to_vec());
    assert_eq!(import(&backend, &[]).await, 0);
}

/// An export ends before its limit if the bodies are large, and returns one event at least.
pub async fn exports_are_bounded_in_bytes(backend: Backend) {
    const MAX_BYTES: usize = 100_000;
    let large = |name: &str| {
        let mut event = processing(name);
        event.record.envelope.body = vec![b'x'; MAX_BYTES / 2 + 1].into();
        event
    };
    for name in ["a", "b", "c"] {
        import(&backend, &[large(name)]).await;
    }
    let whole: Vec<_> = {
        let limit = NonZeroUsize::new(9).expect("not zero");
        let page = crate::Page::new(kind(), State::Processing, limit);
        let listed = backend.admin.list(&page).await.expect("list");
        listed.iter().map(|it| it.event.key.to_string()).collect()
    };
    backend.assert_order(&whole, &["a", "b", "c"]);
    let mut after = None;
    for name in whole {
        let page = export_within(&backend, after, 100, MAX_BYTES).await;
        assert!(page.len() <= 2, "{}", page.len());
        assert_eq!(key_of(&page[0]), name);
        let page = export_within(&backend, after, 100, 0).await;
        assert_eq!(page.len(), 1);
        assert_eq!(key_of(&page[0]), name);
        after = Some(page[0].record.id);
    }
    assert_eq!(export(&backend, after, 100).await, []);
}

/// The details of failed attempts count, too.
pub async fn exports_are_bounded_in_bytes_of_details(backend: Backend) {
    const BYTES: usize = MAX_FAILED_ATTEMPTS * MAX_DETAILS_BYTES;
    const EVENTS: usize = 6;
    const MAX_BYTES: usize = 2 * BYTES;
    let events: Vec<StoredEvent> = (0..EVENTS)
        .map(|number| {
            let attempts = (1..=MAX_FAILED_ATTEMPTS).map(|fence| {
                let reason = with_details("broken", vec![b'x'; MAX_DETAILS_BYTES]);
                let failed = FailedAttempt::new(Attempt::FIRST, at(1), reason);
                (Fence::new(i64::try_from(fence).expect("small")), failed)
            });
            processing(&format!("event-{number}")).with_failed_attempts(attempts.collect())
        })
        .collect();
    import(&backend, &events).await;
    let page = export_within(&backend, None, EVENTS, MAX_BYTES).await;
    assert!(page.len() <= 3, "{}", page.len());
    let after = page.last().map(|it| it.record.id);
    let rest = export(&backend, after, EVENTS).await;
    if backend.orders_all() {
        assert_eq!(page.len() + rest.len(), EVENTS);
    }
    assert_eq!(export_all(&backend, EVENTS).await.len(), EVENTS);
}

/// An imported event continues where it was: with its next attempt and a greater fencing token.
pub async fn imported_events_are_claimed_with_the_next_fence(backend: Backend) {
    let mut waiting = processing("waiting").with_fence(Fence::new(7));
    waiting.record.attempts = 3;
    import(&backend, &[waiting]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    assert_eq!(claimed.lease.attempt.number(), 4);
    assert_eq!(claimed.lease.fence, Fence::new(8));
    backend.settle_one(claimed.lease, failed("broken")).await;
    let requeued = backend.admin.requeue(&[event_ref("waiting")]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::Applied]);
    let claimed = backend.claim_one(&up_to(1)).await;
    assert_eq!(claimed.lease.fence, Fence::new(9));
}

/// A failed event that was imported is requeued with a greater fencing token.
pub async fn imported_failures_are_requeued_with_the_next_fence(backend: Backend) {
    let failed = settled("failed", State::Failed).with_fence(Fence::new(20));
    import(&backend, &[failed]).await;
    let requeued = backend.admin.requeue(&[event_ref("failed")]).await;
    assert_eq!(requeued.expect("requeue"), [Requeued::Applied]);
    let claimed = backend.claim_one(&up_to(1)).await;
    assert_eq!(claimed.lease.fence, Fence::new(21));
}

/// A lease is imported: its event is not claimed before the lease ends, and its attempt is lost then.
pub async fn leases_are_imported(backend: Backend) {
    let now = now(&backend).await;
    let leased = |name: &str, until: SystemTime| {
        let mut event = processing(name).with_fence(Fence::new(1));
        event.record.attempts = 1;
        event.record.leased_until = Some(until);
        event
    };
    let ended = now - Duration::from_secs(60);
    let events = [leased("running", now + LONG), leased("lost", ended)];
    import(&backend, &events).await;
    let claimed = backend.claim(&up_to(10)).await.events;
    assert_eq!(keys(&claimed), ["lost"]);
    assert_eq!(claimed[0].lease.attempt.number(), 2);
    let kept = backend.admin.failed_attempts(&event_ref("lost")).await;
    let lost = FailedAttempt::new(Attempt::FIRST, ended, FailureReason::Lost);
    assert_eq!(kept.expect("failed attempts"), [lost]);
    let running = backend.record("running").await;
    assert_eq!(running.leased_until, Some(now + LONG));
}

/// The numbers of conflicts and of failed attempts continue: the latest are kept.
pub async fn imported_events_go_on_counting(backend: Backend) {
    let events = [with_conflicts(MAX_CONFLICT_BODIES as u64 + 3)];
    import(&backend, &events).await;
    backend.accept(&[event("conflicts", "new")]).await;
    let expected = MAX_CONFLICT_BODIES as u64 + 4;
    let record = backend.record("conflicts").await;
    assert_eq!(record.conflict_count, expected);
    let exported = export_all(&backend, 10).await.remove(0);
    let numbers: Vec<u64> = exported.conflicts.iter().map(|(at, _)| *at).collect();
    assert!(numbers.iter().copied().eq(5..=expected), "{numbers:?}");
    let (_, last) = exported.conflicts.last().expect("some are kept");
    assert_eq!(last.body, "new");
}

/// A delivery of an imported key is a duplicate or a conflict.
pub async fn imported_keys_are_taken(backend: Backend) {
    import(&backend, &[processing("a"), settled("b", State::Processed)]).await;
    for name in ["a", "b"] {
        let accepted = backend
            .accept(&[event(name, name), event(name, "other")])
            .await;
        assert_eq!(
            accepted,
            [crate::Accepted::Duplicate, crate::Accepted::Conflict]
        );
    }
}

/// The mark is kept until it is replaced or removed.
pub async fn a_mark_is_kept(backend: Backend) {
    let transfer = transfer(&backend);
    assert_eq!(transfer.mark().await.expect("mark"), None);
    let other = "postgres://db.internal/inbox?a='é'".to_owned();
    for mark in [
        Some(MoveMark::Filling {
            from: other.clone(),
        }),
        Some(MoveMark::Moved { to: other }),
        None,
        None,
    ] {
        transfer.set_mark(mark.as_ref()).await.expect("set mark");
        assert_eq!(transfer.mark().await.expect("mark"), mark);
    }
}

/// Nothing is exported out of an empty backend.
pub async fn an_empty_backend_exports_nothing(backend: Backend) {
    assert_eq!(export(&backend, None, 10).await, []);
    assert_eq!(export(&backend, Some(EventId::new(i64::MAX)), 10).await, []);
    assert_eq!(transfer(&backend).newest().await.expect("newest"), None);
}

/// Events of every state, with conflicts, failed attempts and headers, as senders and workers make them.
async fn accept_and_work(backend: &Backend) {
    backend.settled("processed", "1", Outcome::Processed).await;
    let mut emptied = event("emptied", "1");
    emptied.envelope.headers = Headers::try_from_iter([("a", "b")]).expect("valid");
    backend.accept_new(&[emptied]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend.settle_one(claimed.lease, Outcome::Processed).await;
    let delete = DeleteBodies::new(kind(), Duration::ZERO, NonZeroUsize::MAX);
    backend.admin.delete_bodies(&delete).await.expect("delete");
    backend.settled("failed", "1", failed("broken")).await;
    backend.accept_new(&[event("retried", "1")]).await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend
        .settle_one(claimed.lease, retry(Duration::ZERO, "again"))
        .await;
    let claimed = backend.claim_one(&up_to(1)).await;
    backend
        .settle_one(claimed.lease, Outcome::Postpone { after: LONG })
        .await;
    let mut leased = event("leased", "1");
    leased.envelope.headers = Headers::try_from_iter([("a", "b"), ("c", "d")]).expect("valid");
    backend.accept_new(&[leased]).await;
    backend.claim_one(&up_to(1)).await;
    backend
        .accept_new(&[
            event_in(LONG, "waiting", "1"),
            event_in(LONG, "conflicted", "1"),
        ])
        .await;
    for content in 0..MAX_CONFLICT_BODIES + 2 {
        let content = format!("other {content}");
        backend.accept(&[event("conflicted", &content)]).await;
    }
}

/// Events whose parts have all values that matter.
fn events_of_every_sort() -> Vec<StoredEvent> {
    let mut waiting = processing("waiting");
    // In the year 3237: too late for a double to hold the microseconds.
    waiting.record.due_at = Some(at(40_000_000_000_000_001));
    let mut longest = processing(&"\u{1f4a9}".repeat(MAX_KEY_BYTES / 4));
    longest.record.envelope.kind = kind_named("another-kind");
    let value = vec![0xff; MAX_HEADERS_BYTES - 3];
    longest.record.envelope.event_type = EventType::new("\u{1f4a9}".repeat(128)).ok();
    longest.record.envelope.headers = Headers::try_from_iter([("a", value)]).expect("valid");
    longest.record.envelope.body = (0..=255).collect::<Vec<u8>>().repeat(1_000).into();
    let mut empty = processing("empty");
    empty.record.envelope.body = "".into();
    // Before 1970, and with an odd microsecond.
    empty.record.accepted_at = UNIX_EPOCH - Duration::from_micros(1);
    let mut retried = processing("retried").with_fence(Fence::new(i64::from(u32::MAX)));
    retried.record.attempts = 2;
    retried.record.reason = Some(error("it's \"broken\"; DROP TABLE events; \\ é"));
    let mut leased = processing("leased").with_fence(Fence::new(5));
    leased.record.attempts = 1;
    leased.record.leased_until = Some(at(4_000_000_000_123_457));
    let mut deleted = settled("deleted", State::Processed);
    deleted.record.envelope.body = "".into();
    deleted.record.body_deleted = true;
    deleted.record.envelope.event_type = EventType::new("it's \"deleted\"").ok();
    let mut exhausted = settled("exhausted", State::Failed).with_failed_attempts(
        (1..=MAX_FAILED_ATTEMPTS)
            .map(|number| {
                // Some fencing tokens belong to attempts that were released.
                let fence = i64::try_from(number * 3).expect("small");
                let number = attempts(u32::try_from(number).expect("small"));
                let ended_at = at(1_700_000_000_000_000 + fence.unsigned_abs());
                let reason = match number.get() {
                    1 => error(""),
                    2 => error(&"é".repeat(crate::MAX_REASON_BYTES / 2)),
                    3 => with_details("answered 500", vec![0xff; crate::MAX_DETAILS_BYTES]),
                    4 => with_details("answered nothing", Vec::new()),
                    _ => FailureReason::Lost,
                };
                let failed = FailedAttempt::new(Attempt::new(number), ended_at, reason);
                (Fence::new(fence), failed)
            })
            .collect(),
    );
    exhausted.record.attempts = 3;
    exhausted.record.reason = Some(FailureReason::Exhausted);
    let mut events = vec![
        waiting,
        longest,
        empty,
        retried,
        leased,
        settled("processed", State::Processed),
        deleted,
        exhausted,
        with_conflicts(1),
        settled("last", State::Failed),
    ];
    let mut many = with_conflicts(1_000_000);
    many.record.envelope.key = key("many conflicts");
    events.push(many);
    // More than one statement takes.
    events.extend((0..300).map(|number| processing(&format!("more-{number}"))));
    events
}

fn with_details(reason: &str, details: Vec<u8>) -> FailureReason {
    Reason::new(reason).with_details(details.into()).into()
}

fn at(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(us)
}

fn stored(name: &str, state: State) -> StoredEvent {
    let envelope = Envelope::new(
        kind(),
        key(name),
        Fingerprint::of([name]),
        format!("body of {name}").into(),
    );
    let accepted_at = at(1_600_000_000_000_001);
    let record = EventRecord::new(EventId::new(1), envelope, state, accepted_at);
    StoredEvent::new(record)
}

fn processing(name: &str) -> StoredEvent {
    let mut event = stored(name, State::Processing);
    event.record.due_at = Some(at(1_600_000_000_999_999));
    event
}

fn settled(name: &str, state: State) -> StoredEvent {
    let mut event = stored(name, state).with_fence(Fence::new(1));
    event.record.attempts = 1;
    event.record.settled_at = Some(at(1_600_000_001_000_003));
    event.record.reason = (state == State::Failed).then(|| error("broken"));
    event
}

fn with_conflicts(count: u64) -> StoredEvent {
    let first = count.saturating_sub(MAX_CONFLICT_BODIES as u64) + 1;
    let conflict = |number: u64| {
        let body = vec![b'c'; MAX_CONFLICT_BODY_BYTES.min(usize::try_from(number).unwrap_or(1))];
        let received_at = at(1_600_000_000_000_000 + number);
        let body_bytes = body.len() as u64 + number;
        let fingerprint = Fingerprint::of([number.to_string()]);
        ConflictRecord::new(received_at, fingerprint, body.into(), body_bytes)
    };
    let kept = (first..=count).map(|number| (number, conflict(number)));
    let mut event = processing("conflicts").with_conflicts(kept.collect());
    event.record.conflict_count = count;
    event.record.last_conflict_at = Some(at(1_600_000_000_000_000 + count));
    event
}

fn transfer(backend: &Backend) -> &dyn Transfer {
    let transfer = backend.transfer.as_deref();
    transfer.expect("the subject gives its backend a `Transfer`")
}

async fn import(backend: &Backend, events: &[StoredEvent]) -> usize {
    transfer(backend).import(events).await.expect("import")
}

async fn export(backend: &Backend, after: Option<EventId>, limit: usize) -> Vec<StoredEvent> {
    export_within(backend, after, limit, usize::MAX).await
}

async fn export_within(
    backend: &Backend,
    after: Option<EventId>,
    limit: usize,
    max_bytes: usize,
) -> Vec<StoredEvent> {
    let limit = NonZeroUsize::new(limit).expect("cases export something");
    let page = transfer(backend).export(after, limit, max_bytes).await;
    let page = page.expect("export");
    assert!(page.len() <= limit.get());
    page
}

async fn export_all(backend: &Backend, limit: usize) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    loop {
        let after = events.last().map(|it: &StoredEvent| it.record.id);
        let page = export(backend, after, limit).await;
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

fn key_of(event: &StoredEvent) -> &str {
    event.record.envelope.key.as_str()
}

fn named<'e>(events: &'e [StoredEvent], name: &str) -> &'e StoredEvent {
    let mut found = events.iter().filter(|event| key_of(event) == name);
    found.next().expect("it is exported")
}

/// Compares exported events with those that were imported, without their ids. A partitioned backend keeps the order of
/// each partition.
fn assert_same(backend: &Backend, exported: Vec<StoredEvent>, imported: Vec<StoredEvent>) {
    let (mut exported, mut imported) = (without_ids(exported), without_ids(imported));
    let refs = |events: &[StoredEvent]| events.iter().map(StoredEvent::event).collect::<Vec<_>>();
    backend.assert_order_of(&refs(&exported), &refs(&imported));
    if !backend.orders_all() {
        exported.sort_by_key(StoredEvent::event);
        imported.sort_by_key(StoredEvent::event);
    }
    assert_eq!(exported, imported);
}

fn without_ids(mut events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    for event in &mut events {
        event.record.id = EventId::new(0);
    }
    events
}

/// The time by the backend's clock.
async fn now(backend: &Backend) -> SystemTime {
    backend.settled("clock", "", Outcome::Processed).await;
    let record = backend.record("clock").await;
    record.settled_at.expect("it is settled")
}

/// Compares an event with what readers and operators see of it.
async fn assert_found(backend: &Backend, event: &StoredEvent) {
    let name = [event.event()];
    let mut found = backend.find(&name).await.remove(0).expect("it is found");
    found.id = event.record.id;
    if event
        .record
        .leased_until
        .is_some_and(|until| until < at(1_700_000_000_000_000))
    {
        // An expired lease is not shown.
        found.leased_until = event.record.leased_until;
    }
    assert_eq!(found, event.record);
    let conflicts = backend.admin.conflicts(&name[0]).await.expect("conflicts");
    let expected = event.conflicts.iter().rev().map(|(_, conflict)| conflict);
    assert!(conflicts.iter().eq(expected), "{name:?}: {conflicts:?}");
    let failed = backend.admin.failed_attempts(&name[0]).await;
    let expected = event.failed_attempts.iter().rev().map(|(_, failed)| failed);
    let failed = failed.expect("failed attempts");
    assert!(failed.iter().eq(expected), "{name:?}: {failed:?}");
}
