//! The databases that faults are injected into.

mod postgres;
mod sqlite;

use std::fmt::Debug;
use std::future::Future;

use testkit::folder::Folder;

use crate::stored::Stored;
use crate::tools::Tools;

pub(crate) use sqlite::SqliteFile;

/// A database under test: how nodes reach it, and how to read what it holds.
pub(crate) trait Backend: Debug + Send + Sync + Sized + 'static {
    /// A connection of the harness. It reads; faults write through it, too.
    type Connection: Send;

    /// Starts or creates an empty database, and returns it with the folder of the run.
    fn start(tools: &Tools) -> impl Future<Output = anyhow::Result<(Folder, Self)>> + Send;

    /// Returns the `DATABASE_URL` of the nodes.
    fn url(&self) -> String;

    /// Connects to it.
    fn connect(&self) -> impl Future<Output = anyhow::Result<Self::Connection>> + Send;

    /// Reads all events.
    fn stored(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = anyhow::Result<Vec<Stored>>> + Send;

    /// Reads the effects that handlers wrote to the database: the event and the fence of each.
    fn effects(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = anyhow::Result<Vec<(i64, i64)>>> + Send;

    /// Counts the rows of the queue and of the outcomes that belong to no event.
    fn strays(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = anyhow::Result<i64>> + Send;

    /// Counts the events that are queued.
    fn queued(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = anyhow::Result<i64>> + Send;

    /// Counts the events of these keys that have ended.
    fn ended(
        connection: &mut Self::Connection,
        keys: &[String],
    ) -> impl Future<Output = anyhow::Result<i64>> + Send;

    /// Has the database check its own files, and returns what is wrong with them.
    fn damage(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = anyhow::Result<Vec<String>>> + Send;

    /// Returns the end of its own log.
    fn last_words(&self) -> String;
}
