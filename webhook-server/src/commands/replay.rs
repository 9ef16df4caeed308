//! `replay`: sends copies of stored events to their destination, or to another URL.

mod pace;
mod selection;
mod tally;

use std::io::{self, Write};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use hyper::Request;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use webhook_core::{EventId, EventRef, Kind, State, Store, StoreError};
use webhook_forward::{Destination, Forwarder, InvalidDestination, Trigger};

use super::event_types::{self, EventTypes};
use super::output::{instant, plain};
use super::send::find;
use super::{CommandError, Output, blocking};
use crate::audit::Audit;
use crate::backend::CommandBackend;
use crate::config::{Config, DestinationUrl, ForwardError, SourcesFile, age, of_transactions};
use crate::destinations::raw_event;
use crate::views::{counted, counted_of, parse_kind, plural, transaction_kind};
use pace::Pace;
use selection::{Found, Selection};
use tally::{Tally, write_skipped};

/// The name of the transactions, as a source.
const TRANSACTIONS: &str = "transactions";

/// How often a copy is sent to a destination that asks for fewer requests each time.
const MAX_THROTTLED: u32 = 5;

/// The most characters of a body, or of a header, in a dry run.
const SHOWN_CHARS: usize = 1_000;

/// The options of `replay`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "Copies change nothing in the database: the events stay in their states, and their attempts are not \
        counted. To process FAILED events again, use `requeue`.\n\n\
        A copy has the webhook-id of its event, so that an app that has processed the event recognises it, and the \
        header `inbox-trigger: replay`. It is sent once; if the destination answers 429 or 503 with Retry-After, \
        all copies wait, and the copy is sent again, up to 5 times.\n\n\
        Copies to the URL --to are signed with the keys of the destination. They have none of the headers \
        that `headers`, `bearer` and `basic` set, and its client certificate is not used: these are secrets of the \
        destination.\n\n\
        Exit codes: 0 all copies delivered, 1 some were not, or another failure, 2 usage error"
)]
pub struct Replay {
    /// Name of the source, or `transactions`
    #[arg(value_parser = parse_source)]
    source: Kind,
    /// Only events that were accepted at this time or later: a time such as 2026-01-02T03:04:05Z, or an age such
    /// as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Timestamp,
    /// Only events that were accepted before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// State of the events
    #[arg(long, value_enum, ignore_case = true)]
    state: ReplayedState,
    #[arg(long = "type", value_name = "TYPE", help = event_types::HELP)]
    event_types: Option<EventTypes>,
    /// Send the copies to this URL instead of the destination
    #[arg(long, value_name = "URL", hide_env_values = true)]
    to: Option<DestinationUrl>,
    /// Send nothing; print how many events would be sent, and the first request
    #[arg(long)]
    dry_run: bool,
    /// Most copies at the same time
    #[arg(long, value_name = "COUNT", default_value = "4", value_parser = concurrency)]
    concurrency: NonZeroU8,
    /// Only events with a larger number than this. A replay that is interrupted prints the number to go on with
    #[arg(long, value_name = "NUMBER")]
    after: Option<i64>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn parse_source(text: &str) -> Result<Kind, String> {
    match text {
        TRANSACTIONS => Ok(transaction_kind()),
        _ => parse_kind(text),
    }
}

/// A time, or an age.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.trim().parse() {
        return Ok(time);
    }
    let time = age(text)
        .ok()
        .and_then(|age| Timestamp::now().checked_sub(age).ok());
    time.ok_or_else(|| {
        "expected a time such as 2026-01-02T03:04:05Z, or an age such as 90m, 2h or 30d".to_owned()
    })
}

fn concurrency(text: &str) -> Result<NonZeroU8, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count: &NonZeroU8| count.get() <= 64);
    count.ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

/// Which states events are in, as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReplayedState {
    /// Processed successfully
    Processed,
    /// Failed for good
    Failed,
    /// Waiting, due or being processed
    Processing,
    /// In any state
    All,
}

impl ReplayedState {
    const fn states(self) -> &'static [State] {
        match self {
            Self::Processed => &[State::Processed],
            Self::Failed => &[State::Failed],
            Self::Processing => &[State::Processing],
            Self::All => &[State::Processing, State::Processed, State::Failed],
        }
    }
}

/// Where copies go.
struct Target {
    forwarder: Forwarder,
    destination: Destination,
    url: DestinationUrl,
}

impl Replay {
    /// What is replayed, for the audit log.
    fn arguments(&self) -> [(&'static str, Value); 8] {
        let state = self.state.to_possible_value();
        [
            ("kind", json!(self.source.as_str())),
            ("since", json!(self.since.to_string())),
            ("until", json!(self.until.map(|it| it.to_string()))),
            ("state", json!(state.as_ref().map(|it| it.get_name()))),
            (
                "type",
                json!(self.event_types.as_ref().map(EventTypes::text)),
            ),
            ("to", json!(self.to.as_ref().map(ToString::to_string))),
            ("concurrency", json!(self.concurrency)),
            ("after", json!(self.after)),
        ]
    }

    pub(super) async fn run(
        &self,
        backend: &CommandBackend,
        config: &Config,
    ) -> Result<(), CommandError> {
        if self.until.is_some_and(|until| until <= self.since) {
            return Err(ReplayError::NoTimeBetween.into());
        }
        let command = self.clone();
        let target = blocking(config, move |config| command.target(config)).await?;
        let selection = Selection {
            kind: self.source.clone(),
            states: self.state.states(),
            event_types: self.event_types.clone(),
            since: self.since.into(),
            until: self.until.map(SystemTime::from),
        };
        let mut found = Found::new(&*backend.admin, &selection, self.after.map(EventId::new));
        if self.dry_run {
            return self.show(backend, &target, &mut found).await;
        }
        let total = selection.total(&*backend.admin).await?;
        let audit = Audit::begin("replay", self.arguments());
        let mut tally = Tally::begin(self.after, total);
        self.send_all(backend, &target, &mut found, &mut tally)
            .await?;
        let report = tally.end(self.source_name(), &target.url);
        let target = self.source.as_str();
        let sent = Some(report.sent);
        audit.end_in(&*backend.admin, target, sent, &report).await;
        Output::new(self.json).write(&report, |out| report.write(&self.what(report.sent), out))?;
        match report.failed {
            0 => Ok(()),
            failed => Err(ReplayError::NotDelivered {
                failed,
                sent: report.sent,
            }
            .into()),
        }
    }

    /// Sends copies of all events that are found, several at the same time.
    async fn send_all(
        &self,
        backend: &CommandBackend,
        target: &Target,
        found: &mut Found<'_>,
        tally: &mut Tally,
    ) -> Result<(), CommandError> {
        let pace = Arc::new(Pace::new(target.destination.rate));
        // Tasks, so that requests go on while a page is read.
        let mut running = JoinSet::new();
        let mut is_last = false;
        loop {
            while !is_last && running.len() < usize::from(self.concurrency.get()) {
                let Some((summary, read)) = found.next().await? else {
                    is_last = true;
                    break;
                };
                tally.begin_copy(summary.id, read);
                let copy = Copying {
                    event: summary.event,
                    store: Arc::clone(&backend.store),
                    forwarder: target.forwarder.clone(),
                    pace: Arc::clone(&pace),
                };
                running.spawn(async move { (summary.id, copy.send().await) });
            }
            match running.join_next().await {
                None => return Ok(()),
                Some(ended) => {
                    let (id, outcome) = ended.map_err(io::Error::other)?;
                    tally.end_copy(id, outcome?);
                }
            }
        }
    }

    /// Prints what would be sent.
    async fn show(
        &self,
        backend: &CommandBackend,
        target: &Target,
        found: &mut Found<'_>,
    ) -> Result<(), CommandError> {
        let mut plan = Plan {
            dry_run: true,
            source: self.source_name(),
            to: target.url.to_string(),
            states: Vec::new(),
            skipped: 0,
            first_request: None,
        };
        while let Some((summary, _)) = found.next().await? {
            if summary.body_deleted {
                plan.skipped += 1;
                continue;
            }
            plan.add(summary.state, summary.accepted_at);
            if plan.first_request.is_none() {
                let records = backend.store.find(&[summary.event]).await?;
                let record = records.into_iter().flatten().next();
                plan.first_request = record.filter(|it| !it.body_deleted).map(|record| {
                    let request = target
                        .forwarder
                        .request(&raw_event(record), Trigger::Replay);
                    ShownRequest::of(&request, &target.url)
                });
            }
        }
        Output::new(self.json).write(&plan, |out| plan.write(&self.what(plan.events()), out))?;
        Ok(())
    }

    /// So many events in words.
    fn what(&self, events: u64) -> String {
        let what = counted_of(&self.source, events);
        if self.source == transaction_kind() {
            what
        } else {
            format!("{what} of {}", self.source)
        }
    }

    fn source_name(&self) -> String {
        if self.source == transaction_kind() {
            TRANSACTIONS.to_owned()
        } else {
            self.source.to_string()
        }
    }

    /// Where copies go. Blocks while it reads files.
    fn target(&self, config: &Config) -> Result<Target, CommandError> {
        let forwarding = if self.source == transaction_kind() {
            config.forwarding().map_err(ReplayError::Forward)?
        } else {
            let file = SourcesFile::read(config).map_err(CommandError::Sources)?;
            find(file, self.source.as_str())?.forward
        };
        let (url, destination) = match (&self.to, forwarding) {
            (None, Some(forwarding)) => (forwarding.url, forwarding.destination),
            (None, None) => return Err(self.no_destination().into()),
            (Some(url), forwarding) => {
                let destination = if self.source == transaction_kind() {
                    of_transactions(url)
                } else {
                    Destination::new(url.uri().clone())
                };
                let destination = match forwarding {
                    Some(forwarding) => destination
                        .with_keys(forwarding.destination.keys)
                        .with_timeout(forwarding.destination.timeout)
                        .with_connect_timeout(forwarding.destination.connect_timeout)
                        .with_pass_headers(forwarding.destination.pass_headers),
                    None => {
                        let keys = config.default_keys().map_err(ReplayError::Forward)?.keys;
                        destination.with_keys(keys)
                    }
                };
                if destination.keys.is_empty() && !url.is_loopback() {
                    return Err(ReplayError::NoKey.into());
                }
                (url.clone(), destination)
            }
        };
        let forwarder = Forwarder::new(destination.clone()).map_err(ReplayError::Destination)?;
        Ok(Target {
            forwarder,
            destination,
            url,
        })
    }

    fn no_destination(&self) -> ReplayError {
        if self.source == transaction_kind() {
            ReplayError::TransactionsNotForwarded
        } else {
            ReplayError::NotForwarded {
                source_name: self.source.clone(),
            }
        }
    }
}

/// A copy that is to be sent. Its body is read just before, so that few bodies are in memory.
struct Copying {
    event: EventRef,
    store: Arc<dyn Store>,
    forwarder: Forwarder,
    pace: Arc<Pace>,
}

/// What came of a copy.
enum Outcome {
    Delivered,
    /// It was not, for this reason.
    Failed(String),
    /// The event has no body any more.
    Skipped,
}

impl Copying {
    async fn send(self) -> Result<Outcome, StoreError> {
        let records = self.store.find(&[self.event]).await?;
        let record = records.into_iter().flatten().next();
        let Some(record) = record.filter(|record| !record.body_deleted) else {
            return Ok(Outcome::Skipped);
        };
        let event = raw_event(record);
        let mut throttled = 0;
        loop {
            self.pace.turn().await;
            let exchange = self.forwarder.send_once(&event, Trigger::Replay).await;
            let Some(failure) = exchange.failure() else {
                return Ok(Outcome::Delivered);
            };
            throttled += 1;
            match exchange.retry_after() {
                Some(wait) => self.pace.hold(wait, &failure),
                None => return Ok(Outcome::Failed(failure)),
            }
            if throttled >= MAX_THROTTLED {
                // Without the time, which differs, so that such failures are counted together.
                let reason = failure.split(", ").next().unwrap_or_default();
                return Ok(Outcome::Failed(format!(
                    "{reason}, {MAX_THROTTLED} times in a row"
                )));
            }
        }
    }
}

/// What a dry run would send.
#[derive(Serialize)]
struct Plan {
    dry_run: bool,
    source: String,
    to: String,
    states: Vec<PlannedState>,
    /// Events whose bodies were deleted.
    skipped: u64,
    first_request: Option<ShownRequest>,
}

/// The events in one state.
#[derive(Serialize)]
struct PlannedState {
    status: &'static str,
    events: u64,
    #[serde(serialize_with = "crate::views::as_instant")]
    first_accepted_at: SystemTime,
    #[serde(serialize_with = "crate::views::as_instant")]
    last_accepted_at: SystemTime,
}

/// A request, without secrets.
#[derive(Serialize)]
struct ShownRequest {
    method: String,
    /// The path, without the query.
    path: String,
    headers: Vec<(String, String)>,
    body_bytes: usize,
    /// The beginning of the body.
    body: String,
}

impl Plan {
    fn add(&mut self, state: State, accepted_at: SystemTime) {
        let status = state.as_str();
        match self.states.iter_mut().find(|it| it.status == status) {
            Some(known) => {
                known.events += 1;
                known.first_accepted_at = known.first_accepted_at.min(accepted_at);
                known.last_accepted_at = known.last_accepted_at.max(accepted_at);
            }
            None => self.states.push(PlannedState {
                status,
                events: 1,
                first_accepted_at: accepted_at,
                last_accepted_at: accepted_at,
            }),
        }
    }

    fn events(&self) -> u64 {
        self.states.iter().map(|state| state.events).sum()
    }

    fn write(&self, what: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "copies of {what} would be sent to {} (dry run)",
            self.to
        )?;
        for state in &self.states {
            writeln!(
                out,
                "{:>10}  {:<10}  accepted from {} to {}",
                state.events,
                state.status,
                instant(state.first_accepted_at),
                instant(state.last_accepted_at)
            )?;
        }
        write_skipped(self.skipped, out)?;
        match &self.first_request {
            Some(request) => request.write(out),
            None => Ok(()),
        }
    }
}

impl ShownRequest {
    fn of(request: &Request<Bytes>, url: &DestinationUrl) -> Self {
        let value = |value: &HeaderValue| {
            if value.is_sensitive() {
                "***".to_owned()
            } else {
                plain(&String::from_utf8_lossy(value.as_bytes()), SHOWN_CHARS)
            }
        };
        let headers = request.headers().iter();
        let headers = headers.map(|(name, it)| (name.to_string(), value(it)));
        let host = ("host".to_owned(), url.authority().to_owned());
        let body = request.body();
        // No more of it is decoded than can be shown.
        let beginning = &body[..body.len().min(4 * SHOWN_CHARS)];
        Self {
            method: request.method().to_string(),
            path: url.uri().path().to_owned(),
            headers: std::iter::once(host).chain(headers).collect(),
            body_bytes: body.len(),
            body: plain(&String::from_utf8_lossy(beginning), SHOWN_CHARS),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = counted(self.body_bytes, "byte", "bytes");
        writeln!(out, "the first request, with a body of {bytes}:\n")?;
        writeln!(out, "{} {}", self.method, self.path)?;
        for (name, value) in &self.headers {
            writeln!(out, "{name}: {value}")?;
        }
        writeln!(out, "\n{}", self.body)
    }
}

/// Why copies were not sent, or not delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The source has no destination.
    #[error(
        "the source {source_name} has no destination: set `forward` for it in CONFIG_FILE, or name a URL with --to"
    )]
    NotForwarded {
        /// The name of the source.
        source_name: Kind,
    },
    /// Transactions are not forwarded.
    #[error("transactions have no destination: set FORWARD_URL, or name a URL with --to")]
    TransactionsNotForwarded,
    /// There are no keys, and the URL is on another machine.
    #[error(
        "copies for --to would not be signed, so that the app there could not tell who sends: make a key with \
         `webhook-server secret`, and set FORWARD_SECRETS, or sign_with of the source"
    )]
    NoKey,
    /// The configuration of the transactions' destination is wrong.
    #[error("the destination cannot be used")]
    Forward(#[source] ForwardError),
    /// The destination is wrong.
    #[error("the destination cannot be used")]
    Destination(#[source] InvalidDestination),
    /// No event can be in the range of times.
    #[error(
        "--until is not later than --since, so no event is between them (of two ages, --since is the longer one)"
    )]
    NoTimeBetween,
    /// Some copies were not delivered.
    #[error(
        "{failed} of {} {} not delivered",
        counted(*sent, "copy", "copies"),
        plural(failed, "was", "were")
    )]
    NotDelivered {
        /// How many were not.
        failed: u64,
        /// How many were sent.
        sent: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use webhook_core::RawEvent;

    use super::*;

    #[test]
    fn moments_are_times_or_ages() {
        let time: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(moment("2026-01-02T03:04:05Z"), Ok(time));
        assert_eq!(moment("2026-01-02T04:04:05+01:00"), Ok(time));
        let then = moment("2h").unwrap();
        let ago = Timestamp::now().duration_since(then);
        let hours = |hours: i64| jiff::SignedDuration::from_hours(hours);
        assert!(ago >= hours(2) && ago < hours(3), "{ago}");
        for wrong in ["", "2", "yesterday", "-2h", "2026-01-02", "9999999999d"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn transactions_are_a_source() {
        assert_eq!(parse_source("transactions"), Ok(transaction_kind()));
        assert_eq!(parse_source("stripe"), Ok(Kind::from_static("stripe")));
        assert!(parse_source("Stripe").is_err());
    }

    #[test]
    fn concurrency_is_bounded() {
        assert_eq!(concurrency("64").map(NonZeroU8::get), Ok(64));
        for wrong in ["0", "65", "-1", "x", ""] {
            assert!(concurrency(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown_in_a_dry_run() {
        let mut bearer = HeaderValue::from_static("Bearer swordfish");
        bearer.set_sensitive(true);
        let url: DestinationUrl = "http://127.0.0.1:3000/hooks?key=swordfish".parse().unwrap();
        let destination = Destination::new(url.uri().clone())
            .with_headers([(hyper::header::AUTHORIZATION, bearer)])
            .with_timeout(Duration::from_secs(1));
        let forwarder = Forwarder::new(destination).unwrap();
        let event = RawEvent::raw(Kind::from_static("a"), "x".repeat(5_000));
        let shown = ShownRequest::of(&forwarder.request(&event, Trigger::Replay), &url);
        let mut text = Vec::new();
        shown.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("swordfish"), "{text}");
        for line in [
            "POST /hooks\n",
            "authorization: ***\n",
            "body of 5000 bytes",
            "x…\n",
        ] {
            assert!(text.contains(line), "{line} is missing: {text}");
        }
    }
}
