//! How to test an app: its handler alone, the whole app in memory, where hours pass at once, its
//! answers when the store fails, and its own store.
//!
//! `webhook-core` has the features `mocks` and `conformance` for this, as a dev-dependency.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::time::Instant;
use webhook_core::conformance::{Backend, Subject};
use webhook_core::{
    Accepted, Admin, ErrorKind, Event, EventRecord, EventRef, Handled, Handler, HandlerError,
    Headers, Identity, Inbox, InboxOptions, InvalidPayload, MockStore, NewEvent, Payload, Pipeline,
    Requeued, State, Store, StoreError,
};
use webhook_memory::MemoryStore;

// ---- The app ----

#[derive(Deserialize)]
struct Order {
    id: String,
    total_cents: u64,
}

impl Payload for Order {
    const KIND: &'static str = "order";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/id", &["/total_cents"])
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(serde_json::from_slice(body)?)
    }
}

#[derive(Default)]
struct Shop {
    /// How many more times no courier comes.
    courier_fails: AtomicU32,
    shipped: Mutex<Vec<String>>,
}

const COURIER_DELAY: Duration = Duration::from_secs(20 * 60);

impl Shop {
    fn whose_courier_fails(times: u32) -> Self {
        let courier_fails = times.into();
        Self {
            courier_fails,
            ..Self::default()
        }
    }
}

impl Handler<Order> for Shop {
    async fn handle(&self, order: Event<Order>) -> Result<Handled, HandlerError> {
        if order.payload.total_cents == 0 {
            return Err(HandlerError::reject("nothing to pay"));
        }
        let fails = |left: u32| left.checked_sub(1);
        let failed = self
            .courier_fails
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails);
        if failed.is_ok() && order.is_last_attempt() {
            return Err(HandlerError::reject("no courier took it"));
        } else if failed.is_ok() {
            return Err(HandlerError::retry_after(COURIER_DELAY, "no courier"));
        }
        self.shipped
            .lock()
            .expect("no panic")
            .push(order.payload.id);
        Ok(Handled::Done)
    }
}

/// Returns the status of the answer to a delivery.
async fn deliver(inbox: &Inbox, body: &'static str) -> u16 {
    match inbox.receive::<Order>(body.into()).await {
        Ok(_) => 202,
        Err(error) => match error.kind() {
            ErrorKind::Invalid => 422,
            ErrorKind::Temporary => 503,
            _ => 500,
        },
    }
}

// ---- The handler alone: makes an event from a payload, and compares errors ----

fn order(total_cents: u64) -> Event<Order> {
    let id = "o-1".to_owned();
    Event::new(Order { id, total_cents })
}

#[tokio::test]
async fn orders_without_a_total_are_rejected() {
    let handled = Shop::default().handle(order(0)).await;
    assert_eq!(handled, Err(HandlerError::reject("nothing to pay")));
}

#[tokio::test]
async fn the_courier_is_called_again_until_the_last_attempt() {
    let shop = Shop::whose_courier_fails(2);
    let again = HandlerError::retry_after(COURIER_DELAY, "no courier");
    assert_eq!(shop.handle(order(995)).await, Err(again));
    let last = order(995).on_attempt(3).of_attempts(3);
    let error = shop.handle(last).await.unwrap_err();
    assert!(error.is_rejection());
    assert_eq!(error.reason(), "no courier took it");
    assert_eq!(shop.handle(order(995)).await, Ok(Handled::Done));
    assert_eq!(*shop.shipped.lock().unwrap(), ["o-1"]);
}

// ---- The app in memory: the store uses Tokio's clock, which `start_paused` lets jump ahead ----

const BODY: &str = r#"{"id":"o-1","total_cents":995}"#;

#[tokio::test(start_paused = true)]
async fn an_hour_of_retries_takes_no_time() {
    let began = Instant::now();
    let shop = Arc::new(Shop::whose_courier_fails(3));
    let pipeline = Pipeline::builder(MemoryStore::default())
        .handle(shop.clone())
        .start();

    let receipt = pipeline.inbox().receive::<Order>(BODY.into()).await;
    pipeline.idle().await;

    let key = receipt.unwrap().key;
    let record = pipeline.inbox().find::<Order>(&key).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (State::Processed, 4));
    assert_eq!(*shop.shipped.lock().unwrap(), ["o-1"]);
    assert!(began.elapsed() >= 3 * COURIER_DELAY);
    pipeline.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn failed_orders_can_be_requeued() {
    let store = Arc::new(MemoryStore::default());
    let pipeline = Pipeline::builder(store.clone())
        .handle(Shop::default())
        .start();
    let body = r#"{"id":"o-1","total_cents":0}"#;
    assert_eq!(deliver(pipeline.inbox(), body).await, 202);
    pipeline.idle().await;

    let kind = webhook_core::payload::kind_of::<Order>();
    assert_eq!(store.counts(&kind).await.unwrap().failed, 1);
    let key = webhook_core::Key::new("o-1").unwrap();
    let requeued = store.requeue(&[EventRef { kind, key }]).await.unwrap();
    assert_eq!(requeued, [Requeued::Applied]);
    pipeline.shutdown(Duration::ZERO).await;
}

// ---- The app in front of a store that fails ----

#[tokio::test]
async fn senders_try_again_when_the_store_is_down() {
    let mut store = MockStore::new();
    let down = || StoreError::unavailable(std::io::Error::other("down"));
    store.expect_accept().once().returning(move |_| Err(down()));
    let inbox = Inbox::new(Arc::new(store), InboxOptions::default());
    assert_eq!(deliver(&inbox, BODY).await, 503);
    // The store is not called for an invalid order.
    assert_eq!(deliver(&inbox, "{}").await, 422);
}

// ---- Its own store: a decorator, which must pass all cases of the conformance suite ----

/// Counts accepted events, for example for metrics.
struct Counting<S> {
    inner: S,
    accepted: AtomicUsize,
}

impl<S> Counting<S> {
    fn new(inner: S) -> Self {
        let accepted = AtomicUsize::default();
        Self { inner, accepted }
    }
}

#[async_trait]
impl<S: Store> Store for Counting<S> {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let accepted = self.inner.accept(events).await?;
        self.accepted.fetch_add(accepted.len(), Ordering::Relaxed);
        Ok(accepted)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.inner.find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}

#[tokio::test]
async fn accepted_events_are_counted() {
    let store = Arc::new(Counting::new(MemoryStore::default()));
    let inbox = Inbox::new(store.clone(), InboxOptions::default());
    for _ in 0..2 {
        assert_eq!(deliver(&inbox, BODY).await, 202);
    }
    assert_eq!(store.accepted.load(Ordering::Relaxed), 2);
}

struct Counted(Arc<MemoryStore>);

impl Subject for Counted {
    async fn set_up() -> Self {
        Self(Arc::default())
    }

    fn backend(&self) -> Backend {
        let store = Arc::new(Counting::new(self.0.clone()));
        Backend::new(self.0.clone()).with_store(store)
    }

    async fn clean_up(self) {}
}

mod counting_store {
    webhook_core::conformance!(super::Counted, start_paused = true);
}
