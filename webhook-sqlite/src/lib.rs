//! The SQLite backend of `webhook-core`: durable in one file, without a server to install.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod admin;
mod claim;
mod clock;
mod error;
mod find;
mod kinds;
mod microseconds;
mod open;
mod options;
mod record;
mod settle;
mod store;
mod transaction;
mod writer;

pub use error::SqliteError;
pub use options::SqliteOptions;
pub use sqlx;
pub use store::SqliteStore;
pub use transaction::SqliteTransaction;
