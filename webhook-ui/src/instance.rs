//! [`Instance`]: what the process around the inbox knows and can do.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use webhook_core::{EventRecord, Kind};

use crate::Problem;
use crate::model::{
    CopyPage, Destination, InstanceInfo, RefusedPage, Samples, Series, SourceInfo, TestSent,
};

/// What the process around the inbox knows, and what it can do beside its store: it has sources, destinations and a
/// name. An app without any of it uses [`NoInstance`].
///
/// The methods that are not `async` read memory only.
#[async_trait]
pub trait Instance: Send + Sync + 'static {
    /// What the process is.
    fn info(&self) -> InstanceInfo;

    /// The sources of the process, in ascending order of their names.
    fn sources(&self) -> Vec<SourceInfo>;

    /// The names of all sources of the process, also of those whose configuration is wrong.
    fn source_names(&self) -> Vec<String>;

    /// The destinations of the process, in ascending order of their sources.
    fn destinations(&self) -> Vec<Destination>;

    /// The latest samples of the numbers of events.
    fn samples(&self) -> Samples;

    /// The last 60 minutes of a source; `None` if they are not known.
    fn series(&self, source: &Kind) -> Option<Series>;

    /// The latest refused requests of a source, at most `limit`.
    ///
    /// # Errors
    ///
    /// 404 if there is no such source.
    fn refused(&self, source: &Kind, limit: usize) -> Result<RefusedPage, Problem>;

    /// Copies of the events that a source accepts, after the one with the number `after`, or from now on. It waits up
    /// to `wait` for the next one. `asker` is the name of a token.
    ///
    /// # Errors
    ///
    /// 404 if there is no such source.
    async fn copies(
        &self,
        source: &Kind,
        asker: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<CopyPage, Problem>;

    /// Sends a signed test event to a source, as its sender would.
    ///
    /// # Errors
    ///
    /// 404 if there is no such source; another problem if it cannot be tested.
    async fn send_test(&self, source: &Kind) -> Result<TestSent, Problem>;

    /// Sends a copy of an event to the destination of its source, or to that of the source `to`.
    ///
    /// # Errors
    ///
    /// A problem if there is no such destination, or if the copy was not delivered.
    async fn replay(&self, event: &EventRecord, to: Option<&Kind>) -> Result<(), Problem>;

    /// Sends a copy like [`replay`](Self::replay), but only if the destination takes one now: copies of a job do not get
    /// in the way of events.
    ///
    /// # Errors
    ///
    /// As of [`replay`](Self::replay).
    async fn replay_if_allowed(
        &self,
        event: &EventRecord,
        to: Option<&Kind>,
    ) -> Result<Replayed, Problem>;

    /// A `curl` command that sends `body` to a source with a fresh signature; `None` if there is no such source, or if
    /// its scheme cannot sign.
    fn signed_curl(&self, source: &Kind, body: &Bytes) -> Option<String>;

    /// The longest body that a source accepts, in bytes.
    fn max_body_bytes(&self, source: &Kind) -> usize;

    /// Whether the process stops: streams and jobs end then.
    fn is_stopping(&self) -> bool;
}

/// What came of a copy that was sent only if its destination takes one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It was delivered.
    Delivered,
    /// It was not sent, or the destination asked to send it later.
    NotNow {
        /// Why, for people.
        reason: String,
        /// After which time to try again at the earliest.
        retry_in: Duration,
    },
}

/// No sources, no destinations and no name: for an app that has only events.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInstance;

/// The longest edited body where no source has a limit.
const MAX_BODY_BYTES: usize = 1 << 20;

#[async_trait]
impl Instance for NoInstance {
    fn info(&self) -> InstanceInfo {
        InstanceInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstanceInfo::default()
        }
    }

    fn sources(&self) -> Vec<SourceInfo> {
        Vec::new()
    }

    fn source_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn destinations(&self) -> Vec<Destination> {
        Vec::new()
    }

    fn samples(&self) -> Samples {
        Samples::default()
    }

    fn series(&self, _source: &Kind) -> Option<Series> {
        None
    }

    fn refused(&self, _source: &Kind, _limit: usize) -> Result<RefusedPage, Problem> {
        Err(Problem::no_such_source())
    }

    async fn copies(
        &self,
        _source: &Kind,
        _asker: &str,
        _after: Option<u64>,
        _wait: Duration,
    ) -> Result<CopyPage, Problem> {
        Err(Problem::no_such_source())
    }

    async fn send_test(&self, _source: &Kind) -> Result<TestSent, Problem> {
        Err(Problem::no_such_source())
    }

    async fn replay(&self, _event: &EventRecord, _to: Option<&Kind>) -> Result<(), Problem> {
        Err(Problem::not_offered("This app has no destinations"))
    }

    async fn replay_if_allowed(
        &self,
        event: &EventRecord,
        to: Option<&Kind>,
    ) -> Result<Replayed, Problem> {
        self.replay(event, to).await.map(|()| Replayed::Delivered)
    }

    fn signed_curl(&self, _source: &Kind, _body: &Bytes) -> Option<String> {
        None
    }

    fn max_body_bytes(&self, _source: &Kind) -> usize {
        MAX_BODY_BYTES
    }

    fn is_stopping(&self) -> bool {
        false
    }
}
