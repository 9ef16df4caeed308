//! `listen`: sends a copy of each new event of a source to a URL of the developer's machine.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::StatusCode;
use hyper::header::HeaderName;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::sleep;
use webhook_core::{EventType, Headers, Key, Kind, RawEvent, with_causes};
use webhook_forward::{
    Destination, Forwarder, InvalidDestination, InvalidSigningKey, RandomError, SigningKeys,
    Trigger,
};

use super::output::{instant, plain};
use super::server_api::{Patience, ServerApi, ServerApiError};
use super::{CommandError, Output, blocking};
use crate::config::{Config, DestinationUrl, PlaceOfSecret};
use crate::logging::print_to_stderr;
use crate::sources::MAX_COPIES_WAIT;
use crate::views::{counted, escape_key, parse_kind, plural};

/// How many copies are sent at the same time.
const CONCURRENCY: usize = 4;

/// How many copies wait until they are sent, and how many bytes they may have, before the server is asked for more.
const MAX_QUEUED: usize = 1_000;
const MAX_QUEUED_BYTES: usize = 16 << 20;

/// How long an answer with copies may be: an answer of the server has up to 20 MiB of bodies, in Base64.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The least time between two requests for copies, so that they come together.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for a server that does not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// The most characters of a text in a line.
const WIDTH: usize = 200;

/// The options of `listen`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "Copies change nothing: the events are processed and forwarded as without this command, whatever \
        the URL answers. A copy is sent once. Only new events are copied, not those that the sender repeats. A copy \
        is the request that the server would forward, with all headers that the source keeps, and with \
        `inbox-trigger: replay`.\n\n\
        If several servers run, only the events that this one accepts are copied. The server keeps copies in memory \
        while somebody listens: the latest 1000 events of the source, and 16 MiB.\n\n\
        ^C ends the command."
)]
pub struct Listen {
    /// Name of the source
    #[arg(value_parser = parse_kind)]
    source: Kind,
    /// Where to send the copies, such as http://localhost:3000/hooks
    #[arg(long, value_name = "URL", hide_env_values = true)]
    to: DestinationUrl,
    /// Where the keys are that sign the copies: env:NAME or file:PATH. Default: a new key, which is printed
    #[arg(long, value_name = "PLACE", hide_env_values = true)]
    sign_with: Option<PlaceOfKeys>,
    #[command(flatten)]
    server: ServerApi,
}

/// A place of keys, as it is written.
#[derive(Clone, PartialEq, Eq)]
struct PlaceOfKeys(PlaceOfSecret);

impl FromStr for PlaceOfKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = PlaceOfSecret::parse(text.trim());
        place
            .map(Self)
            .ok_or_else(|| "expected env:NAME or file:PATH".to_owned())
    }
}

/// Shows nothing, since it may be a secret that was taken for a place.
impl fmt::Debug for PlaceOfKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaceOfKeys(***)")
    }
}

impl PlaceOfKeys {
    /// The keys there. Blocks while it reads a file.
    fn read(&self) -> Result<SigningKeys, ListenError> {
        let variable = |name: &str| std::env::var_os(name);
        let read = self.0.read("--sign-with", Path::new(""), &variable);
        let (keys, exposure) = read.map_err(|wrong| ListenError::Place { wrong })?;
        if let Some(exposure) = exposure {
            print_to_stderr(&format!("warning: {exposure}"));
        }
        let keys = keys.iter().map(|key| key.as_str());
        SigningKeys::parse(keys).map_err(ListenError::Key)
    }
}

/// The answer of the server.
#[derive(Deserialize)]
struct Copies {
    copies: VecDeque<EventCopy>,
    next_after: u64,
    lost: Option<u64>,
}

#[derive(Deserialize)]
struct EventCopy {
    source: String,
    key: String,
    event_type: Option<String>,
    received_at: String,
    headers: Vec<Header>,
    body_base64: String,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

impl Listen {
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let place = self.sign_with.clone();
        let read = move |_: &Config| Ok(place.map(|place| place.read()).transpose()?);
        let (keys, shown) = match blocking(config, read).await? {
            Some(keys) => (keys, None),
            None => {
                let key = SigningKeys::generate().map_err(ListenError::Random)?;
                let keys = SigningKeys::parse([key.as_str()]).map_err(ListenError::Key)?;
                (keys, Some(key))
            }
        };
        let app = App::new(&self.to, keys)?;
        // A first request, so that what is wrong is an error at once.
        let start: Copies = self.ask(config, "").await?;
        Output::new(false).write(&(), |out| {
            let Self { source, to, .. } = self;
            writeln!(out, "listening: new events of {source} are copied to {to}")?;
            match shown {
                Some(key) => writeln!(out, "signed with {}", *key),
                None => Ok(()),
            }
        })?;
        self.copy_all(config, app, start.next_after).await
    }

    /// Sends copies, and asks for more meanwhile.
    async fn copy_all(
        &self,
        config: &Config,
        mut app: App,
        start: u64,
    ) -> Result<(), CommandError> {
        let mut queue: VecDeque<RawEvent> = VecDeque::new();
        let mut bytes = 0;
        let mut sending = FuturesUnordered::new();
        let mut asking = pin!(self.next(config, start));
        loop {
            while sending.len() < CONCURRENCY
                && let Some(event) = queue.pop_front()
            {
                bytes -= event.body.len();
                sending.push(app.send(event));
            }
            let has_room = queue.len() < MAX_QUEUED && bytes < MAX_QUEUED_BYTES;
            tokio::select! {
                Some(line) = sending.next() => {
                    Output::new(false).write(&(), |out| writeln!(out, "{line}"))?;
                }
                copies = &mut asking, if has_room => {
                    let copies = copies?;
                    asking.set(self.next(config, copies.next_after));
                    tell_lost(copies.lost);
                    for copy in copies.copies {
                        match copy.into_event() {
                            Some(event) => {
                                app.pass(&event.headers)?;
                                bytes += event.body.len();
                                queue.push_back(event);
                            }
                            None => print_to_stderr("a copy cannot be read, and is left out"),
                        }
                    }
                }
            }
        }
    }

    /// The next copies after `after`, or news about them. Waits for a server that does not answer.
    async fn next(&self, config: &Config, after: u64) -> Result<Copies, ServerApiError> {
        let wait = MAX_COPIES_WAIT.as_secs();
        let query = format!("?after={after}&wait={wait}");
        let mut is_away = false;
        loop {
            sleep(PAUSE).await;
            match self.ask(config, &query).await {
                Ok(copies) => {
                    if is_away {
                        print_to_stderr("the server answers again");
                    }
                    return Ok(copies);
                }
                Err(error) if !is_temporary(&error) => return Err(error),
                Err(error) => {
                    if !is_away {
                        is_away = true;
                        let error = plain(&with_causes(&error), WIDTH);
                        print_to_stderr(&format!("{error}; trying again until it answers"));
                    }
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn ask(&self, config: &Config, query: &str) -> Result<Copies, ServerApiError> {
        let path = format!("/v1/operator/sources/{}/copies{query}", self.source);
        let patience = Patience {
            time: MAX_COPIES_WAIT + Patience::default().time,
            answer_bytes: MAX_ANSWER_BYTES,
        };
        self.server.ask(config, &path, patience).await
    }
}

/// Whether the same request may be answered later: the server is away, or overloaded.
fn is_temporary(error: &ServerApiError) -> bool {
    match error {
        ServerApiError::NoToken | ServerApiError::NotServed { .. } => false,
        ServerApiError::Unreachable { .. } | ServerApiError::Silent { .. } => true,
        ServerApiError::Refused { status, .. } => {
            status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
        }
    }
}

fn tell_lost(lost: Option<u64>) {
    match lost {
        Some(0) => {}
        Some(lost) => print_to_stderr(&format!(
            "{} {} not copied: the server keeps the latest 1000, and 16 MiB",
            counted(lost, "event", "events"),
            plural(&lost, "was", "were")
        )),
        None => print_to_stderr(
            "some events may not have been copied: the server was restarted, or was not asked for more than a minute",
        ),
    }
}

impl EventCopy {
    /// The event; `None` if the server sent something else.
    fn into_event(self) -> Option<RawEvent> {
        let accepted_at: Timestamp = self.received_at.parse().ok()?;
        let body = STANDARD.decode(self.body_base64).ok()?;
        let mut headers = Headers::new();
        for Header { name, value } in &self.headers {
            headers.append(name, value).ok()?;
        }
        let event_type = self.event_type.map(EventType::new).transpose().ok()?;
        let event = RawEvent::raw(Kind::new(self.source).ok()?, Bytes::from(body))
            .with_key(Key::new(self.key).ok()?)
            .with_event_type(event_type)
            .with_headers(headers)
            .with_accepted_at(accepted_at.into())
            .of_attempts(1);
        Some(event)
    }
}

/// The app that gets the copies.
struct App {
    forwarder: Forwarder,
    destination: Destination,
}

impl App {
    fn new(url: &DestinationUrl, keys: SigningKeys) -> Result<Self, ListenError> {
        let destination = Destination::new(url.uri().clone()).with_keys(keys);
        let forwarder = Forwarder::new(destination.clone()).map_err(ListenError::Destination)?;
        Ok(Self {
            forwarder,
            destination,
        })
    }

    /// Passes these headers on from now on, as far as they are not written by the forwarder.
    fn pass(&mut self, headers: &Headers) -> Result<(), ListenError> {
        for (name, _) in headers.iter() {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            let known = &self.destination.pass_headers;
            if known.contains(&name) {
                continue;
            }
            let names = known.iter().cloned().chain([name]);
            let destination = self.destination.clone().with_pass_headers(names);
            if destination.check().is_ok() {
                let replaced = self.forwarder.replace(destination.clone());
                replaced.map_err(ListenError::Destination)?;
                self.destination = destination;
            }
        }
        Ok(())
    }

    /// Sends a copy, and returns the line about it.
    fn send(&self, event: RawEvent) -> impl Future<Output = String> + use<> {
        let forwarder = self.forwarder.clone();
        async move {
            let exchange = forwarder.send_once(&event, Trigger::Replay).await;
            let came = match (&exchange.result, exchange.failure()) {
                (Ok(answer), None) => answer.status.to_string(),
                (_, failure) => plain(&failure.unwrap_or_default(), WIDTH),
            };
            format!(
                "{}  {}  {}  {came}  {} ms",
                instant(SystemTime::now()),
                event
                    .event_type
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |it| plain(it.as_str(), WIDTH)),
                escape_key(event.key.as_str()),
                exchange.timings.total.as_millis()
            )
        }
    }
}

/// Why no copies can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The keys cannot be read.
    #[error("{wrong}")]
    Place {
        /// What is wrong.
        wrong: String,
    },
    /// A key does not have the form of a key.
    #[error("invalid key")]
    Key(#[source] InvalidSigningKey),
    /// No key can be made.
    #[error("failed to make a key")]
    Random(#[source] RandomError),
    /// Nothing can be sent to the URL.
    #[error("invalid --to")]
    Destination(#[source] InvalidDestination),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_keys_are_not_shown() {
        let place: PlaceOfKeys = "env:APP_KEY".parse().unwrap();
        assert_eq!(format!("{place:?}"), "PlaceOfKeys(***)");
        for wrong in ["", "APP_KEY", "env:", "env:A-B", "file:"] {
            assert!(wrong.parse::<PlaceOfKeys>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn copies_are_read_and_others_left_out() {
        let copy = |id: &str, body: &str| EventCopy {
            source: "github".to_owned(),
            key: id.to_owned(),
            event_type: Some("push".to_owned()),
            received_at: "2026-01-02T03:04:05Z".to_owned(),
            headers: vec![Header {
                name: "x-github-event".to_owned(),
                value: "push".to_owned(),
            }],
            body_base64: body.to_owned(),
        };
        let event = copy("id-1", "eyJhIjoxfQ==").into_event().unwrap();
        assert_eq!(
            (event.key.as_str(), &event.body[..]),
            ("id-1", &b"{\"a\":1}"[..])
        );
        assert_eq!(event.headers.get_str("x-github-event"), Some("push"));
        assert_eq!(event.event_type, Some(EventType::new("push").unwrap()));
        assert!(copy("id-1", "?").into_event().is_none());
        assert!(copy("", "").into_event().is_none());
    }

    #[test]
    fn headers_of_the_forwarder_are_not_passed() {
        let url = "http://127.0.0.1:3000/".parse().unwrap();
        let mut app = App::new(&url, SigningKeys::none()).unwrap();
        let headers = [
            ("webhook-id", "1"),
            ("x-github-event", "push"),
            ("host", "a"),
        ];
        app.pass(&Headers::try_from_iter(headers).unwrap()).unwrap();
        assert_eq!(app.destination.pass_headers, ["x-github-event"]);
    }

    #[test]
    fn refusals_end_the_command_and_overload_does_not() {
        for (status, is_temporary_) in [
            (StatusCode::UNAUTHORIZED, false),
            (StatusCode::NOT_FOUND, false),
            (StatusCode::TOO_MANY_REQUESTS, true),
            (StatusCode::SERVICE_UNAVAILABLE, true),
        ] {
            let detail = None;
            let error = ServerApiError::Refused { status, detail };
            assert_eq!(is_temporary(&error), is_temporary_, "{status}");
        }
    }
}
