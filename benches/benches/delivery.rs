//! The deliveries that the benches send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use webhook_core::{Envelope, Headers, NewEvent};
use webhook_server::transaction::Transaction;

/// A transaction with a fresh key; about 300 bytes.
pub(crate) fn body() -> Bytes {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = format!(
        r#"{{"transaction_id":"txn-{number:016}","source_account":"DE89370400440532013000","destination_account":"FR1420041010050500013M02606","amount":1500.50,"currency":"EUR","reference":"invoice {number:016}, thank you for your order","created_at":"2026-01-02T03:04:05Z","metadata":{{"channel":"web","attempt":1}}}}"#
    );
    body.into()
}

/// Makes `count` [`body`]s.
pub(crate) fn bodies(count: usize) -> Vec<Bytes> {
    (0..count).map(|_| body()).collect()
}

/// Makes `count` events with fresh keys, due at once.
pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    let bodies = (0..count).map(|_| body());
    let events = bodies.map(|body| {
        NewEvent::new(
            Envelope::of::<Transaction>(body, Headers::new()).expect("it is a transaction"),
            Duration::ZERO,
        )
    });
    events.collect()
}
