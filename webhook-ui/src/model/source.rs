//! Sources: what they have received and refused, and how many of their events wait.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Body, Header, Time};

/// A count that ends at a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Capped {
    /// The count.
    pub count: u64,
    /// Whether there may be more: the count has reached the limit.
    pub at_least: bool,
}

/// How many events of a source are in each state, sampled a while ago.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Sample {
    /// The name of the source.
    pub source: String,
    /// Events that are not due yet.
    pub waiting: Capped,
    /// Events that are due, and not leased.
    pub due: Capped,
    /// Events that workers hold.
    pub leased: Capped,
    /// Events that have failed.
    pub failed: Capped,
    /// How long the oldest due event has waited.
    pub oldest_due_age_seconds: Option<f64>,
    /// Whether the source is paused: its events are accepted, but not processed.
    pub paused: bool,
}

/// The latest samples of all sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Samples {
    /// When they were taken; null if none were taken yet.
    pub at: Option<Time>,
    /// One for each source that has events.
    pub sources: Vec<Sample>,
}

/// What happened to a source in each of the last 60 minutes, the oldest minute first. The last number is of the
/// minute that has not ended yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Series {
    /// Events that were accepted.
    pub received: Vec<u64>,
    /// Requests that were refused.
    pub refused: Vec<u64>,
    /// Events that were there already, with the same content.
    pub duplicates: Vec<u64>,
    /// Events that were there already, with other content.
    pub conflicts: Vec<u64>,
    /// Events that became PROCESSED in this process.
    pub processed: Vec<u64>,
    /// Events that became FAILED in this process.
    pub failed: Vec<u64>,
}

/// What a source has received since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SourceCounts {
    /// Deliveries that were stored, including duplicates and conflicts.
    pub received: u64,
    /// New events in them.
    pub events: u64,
    /// Events in them that were stored before, with the same content.
    pub duplicates: u64,
    /// Events in them that were stored before, with other content.
    pub conflicts: u64,
    /// Requests that were refused: the sender has to change something, or made too many that were not verified.
    pub refused: u64,
    /// Requests that the server could not take, which the sender has to repeat: most of them got 503.
    pub unavailable: u64,
}

/// A secret of a source. It is never shown itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SecretInfo {
    /// Its place among the secrets of the source, from 1.
    #[schema(minimum = 1)]
    pub number: u64,
    /// Since when this process uses it.
    pub since: Time,
    /// How many deliveries it has verified since then.
    pub verified: u64,
}

/// What the process around the inbox knows about a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SourceInfo {
    /// The name, which is the kind of its events.
    pub name: String,
    /// The path that it receives at; null for the events of an app.
    pub path: Option<String>,
    /// The whole URL, where it is known.
    pub url: Option<String>,
    /// The preset of its sender, if it has one.
    pub preset: Option<String>,
    /// How deliveries are verified, such as `hmac`; `none`: they are not.
    pub scheme: Option<String>,
    /// Whether it receives: `enabled`, `disabled` or `retired`.
    #[schema(example = "enabled")]
    pub state: String,
    /// The secrets that are set.
    pub secrets: Vec<SecretInfo>,
    /// What it has received since the process started.
    #[serde(flatten)]
    pub counts: SourceCounts,
    /// When the last delivery was stored.
    pub last_received_at: Option<Time>,
    /// When the last request was refused.
    pub last_refused_at: Option<Time>,
    /// How long 99 of 100 requests took at most until they were answered, of those of about the last five minutes, in
    /// seconds; null if there were none.
    pub accept_p99_seconds: Option<f64>,
    /// How often the operator expects a delivery.
    pub expect_every_seconds: Option<f64>,
    /// Since when it has received nothing, if that is longer than expected.
    pub silent_since: Option<Time>,
    /// The destination of its events, if they are forwarded.
    pub destination: Option<String>,
    /// Whether a test event can be sent to it.
    pub can_test: bool,
    /// A command that sends an event to it as its sender would, with a fresh signature: for `curl`. Only where one source
    /// is shown, to those who may operate, and if its scheme signs.
    pub example: Option<String>,
    /// The lines of the configuration that define it, without secrets.
    pub setup: Option<String>,
}

/// A source with what is known about its events.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SourceStatus {
    /// The source.
    #[serde(flatten)]
    pub info: SourceInfo,
    /// Its latest sample.
    pub sample: Option<Sample>,
    /// When the sample was taken.
    pub sampled_at: Option<Time>,
    /// Its last 60 minutes.
    pub series: Option<Series>,
}

/// A source after it was paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PausedSource {
    /// The name of the source.
    pub source: String,
    /// Whether it is paused now.
    pub paused: bool,
    /// Whether that is new.
    pub changed: bool,
    /// Where its events are forwarded to, if they are.
    pub destination: Option<String>,
}

/// A request that a source refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Refused {
    /// When it was refused.
    pub at: Time,
    /// The address of the client.
    pub client: Option<String>,
    /// The method.
    pub method: String,
    /// The query, with the lengths of its values instead of the values.
    pub query: String,
    /// The status of the answer.
    pub status: u16,
    /// Why it was refused.
    pub reason: String,
    /// What probably has to be changed, once that is found out.
    pub hint: Option<String>,
    /// The headers, with secrets masked.
    pub headers: Vec<Header>,
    /// The length of the body; null if it was not read.
    pub body_bytes: Option<u64>,
    /// The beginning of the body, where the source keeps it, as documents show it.
    pub body: Option<Body>,
}

/// The latest refused requests of a source.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefusedPage {
    /// The requests, the latest first.
    pub refused: Vec<Refused>,
    /// How many there were since the process started.
    pub total: u64,
}

/// A copy of an event that a source has accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Copy {
    /// The number of the copy.
    pub number: u64,
    /// The name of the source.
    pub source: String,
    /// The key of the event.
    pub key: String,
    /// The event type, if it has one.
    pub event_type: Option<String>,
    /// When it was accepted, by the clock of the process.
    pub received_at: Time,
    /// The headers that are stored with the event.
    pub headers: Vec<Header>,
    /// The body, in Base64.
    #[serde(rename = "body_base64", serialize_with = "as_base64")]
    #[schema(value_type = String)]
    pub body: Bytes,
}

/// Copies of the events that a source has accepted.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct CopyPage {
    /// The copies, the oldest first.
    pub copies: Vec<Copy>,
    /// The `after` of the next request.
    pub next_after: u64,
    /// How many copies between `after` and `next_after` are gone; null if that is not known.
    pub lost: Option<u64>,
    /// Whether the asker has not asked for copies for a while: only then is there an audit record.
    #[serde(skip)]
    pub is_first: bool,
}

fn as_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}
