//! The PostgreSQL backend of [`webhook_core`].
//!
//! Events live in a schema of the app's own database, so that an app can accept an event, or finish
//! processing one, in the same transaction as its own work. Any number of processes may share it.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use webhook_core::{Kind, Pipeline, RawEvent, WorkerOptions};
//! use webhook_postgres::PgStore;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = PgStore::connect("postgresql://app:secret@localhost/app").await?;
//! store.migrate().await?;
//! let pipeline = Pipeline::builder(store)
//!     .handle_raw(Kind::from_static("order"), WorkerOptions::default(), async |order: RawEvent| {
//!         println!("shipping order {}", order.key);
//!         Ok(())
//!     })
//!     .start();
//! # pipeline.shutdown(Duration::ZERO).await;
//! # Ok(()) }
//! ```
//!
//! A [`PgStore`] implements [`Store`], [`Scheduler`] and [`Admin`]. The guide to payloads, handlers and
//! pipelines is the front page of [`webhook_core`]; this page is about what only PostgreSQL adds.
//!
//! # Connecting
//!
//! [`PgOptions`] reads the URLs of libpq and SQLAlchemy, and finds out whether a transaction-mode pooler such
//! as PgBouncer stands in between. A parameter that it cannot honour is an error.
//!
//! ```no_run
//! use webhook_postgres::{PgOptions, PgStore};
//!
//! # async fn example() -> Result<(), webhook_postgres::PgError> {
//! let mut options: PgOptions =
//!     "postgresql://app:secret@db.example.com/app?sslmode=verify-full&schema=orders_inbox".parse()?;
//! options.max_connections = 4;
//! let store = PgStore::connect_with(options).await?;
//! # Ok(()) }
//! ```
//!
//! [`PgStore::from_pool`] shares a pool that the app has. A store with a pool of its own is faster: its
//! sessions keep prepared statements, and settings that no role, database or reload can change.
//!
//! # Schema and rights
//!
//! [`PgStore::migrate`] makes the schema, or brings it up to date; no other call does. The schema is named
//! `webhook`, unless [`PgOptions::schema`] names another one, so that a database may have several inboxes.
//! The role that migrates needs `CREATE` on the database; roles that serve need `USAGE` on the schema and
//! rights on its tables. An app that adds views or tables of its own to the schema makes them by a
//! [`MigrationLine`]. The view `inbox` in the schema shows every event of every kind to those who read with
//! SQL.
//!
//! # Accepting in the app's transaction
//!
//! [`PgStore::accept_in`] stores an event if and only if the app's own changes are committed (a transactional
//! outbox):
//!
//! ```no_run
//! use webhook_core::{Envelope, Fingerprint, Key, Kind};
//! use webhook_postgres::{PgStore, sqlx};
//!
//! # async fn place(app: &sqlx::PgPool, store: &PgStore) -> Result<(), Box<dyn std::error::Error>> {
//! let kind = Kind::from_static("order-placed");
//! let event = Envelope::new(kind, Key::new("o-1")?, Fingerprint::of(["o-1"]), "o-1".into());
//!
//! let mut transaction = app.begin().await?;
//! sqlx::query("INSERT INTO orders (id) VALUES ('o-1')").execute(&mut *transaction).await?;
//! store.accept_in(&mut transaction, event).await?;
//! transaction.commit().await?;
//! # Ok(()) }
//! ```
//!
//! Workers find the event when they next poll, within [`POLL_INTERVAL`]. [`PgStore::notify_kind`], called
//! after the commit, wakes them at once.
//!
//! # Effects that happen exactly once
//!
//! [`PgStore::settle_with`] does a handler's work and settles its event in one transaction. If the lease was
//! lost meanwhile, the work is rolled back:
//!
//! ```no_run
//! use webhook_core::{Handled, Handler, HandlerError, RawEvent};
//! use webhook_postgres::{PgStore, sqlx};
//!
//! struct Ship {
//!     app: sqlx::PgPool,
//!     store: PgStore,
//! }
//!
//! impl Handler<()> for Ship {
//!     async fn handle(&self, event: RawEvent) -> Result<Handled, HandlerError> {
//!         let insert = async |transaction: &mut sqlx::PgConnection| {
//!             sqlx::query("INSERT INTO shipments (order_id) VALUES ($1)")
//!                 .bind(event.key.as_str())
//!                 .execute(transaction)
//!                 .await?;
//!             Ok(())
//!         };
//!         self.store.settle_with(&self.app, event.lease, insert).await
//!     }
//! }
//! ```
//!
//! [`PgStore::settle_in`] is the lower level, for a transaction that the app opens and commits itself.
//!
//! # Testing
//!
//! With the feature `testing`, each test gets a database of its own on the server that `TEST_DATABASE_URL`
//! names: see `testing::TestDatabase`. Most tests of an app need no database: `webhook-memory` keeps the same
//! promises.
//!
//! # Features
//!
//! | Feature | Adds |
//! |---|---|
//! | `tls-rustls-ring-native-roots` (default) | TLS by rustls and ring, with the certificates that the system trusts |
//! | `testing` | `testing`: a database of its own for each test |
//!
//! For another TLS library or other certificates, turn the default features off and turn on one of sqlx's
//! `tls-*` features on the app's own dependency on sqlx. Without any, `sslmode=require` and above are errors
//! when connecting, and `sslmode=prefer`, the default, connects in plain text.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod admin;
mod claim;
mod claim_cursor;
mod connect;
mod error;
mod extend;
mod find;
mod held;
mod look;
mod microseconds;
mod migrate;
mod numbered;
mod options;
mod partition;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod portable;
mod probe;
mod record;
mod schema;
mod session;
mod settle;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls_files;
mod transfer;
mod trial;
mod url;
mod wakeup;

#[cfg(doc)]
use webhook_core::{Accepted, Admin, Handled, NewEvent, Scheduler, Settled, Store, StoreError};

pub use admin::TableSize;
pub use error::{DatabaseError, PgError};
pub use migrate::MigrationLine;
pub use options::{Durability, PgOptions, Pooler};
pub use partition::CreationLock;
pub use probe::Facts;
pub use schema::{InvalidSchema, Schema};
pub use session::Connections;
pub use sqlx;
pub use store::PgStore;
pub use transfer::{WaitingSession, WriteLock};
pub use trial::{DatabaseVersion, TrialSchemas};
pub use wakeup::{POLL_INTERVAL, POOLED_POLL_INTERVAL};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
