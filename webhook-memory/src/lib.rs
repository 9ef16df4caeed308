//! The in-memory backend of `webhook-core`.
//!
//! [`MemoryStore`] keeps the promises of [`Store`], [`Scheduler`] and [`Admin`] for as long as its process lives: "durable" means
//! held in memory. It is meant for tests, for demonstrations, and for apps whose senders redeliver after a restart.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use webhook_core::{Envelope, Fingerprint, Key, Kind, Pipeline, RawEvent, WorkerOptions};
//! use webhook_memory::MemoryStore;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kind = Kind::from_static("greeting");
//! let greet = async |event: RawEvent| {
//!     println!("{}", String::from_utf8_lossy(&event.body));
//!     Ok(())
//! };
//! let pipeline = Pipeline::builder(MemoryStore::default())
//!     .handle_raw(kind.clone(), WorkerOptions::default(), greet)
//!     .start();
//! let envelope = Envelope::new(kind, Key::new("g-1")?, Fingerprint::of(["hello"]), "hello".into());
//! pipeline.inbox().accept(envelope).await?;
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Tests in paused time
//!
//! The store's clock is Tokio's. In a test with `#[tokio::test(start_paused = true)]`, time jumps to the next thing that is due, so
//! delays and retries take no time:
//!
//! ```
//! use std::time::Duration;
//!
//! use webhook_core::{Event, HandlerError, Headers, Identity, InboxOptions, InvalidPayload, Payload, Pipeline, State};
//! use webhook_memory::MemoryStore;
//!
//! struct Order;
//!
//! impl Payload for Order {
//!     const KIND: &'static str = "order";
//!
//!     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
//!         Identity::of_json(body, "/id", &[])
//!     }
//!
//!     fn decode(_: &[u8], _: &Headers) -> Result<Self, HandlerError> {
//!         Ok(Self)
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let pipeline = Pipeline::builder(MemoryStore::default())
//!     .inbox(InboxOptions::default().with_delay(Duration::from_secs(3600)))
//!     .handle(async |_: Event<Order>| Ok::<_, HandlerError>(()))
//!     .start();
//! let receipt = pipeline.inbox().receive::<Order>(r#"{"id": "o-1"}"#.into()).await?;
//! pipeline.idle().await; // An hour passes, in no time.
//! let record = pipeline.inbox().find::<Order>(&receipt.key).await?.expect("it was accepted");
//! assert_eq!(record.state, State::Processed);
//! # Ok::<_, webhook_core::Error>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! A store holds a million events and 1 GiB by default. When it is full it refuses new events, or makes room by deleting processed
//! events and their keys: see [`MemoryOptions`] and [`WhenFull`].
//!
//! # The conformance suite
//!
//! This crate runs the suite of `webhook-core` like this. A backend of your own does the same:
//!
//! ```
//! use std::sync::Arc;
//!
//! use webhook_core::conformance::{Backend, Subject};
//! use webhook_memory::MemoryStore;
//!
//! struct Memory(Arc<MemoryStore>);
//!
//! impl Subject for Memory {
//!     async fn set_up() -> Self {
//!         Self(Arc::default())
//!     }
//!
//!     fn backend(&self) -> Backend {
//!         Backend::new(self.0.clone())
//!     }
//!
//!     async fn clean_up(self) {}
//! }
//!
//! // Each case becomes a test.
//! webhook_core::conformance!(Memory, start_paused = true);
//! ```
//!
//! This crate has no features.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod event;
mod operate;
mod queue;
mod schedule;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::Instant;
use webhook_core::{
    Accepted, Admin, Claim, Claimed, ConflictRecord, Counts, DeleteBodies, EventRecord, EventRef,
    EventSummary, Extended, FailedAttempt, Kind, Lease, MadeDue, NewEvent, Page, Prune, Requeued,
    RunningLeases, Scheduler, Settled, SettledCounts, Settlement, Store, StoreError, wakeup,
};

use crate::state::State;

/// How a [`MemoryStore`] is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// How many events it may hold at once, those settled included. Default: 1,000,000.
    ///
    pub capacity: usize,
    /// How many bytes its events may take at once, those settled included. Default: 1 GiB.
    ///
    /// An event counts as 500 bytes, plus twice its key, its body, its reason, the bodies of its
    /// conflicts (at most [`MAX_CONFLICT_BODIES`](webhook_core::MAX_CONFLICT_BODIES) of at most
    /// [`MAX_CONFLICT_BODY_BYTES`](webhook_core::MAX_CONFLICT_BODY_BYTES)) and the reasons of its
    /// failed attempts (at most [`MAX_FAILED_ATTEMPTS`](webhook_core::MAX_FAILED_ATTEMPTS)); each of
    /// these counts as 100 bytes more. A conflict needs room as a new event does. Only reasons may
    /// exceed this, since an attempt that ended must be settled: batches are refused then until
    /// there is room again.
    pub max_bytes: usize,
    /// What happens to a batch that would exceed the capacity, in events or in bytes. Default: [`WhenFull::Refuse`].
    pub when_full: WhenFull,
}

impl MemoryOptions {
    /// The same with another [`capacity`](field@Self::capacity).
    #[must_use]
    pub fn with_capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// The same with another [`max_bytes`](field@Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// The same with another [`when_full`](field@Self::when_full).
    #[must_use]
    pub fn with_when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            max_bytes: 1 << 30,
            when_full: WhenFull::default(),
        }
    }
}

/// What a [`MemoryStore`] does with a batch of events that would exceed its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Answers [`StoreError::Full`] and stores nothing, until an operator prunes. No key is ever
    /// forgotten.
    #[default]
    Refuse,
    /// Forgets as many processed events as it takes, of all kinds, those settled first before
    /// others. Their keys are free again, as after [`Admin::prune`], so a redelivery of such an
    /// event is processed anew. Answers [`StoreError::Full`] where that would not make enough room:
    /// events that wait or that failed are never forgotten.
    EvictProcessed,
}

/// A backend in memory. Clones share their events.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    // Held for the length of one batch, never over an await.
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store, whose clock starts now.
    pub fn new(options: MemoryOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Clock::start(),
                state: Mutex::new(State::new(options)),
            }),
        }
    }

    /// The state, and the time: read under the lock, so that it never runs backwards between two
    /// holders.
    fn lock(&self) -> (MutexGuard<'_, State>, Duration) {
        let state = self
            .shared
            .state
            .lock()
            .expect("nothing panics while it holds the lock");
        let now = self.shared.clock.now();
        (state, now)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, _) = self.lock();
        f.debug_struct("MemoryStore")
            .field("events", &state.len())
            .field("bytes", &state.held.total)
            .field("options", state.options())
            .finish()
    }
}

/// The latest time that a record shows, counted from the store's creation: a thousand years.
const LATEST_SHOWN: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);

/// Tokio's clock, counted from the store's creation; [`Duration`]s never overflow as instants do.
struct Clock {
    started: Instant,
    started_at: SystemTime,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn system_time(&self, at: Duration) -> SystemTime {
        // A due time may lie further ahead than the system's clock can show.
        self.started_at + at.min(LATEST_SHOWN)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let (mut state, now) = self.lock();
        state.accept(events, now)
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        let (state, now) = self.lock();
        Ok(state.find(events, &self.shared.clock, now))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Scheduler for MemoryStore {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let (mut state, now) = self.lock();
        let claimed = claims
            .iter()
            .map(|claim| state.claim(claim, &self.shared.clock, now));
        Ok(claimed.collect())
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.extend(leases, lease, now))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.settle(settlements, now))
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        let news: Vec<_> = {
            let (mut state, now) = self.lock();
            let news = kinds.iter().map(|kind| state.news(kind, now));
            news.collect()
        };
        wakeup::any(news.into_iter().map(async |news| {
            if let Some(news) = news {
                news.await;
            }
        }))
        .await
    }
}

#[async_trait]
impl Admin for MemoryStore {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.kinds())
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.counts(kind, now))
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.lag(kind, now))
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        let (state, now) = self.lock();
        Ok(state.settled(kind, within, now))
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        let (state, now) = self.lock();
        Ok(state.list(page, &self.shared.clock, now))
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.conflicts(event, &self.shared.clock))
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.failed_attempts(event, &self.shared.clock))
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.requeue(events, now))
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.make_due(events, leases, now))
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.prune(prune, now))
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        let (mut state, now) = self.lock();
        Ok(state.delete_bodies(delete, now))
    }

    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        Ok(state.pause(kind))
    }

    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        let (mut state, _) = self.lock();
        Ok(state.resume(kind))
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        let (state, _) = self.lock();
        Ok(state.paused())
    }
}

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
