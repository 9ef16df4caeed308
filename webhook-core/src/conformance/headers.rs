//! Headers: those of the first delivery are kept unchanged, and are not compared.

use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{
    Accepted, EventRef, Headers, MAX_HEADERS, MAX_HEADERS_BYTES, NewEvent, Outcome, Page, State,
};

fn with_headers(name: &str, headers: Headers) -> NewEvent {
    let event = event(name, "1");
    NewEvent {
        envelope: event.envelope.with_headers(headers),
        ..event
    }
}

/// Repeats, mixed case, bytes that are not UTF-8, white space, an empty value.
fn odd() -> Headers {
    let headers: [(&str, &[u8]); 5] = [
        ("Content-Type", b"application/json; charset=utf-8"),
        ("X-Tag", b"\xff\xfe"),
        ("x-tag", b" \t"),
        ("X-Tag", b""),
        (
            "traceparent",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ];
    Headers::try_from_iter(headers).expect("valid headers")
}

/// The largest number of headers, and the longest headers.
fn most() -> Headers {
    let value = vec![b'x'; MAX_HEADERS_BYTES / MAX_HEADERS - 6];
    let names = (0..MAX_HEADERS).map(|number| format!("h-{number:02}"));
    let headers = Headers::try_from_iter(names.map(|name| (name, &value))).expect("valid headers");
    assert_eq!(headers.as_encoded().len(), MAX_HEADERS_BYTES);
    headers
}

/// Headers of each event of a batch come back with it, byte for byte, wherever it is read.
pub async fn headers_are_kept_unchanged(backend: Backend) {
    let expected = [
        ("a", Headers::new()),
        ("b", odd()),
        ("c", Headers::new()),
        ("d", most()),
    ];
    let batch = expected.clone().map(|(name, it)| with_headers(name, it));
    backend.accept_new(&batch).await;
    let claimed = backend.claim_within(&up_to(4), 4).await;
    for (name, headers) in &expected {
        let record = backend.record(name).await;
        assert_eq!(&record.envelope.headers, headers, "{name}");
        let event = claimed.iter().find(|it| it.key.as_str() == *name);
        let event = event.expect("all are claimed");
        assert_eq!(&event.headers, headers, "{name}");
        assert_eq!(event.accepted_at, record.accepted_at, "{name}");
    }
    let outcomes = [
        ("b", Outcome::Processed, State::Processed),
        ("d", failed("no"), State::Failed),
    ];
    for (name, outcome, state) in outcomes {
        let lease = claimed.iter().find(|it| it.key.as_str() == name);
        let lease = lease.expect("all are claimed").lease;
        backend.settle_one(lease, outcome).await;
        listed_with_headers(&backend, state, &[name]).await;
    }
    listed_with_headers(&backend, State::Processing, &["a", "c"]).await;
}

async fn listed_with_headers(backend: &Backend, state: State, names: &[&str]) {
    let page = Page::new(kind(), state, up_to(10).limit);
    let listed = backend.admin.list(&page).await.expect("list");
    assert_eq!(listed.len(), names.len());
    for summary in listed {
        let EventRef { key, .. } = &summary.event;
        let record = backend.record(key.as_str()).await;
        assert_eq!(summary.headers, record.envelope.headers, "{key}");
    }
}

/// A redelivery with other headers is a duplicate, and those of the first delivery are kept.
pub async fn headers_are_not_compared(backend: Backend) {
    backend.accept_new(&[with_headers("a", odd())]).await;
    backend
        .accept_new(&[with_headers("b", Headers::new())])
        .await;
    let before = [backend.record("a").await, backend.record("b").await];
    let again = [
        with_headers("a", Headers::new()),
        with_headers("b", odd()),
        with_headers("a", most()),
    ];
    let answers = [Accepted::Duplicate; 3];
    assert_eq!(backend.accept(&again).await, answers);
    let after = [backend.record("a").await, backend.record("b").await];
    assert_eq!(after, before);
}

/// Retries and requeues keep the headers.
pub async fn later_attempts_have_the_same_headers(backend: Backend) {
    backend.accept_new(&[with_headers("a", odd())]).await;
    for outcome in [Outcome::Release, failed("no")] {
        let event = backend.claim_one(&up_to(1)).await;
        assert_eq!(event.headers, odd());
        backend.settle_one(event.lease, outcome).await;
    }
    let requeued = backend.admin.requeue(&[event_ref("a")]).await;
    requeued.expect("requeue");
    assert_eq!(backend.claim_one(&up_to(1)).await.headers, odd());
}

/// Headers are deleted with the body, since they may contain the same data.
pub async fn headers_are_deleted_with_bodies(backend: Backend) {
    backend.accept_new(&[with_headers("a", odd())]).await;
    let event = backend.claim_one(&up_to(1)).await;
    backend.settle_one(event.lease, Outcome::Processed).await;
    let delete = crate::DeleteBodies {
        kind: kind(),
        older_than: Duration::ZERO,
        limit: up_to(1).limit,
    };
    assert_eq!(
        backend
            .admin
            .delete_bodies(&delete)
            .await
            .expect("delete bodies"),
        1
    );
    assert_eq!(backend.record("a").await.envelope.headers, Headers::new());
}
