//! Events of one call: they are stored in one transaction, or none of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Backend;
use super::steps::*;
use crate::{Accepted, Envelope, Inbox, InboxOptions, MAX_TOGETHER, NewEvent};

fn inbox(backend: &Backend) -> Inbox {
    let options = InboxOptions::default().with_accept_timeout(Duration::from_secs(60));
    Inbox::new(Arc::clone(&backend.store), options)
}

fn envelopes(events: &[NewEvent]) -> Vec<Envelope> {
    events.iter().map(|event| event.envelope.clone()).collect()
}

/// Answer *i* belongs to event *i*: new keys, keys that are taken, repeats within the call, and none at all.
pub async fn events_stored_together_are_answered_in_order(backend: Backend) {
    backend.accept_new(&[event("taken", "1")]).await;
    let inbox = inbox(&backend);
    let batch = [
        event("z", "1"),
        event("taken", "1"),
        event("a", "1"),
        event("z", "1"),
        event("taken", "2"),
        event("a", "2"),
    ];
    let answers = inbox
        .accept_together_after(envelopes(&batch), LONG)
        .await
        .expect("accepted");
    let expected = [
        Accepted::New,
        Accepted::Duplicate,
        Accepted::New,
        Accepted::Duplicate,
        Accepted::Conflict,
        Accepted::Conflict,
    ];
    assert_eq!(answers, expected);
    assert_eq!(backend.record("a").await.envelope, batch[2].envelope);
    assert_eq!(backend.record("a").await.conflict_count, 1);
    let claimed = backend.claim_within(&up_to(9), 1).await;
    assert_eq!(keys(&claimed), ["taken"], "the others are due later");
    let none = inbox.accept_together(Vec::new()).await;
    assert_eq!(none.expect("accepted"), []);
    inbox.close().await;
}

/// The largest number of events, beside other deliveries.
pub async fn five_thousand_events_are_stored_together(backend: Backend) {
    let mut batch = events(MAX_TOGETHER - 100);
    batch.reverse();
    batch.extend_from_within(..100);
    let inbox = inbox(&backend);
    let (before, together, after) = tokio::join!(
        inbox.accept(event("before", "1").envelope),
        inbox.accept_together(envelopes(&batch)),
        inbox.accept(event("after", "1").envelope),
    );
    assert_eq!(before.expect("accepted"), Accepted::New);
    assert_eq!(after.expect("accepted"), Accepted::New);
    let together = together.expect("accepted");
    let (new, repeats) = together.split_at(MAX_TOGETHER - 100);
    assert!(new.iter().all(|it| *it == Accepted::New));
    assert_eq!(repeats, [Accepted::Duplicate; 100]);
    let refs: Vec<_> = batch.iter().map(reference).collect();
    for (event, found) in batch.iter().zip(backend.find(&refs).await) {
        assert_eq!(found.map(|it| it.envelope), Some(event.envelope.clone()));
    }
    inbox.close().await;
}

/// A call that is dropped at any time stores all its events, or none, of each partition if there are any.
pub async fn a_dropped_call_stores_all_its_events_or_none(backend: Backend) {
    for round in 0..8 {
        let names = (0..500).map(|number| format!("round-{round}-{number:03}"));
        let batch: Vec<_> = names.map(|name| event(&name, "1")).collect();
        let _ = timeout(
            Duration::from_millis(1 << round),
            backend.store.accept(&batch),
        )
        .await;
        let mut stored = BTreeMap::new();
        for (event, again) in batch.iter().zip(backend.accept(&batch).await) {
            assert!(matches!(again, Accepted::New | Accepted::Duplicate));
            let partition = backend.partition_of(event.envelope.key.as_str());
            let others = *stored.entry(partition).or_insert(again);
            assert_eq!(again, others, "round {round}, partition {partition}");
        }
    }
}

/// Concurrent calls with the same events, in different orders.
pub async fn calls_that_overlap_store_each_event_once(backend: Backend) {
    let inbox = inbox(&backend);
    let batch = envelopes(&events(300));
    let calls = (0..4).map(|call| {
        let mut batch = batch.clone();
        batch.rotate_left(call * 70);
        let inbox = &inbox;
        async move {
            let mut answers = inbox.accept_together(batch).await.expect("accepted");
            answers.rotate_right(call * 70);
            answers
        }
    });
    let answers = futures_util::future::join_all(calls).await;
    for event in 0..batch.len() {
        let new = answers.iter().filter(|it| it[event] == Accepted::New);
        assert_eq!(new.count(), 1, "event {event}");
    }
    inbox.close().await;
}
