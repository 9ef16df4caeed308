//! The forwarder: what receivers get, what their answers mean, and how much they get.

mod answers;
mod limits;
mod pauses;
mod receiver;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use webhook_core::{
    Admin, Counts, Envelope, EventRecord, EventRef, Fingerprint, Key, Kind, NewEvent, Store,
    Worker, WorkerOptions,
};
use webhook_forward::{Destination, Forwarder, Schedule};
use webhook_memory::MemoryStore;

use receiver::Receiver;

/// A wait that fails after this long. It is only so long when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

const KIND: Kind = Kind::from_static("stripe");

fn key(key: &str) -> Key {
    Key::new(key).unwrap()
}

fn destination(receiver: &Receiver) -> Destination {
    Destination::new(receiver.url().parse().unwrap())
}

/// A schedule with so many attempts that follow at once.
fn quick(attempts: usize) -> Schedule {
    Schedule::list(vec![Duration::from_millis(1); attempts - 1]).unwrap()
}

/// A store, and a worker that forwards the events of a kind.
struct Inbox {
    store: Arc<MemoryStore>,
    kind: Kind,
    forwarder: Forwarder,
    worker: Option<Worker>,
}

impl Inbox {
    fn new(destination: Destination) -> Self {
        Self::of_kind(Arc::default(), KIND, destination)
    }

    fn of_kind(store: Arc<MemoryStore>, kind: Kind, destination: Destination) -> Self {
        let forwarder = Forwarder::new(destination).unwrap();
        let mut inbox = Self {
            forwarder: forwarder.with_admin(store.clone()),
            store,
            kind,
            worker: None,
        };
        inbox.start();
        inbox
    }

    /// Starts a worker in place of the last one, which ends without a drain time.
    fn start(&mut self) {
        let options = self.forwarder.worker_options(WorkerOptions::default());
        let worker =
            Worker::builder().handle_raw(self.kind.clone(), options, self.forwarder.clone());
        self.worker = None;
        self.worker = Some(worker.start(self.store.clone()));
    }

    async fn accept(&self, keys: &[&str]) {
        for key in keys {
            self.accept_envelope(self.envelope(key, key.as_bytes().to_vec()))
                .await;
        }
    }

    async fn accept_envelope(&self, envelope: Envelope) {
        let event = NewEvent::new(envelope, Duration::ZERO);
        self.store.accept(&[event]).await.unwrap();
    }

    fn envelope(&self, name: &str, body: impl Into<Bytes>) -> Envelope {
        Envelope::new(
            self.kind.clone(),
            key(name),
            Fingerprint::of([name]),
            body.into(),
        )
    }

    async fn find(&self, name: &str) -> EventRecord {
        let found = self.store.find(&[self.named(name)]).await.unwrap();
        found.into_iter().next().flatten().unwrap()
    }

    fn named(&self, name: &str) -> EventRef {
        EventRef {
            kind: self.kind.clone(),
            key: key(name),
        }
    }

    /// Waits until the counts of the events in the store are such.
    async fn until(&self, what: &str, are_such: impl Fn(&Counts) -> bool) -> Counts {
        wait_until(what, async || {
            let counts = self.store.counts(&self.kind).await.unwrap();
            are_such(&counts).then_some(counts)
        })
        .await
    }
}

/// Waits until `look` sees something.
async fn wait_until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    // Not by Tokio's clock, which the tests move.
    let began = std::time::Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "no {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Moves the clocks of the store, the worker and the forwarder. No request may be under way.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
