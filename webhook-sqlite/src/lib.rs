//! The SQLite backend of `webhook-core`: durable in one file, without a server to install.
//!
//! [`SqliteStore`] implements [`Store`], [`Scheduler`] and [`Admin`]. When [`Store::accept`] returns, the event
//! has been committed with `synchronous = FULL`: it survives the crash of the process, of the system, and the
//! loss of power.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use webhook_core::{Event, HandlerError, Headers, Identity, InvalidPayload, Payload, Pipeline};
//! use webhook_sqlite::SqliteStore;
//!
//! # #[derive(serde::Deserialize)] struct Order { id: String }
//! impl Payload for Order {
//!     const KIND: &'static str = "order";
//!
//!     fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
//!         Identity::of_json(body, "/id", &["/total_cents"])
//!     }
//!
//!     fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
//!         Ok(serde_json::from_slice(body)?)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = SqliteStore::open("webhook.db").await?; // created if it does not exist
//! let pipeline = Pipeline::builder(store)
//!     .handle(async |order: Event<Order>| {
//!         println!("shipping order {}", order.payload.id);
//!         Ok::<_, HandlerError>(())
//!     })
//!     .start();
//! let body = r#"{"id": "o-1", "total_cents": 995}"#;
//! pipeline.inbox().receive::<Order>(body.into()).await?; // durable from here on
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Effects that happen exactly once
//!
//! An app may keep its own tables in the same file. [`SqliteStore::accept_in`] accepts an event in a transaction
//! that changes them, and [`SqliteStore::settle_with`] does the work of an event and settles it in one
//! transaction. Nothing else is written meanwhile.
//! [`SqliteStore::migrate_with`] creates the tables.
//!
//! # How it works
//!
//! One thread does all writes. Requests that arrive while a commit runs (accepts, claims, extends, settles) share
//! the next transaction: one commit and one fsync for all of them. If it fails, each request gets a
//! transaction of its own. Reads use connections of their own and do not wait for the writer.
//!
//! The keys of new events are found in memory, until they are many, and are then written to an index in the file
//! ([`SqliteOptions::recent_keys`]). After a restart they are read from the events again.
//!
//! # The file
//!
//! - It belongs to this crate. The database of another program is refused and left as it is; tables of the
//!   app go into this file. Updates of its tables happen when it is opened.
//! - It must be on a local disk: SQLite's write-ahead log needs shared memory, which network file systems do not
//!   have. On Linux, a file on one of the common ones is refused.
//! - A new file can be read and written by its owner only, since bodies may hold personal data. A file that exists
//!   keeps its permissions. SQLite gives the files beside it the same ones.
//! - Several processes of one machine may open it. They share the events: leases are valid in all of them. Each
//!   write waits for the others, so one process is faster than two. Workers are woken by events that their own
//!   process accepts, and find others when they poll. A program that wants to be the only one uses
//!   [`ServerLock`].
//! - After events or bodies are deleted, the file becomes smaller.
//! - [`SqliteStore::back_up`] copies it while it is in use. Do not copy it otherwise without the `-wal` file
//!   beside it.
//!
//! # Time
//!
//! The store's clock is the time since the machine was booted, plus an offset that the file keeps. Changes of
//! the system's clock do not affect it, so no event is early and no lease ends early. After a reboot the
//! offset is set from the system's clock, and never to a time that the file has seen already. Systems
//! other than Linux set it each time the file is opened.
//!
//! [`Store`]: webhook_core::Store
//! [`Store::accept`]: webhook_core::Store::accept
//! [`Scheduler`]: webhook_core::Scheduler
//! [`Admin`]: webhook_core::Admin
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod admin;
mod backup;
mod checkpoint;
mod claim;
mod clock;
mod error;
mod file;
mod file_system;
mod find;
mod key_index;
mod kinds;
mod lent;
mod log_space;
mod look;
mod microseconds;
mod migration_line;
mod open;
mod options;
mod partition;
mod query;
mod record;
mod repair;
mod server_lock;
mod settle;
mod store;
mod transaction;
mod transfer;
mod writer;

pub use backup::ExistingBackup;
pub use error::SqliteError;
pub use migration_line::MigrationLine;
pub use options::SqliteOptions;
pub use server_lock::ServerLock;
pub use sqlx;
pub use store::SqliteStore;
pub use transaction::SqliteTransaction;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
