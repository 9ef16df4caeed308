//! The in-memory backend of `webhook-core`.
//!
//! [`MemoryStore`] keeps the promises of [`Store`], [`Scheduler`] and [`Admin`] for as long as its process
//! lives: "durable" means held in memory. It is meant for tests, for demonstrations, and for apps whose
//! senders redeliver after a restart.
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
//! The store's clock is Tokio's. In a test with `#[tokio::test(start_paused = true)]`, time jumps to the next
//! thing that is due, so delays and retries take no time:
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
//! A store holds a million events and 1 GiB by default. When it is full it refuses new events, or makes room
//! by deleting processed events and their keys: see [`MemoryOptions`] and [`WhenFull`].
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
mod admin;
mod clock;
mod event;
mod options;
mod queue;
mod scheduler;
mod state;
mod store;

#[cfg(doc)]
use webhook_core::{Admin, Scheduler, Store};

pub use options::{MemoryOptions, WhenFull};
pub use store::MemoryStore;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
