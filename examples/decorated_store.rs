//! A decorator: a backend that adds something to another one, here printing each result of
//! `accept`.
//!
//! ```text
//! cargo run -p examples --example decorated_store
//! ```
//!
//! It prints `order: New` and `order: Duplicate`. Your own backend implements the same trait, as
//! well as [`Scheduler`](webhook_core::Scheduler) and [`Admin`](webhook_core::Admin), and is tested
//! by the conformance suite: see `webhook-core/tests/third_party_store.rs`.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::sync::Arc;

use webhook_core::{
    Accepted, Envelope, EventRecord, EventRef, Fingerprint, Inbox, InboxOptions, Key, Kind,
    NewEvent, Placement, Store, StoreError, async_trait,
};
use webhook_memory::MemoryStore;

/// Prints the result of each delivery.
struct Printing<S>(S);

#[async_trait]
// Without a method here, the trait's default would replace that of the decorated backend.
#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for Printing<S> {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let outcomes = self.0.accept(events).await?;
        for (event, outcome) in events.iter().zip(&outcomes) {
            println!("{}: {outcome:?}", event.envelope.key);
        }
        Ok(outcomes)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.0.find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }

    fn placement(&self) -> Option<Arc<Placement>> {
        self.0.placement()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(Printing(MemoryStore::default()));
    let inbox = Inbox::new(store, InboxOptions::default());
    for _ in 0..2 {
        let (kind, key) = (Kind::from_static("note"), Key::new("order")?);
        let fingerprint = Fingerprint::of(["content"]);
        let envelope = Envelope::new(kind, key, fingerprint, "content".into());
        inbox.accept(envelope).await?;
    }
    inbox.close().await;
    Ok(())
}
