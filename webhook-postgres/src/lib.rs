//! The PostgreSQL backend of [`webhook_core`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use webhook_postgres::PgStore;
//!
//! let store = PgStore::connect("postgresql://app:secret@localhost/app").await?;
//! store.migrate().await?;
//! # Ok(()) }
//! ```
//!
//! A [`PgStore`] is all three faces of a backend: [`Store`], [`Scheduler`] and [`Admin`]. It
//! keeps to one schema of the app's database, which [`PgStore::migrate`] makes, and to nothing else in
//! it: `webhook`, or another one ([`PgOptions::schema`]), so that a database may have several inboxes. The times in it are the database's. An app that adds views or tables of its own to the
//! schema makes them by a [`MigrationLine`].
//!
//! Two things only this backend can do, since app and inbox share a database:
//! [`PgStore::accept_in`] makes an event durable inside the app's own transaction, and
//! [`PgStore::settle_with`] and [`PgStore::settle_in`] end an attempt inside the transaction that does its
//! work.
//!
//! # Features
//!
//! | Feature | Adds |
//! |---|---|
//! | `tls-rustls-ring-native-roots` (default) | TLS by rustls and ring, with the certificates that the system trusts |
//! | `testing` | [`testing`]: a database of its own for each test |
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
mod microseconds;
mod migrate;
mod options;
#[cfg(test)]
mod plans;
mod probe;
mod record;
mod schema;
mod session;
mod settle;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls_files;
mod url;
mod wakeup;

#[cfg(doc)]
use webhook_core::{Accepted, Admin, Handled, NewEvent, Scheduler, Settled, Store, StoreError};

pub use error::{DatabaseError, PgError};
pub use migrate::MigrationLine;
pub use options::{Durability, PgOptions, Pooler};
pub use schema::{InvalidSchema, Schema};
pub use sqlx;
pub use store::PgStore;
pub use wakeup::{POLL_INTERVAL, POOLED_POLL_INTERVAL};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
