//! What operators see of this process beside its store: sources, destinations, and what became of their requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use webhook_core::{EventRecord, EventType, Kind, KindSample};
use webhook_forward::{DestinationStatus, Exchange, Forwarder, NotNow, PauseRecord, Trigger};
use webhook_sources::spec::Scheme;
use webhook_ui::model::{
    Answer, Body, Capped, Copy, CopyPage, Destination, DestinationState, Header, InstanceInfo,
    Refused, RefusedPage, Sample, Samples, SecretInfo, Series, SourceCounts, SourceInfo, TestSent,
};
use webhook_ui::{Instance, Problem, Replayed, did_you_mean};

use crate::backend::{Backend, Health};
use crate::config::{Config, Role, SourceConfig};
use crate::delivery::{Delivery, random_id};
use crate::destinations::{Destinations, raw_event};
use crate::http::{App, serve_stream};
use crate::metrics::{MinuteSeries, host_name};
use crate::sources::{ActiveSource, Named, RefusedRequest, Sources, TakenCopies};
use crate::views::{scheme_name, transaction_kind};

/// How many names of sources an error lists.
const LISTED_NAMES: usize = 10;

/// The body of a test event.
const TEST_BODY: &str = r#"{"test":true,"type":"webhook_inbox.test"}"#;

/// How long a source may take to answer a test event.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer to a test event that are shown.
const MAX_TEST_ANSWER_BYTES: usize = 4 * 1024;

/// This process.
pub(crate) struct ServerInstance {
    info: InstanceInfo,
    sources: Option<Arc<Sources>>,
    destinations: Arc<Destinations>,
    /// Takes test events as the public address takes deliveries.
    receiver: Option<Arc<App>>,
    /// What the URLs of sources begin with.
    base_url: String,
    /// The longest transaction.
    max_body_bytes: usize,
    /// Whether this process takes transactions.
    takes_transactions: bool,
    samples: Option<Arc<crate::metrics::Samples>>,
    /// Whether the store answers.
    health: Option<Arc<Health>>,
    is_stopping: Arc<AtomicBool>,
}

impl ServerInstance {
    pub(crate) fn new(
        config: &Config,
        backend: &Backend,
        base_url: String,
        sources: Option<Arc<Sources>>,
        destinations: Arc<Destinations>,
        receiver: Option<Arc<App>>,
        is_stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            samples: None,
            health: None,
            info: info(config, backend),
            sources,
            destinations,
            receiver,
            base_url,
            max_body_bytes: config.http_options().max_body_bytes,
            takes_transactions: config.role != Role::Worker,
            is_stopping,
        }
    }

    /// Shows what `samples` hold.
    pub(crate) fn with_samples(self, samples: Option<Arc<crate::metrics::Samples>>) -> Self {
        Self { samples, ..self }
    }

    /// Shows which outages `health` knows of.
    pub(crate) fn with_health(self, health: Option<Arc<Health>>) -> Self {
        Self { health, ..self }
    }

    fn source(&self, name: &Kind) -> Option<Arc<ActiveSource>> {
        match self.sources.as_ref()?.named(name.as_str()) {
            Named::Source(source) => Some(source),
            Named::Unusable | Named::Unknown => None,
        }
    }

    fn known_source(&self, name: &Kind) -> Result<Arc<ActiveSource>, Problem> {
        self.source(name).ok_or_else(|| self.no_such_source(name))
    }

    /// There is no such source. Other kinds of events have neither copies nor refused requests.
    fn no_such_source(&self, name: &Kind) -> Problem {
        let names = self.sources.as_ref().map(|it| it.names());
        let names = names.unwrap_or_default();
        let known = || names.iter().map(String::as_str);
        let detail = format!(
            "Source not found: the configuration file of this server has no source named {name}, and only its sources \
             have copies and refused requests{}",
            match did_you_mean(name.as_str(), known()) {
                similar if !similar.is_empty() => similar,
                _ if names.is_empty() => "; it has no sources".to_owned(),
                _ => {
                    let first: Vec<_> = known().take(LISTED_NAMES).collect();
                    let more = if names.len() > first.len() {
                        ", …"
                    } else {
                        ""
                    };
                    format!("; its sources are {}{more}", first.join(", "))
                }
            }
        );
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// The URL of a source.
    fn url(&self, config: &SourceConfig, path: &str) -> String {
        let public_url = config.public_url.clone();
        public_url.unwrap_or_else(|| format!("{}{path}", self.base_url))
    }

    /// The secrets of transactions, by their positions.
    fn secrets_of_transactions(&self) -> Vec<SecretInfo> {
        let secrets =
            |receiver: &Arc<App>| numbered(receiver.verified_by_secret(), receiver.secrets_since());
        self.receiver.as_ref().map(secrets).unwrap_or_default()
    }

    /// The forwarder of the events of `kind`.
    fn forwarder(&self, kind: &Kind) -> Result<Forwarder, Problem> {
        self.destinations
            .of(kind)
            .ok_or_else(|| Problem::conflict(format!("This process forwards no events of {kind}")))
    }

    /// How long 99 of 100 requests to a source took at most.
    fn accept_p99(&self, kind: &Kind) -> Option<f64> {
        self.samples.as_ref()?.accept_p99(kind)
    }

    fn source_info(&self, source: &ActiveSource) -> SourceInfo {
        let config = &source.config;
        let activity = &source.activity;
        let counts = activity.counts();
        let path = config.path();
        SourceInfo {
            name: source.name().to_owned(),
            url: Some(self.url(config, &path)),
            path: Some(path),
            preset: config.preset.clone(),
            scheme: Some(scheme_name(&source.source().spec().scheme).to_owned()),
            state: config.state().to_owned(),
            secrets: numbered(source.verified_by_secret(), source.secrets_since),
            counts: SourceCounts {
                received: counts.received,
                events: counts.events,
                duplicates: counts.duplicates,
                conflicts: counts.conflicts,
                refused: counts.refused,
                unavailable: counts.unavailable,
            },
            last_received_at: activity.last_received().map(Into::into),
            last_refused_at: activity.last_refused().map(Into::into),
            accept_p99_seconds: self.accept_p99(&config.name),
            expect_every_seconds: config.expect_every.map(|it| it.as_secs_f64()),
            silent_since: source.silent_since().map(Into::into),
            destination: config.forward.as_ref().map(|it| it.url.to_string()),
            can_test: self.receiver.is_some() && can_sign(&source.source().spec().scheme),
            example: None,
            setup: None,
        }
    }
}

/// Whether the secrets of a scheme can sign: not if it has only the public keys of the sender.
fn can_sign(scheme: &Scheme) -> bool {
    match scheme {
        Scheme::PublicKey(_) => false,
        Scheme::AnyOf(schemes) => schemes.iter().any(can_sign),
        Scheme::AllOf(schemes) => schemes.iter().all(can_sign),
        _ => true,
    }
}

fn info(config: &Config, backend: &Backend) -> InstanceInfo {
    InstanceInfo {
        name: config
            .instance_name
            .clone()
            .or_else(|| Some(host_name()).filter(|it| !it.is_empty())),
        color: config.instance_color.clone(),
        trace_url: config.trace_url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: backend.name().to_owned(),
        in_memory: backend.is_in_memory(),
        warnings: config.warnings(),
        outages: Vec::new(),
    }
}

/// Secrets, of which nothing is shown: with a digest, a weak secret could be guessed.
fn numbered(verified: Vec<u64>, since: SystemTime) -> Vec<SecretInfo> {
    let secrets = (1..).zip(verified).map(|(number, verified)| SecretInfo {
        number,
        since: since.into(),
        verified,
    });
    secrets.collect()
}

#[async_trait]
impl Instance for ServerInstance {
    fn info(&self) -> InstanceInfo {
        let health = self.health.as_ref();
        InstanceInfo {
            outages: health.map(|it| it.outages()).unwrap_or_default(),
            ..self.info.clone()
        }
    }

    fn sources(&self) -> Vec<SourceInfo> {
        let sources = self.sources.as_ref().map(|sources| sources.all());
        let sources = sources.unwrap_or_default();
        let mut sources: Vec<_> = sources.iter().map(|it| self.source_info(it)).collect();
        if self.takes_transactions {
            let kind = transaction_kind();
            let path = "/v1/webhooks/transactions".to_owned();
            let samples = self.samples.as_ref();
            let last_received = samples.and_then(|it| it.last_received(&kind));
            sources.push(SourceInfo {
                name: kind.to_string(),
                url: Some(format!("{}{path}", self.base_url)),
                path: Some(path),
                state: "enabled".to_owned(),
                secrets: self.secrets_of_transactions(),
                counts: samples.map(|it| it.received(&kind)).unwrap_or_default(),
                last_received_at: last_received.map(Into::into),
                accept_p99_seconds: self.accept_p99(&kind),
                destination: self.destinations.of(&kind).map(|it| it.status().url),
                ..SourceInfo::default()
            });
            sources.sort_by(|a, b| a.name.cmp(&b.name));
        }
        sources
    }

    fn source_names(&self) -> Vec<String> {
        let sources = self.sources.as_ref().map(|sources| sources.names());
        let mut names = sources.unwrap_or_default();
        names.push(transaction_kind().to_string());
        names
    }

    fn destinations(&self) -> Vec<Destination> {
        let all = self.destinations.all().into_iter();
        all.map(|(kind, forwarder)| destination(&kind, forwarder.status()))
            .collect()
    }

    fn samples(&self) -> Samples {
        let latest = self.samples.as_ref().map(|samples| samples.latest());
        let Some((at, kinds)) = latest.and_then(|latest| latest.kinds) else {
            return Samples::default();
        };
        Samples {
            at: Some(at.into()),
            sources: kinds.iter().map(sample).collect(),
        }
    }

    fn series(&self, source: &Kind) -> Option<Series> {
        let series = self.samples.as_ref()?.series(source)?;
        let counts = |series: MinuteSeries| series.counts().to_vec();
        let listed = self
            .source(source)
            .map(|it| it.activity.refused_by_minute());
        Some(Series {
            received: counts(series.received),
            refused: counts(listed.unwrap_or(series.refused)),
            duplicates: counts(series.duplicates),
            conflicts: counts(series.conflicts),
            processed: counts(series.processed),
            failed: counts(series.failed),
        })
    }

    fn refused(&self, source: &Kind, limit: usize) -> Result<RefusedPage, Problem> {
        let source = self.known_source(source)?;
        let requests = source.activity.refused_requests(limit);
        Ok(RefusedPage {
            refused: requests.iter().map(|it| refused(it)).collect(),
            total: source.activity.counts().refused,
        })
    }

    async fn copies(
        &self,
        source: &Kind,
        asker: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<CopyPage, Problem> {
        let source = self.known_source(source)?;
        let kept = &source.activity.copies;
        let is_first = kept.ask(asker);
        let TakenCopies {
            copies,
            next_after,
            lost,
        } = kept.take(after, wait, || self.is_stopping()).await;
        let copies = copies.iter().map(|copy| Copy {
            number: copy.number,
            source: copy.kind.to_string(),
            key: copy.key.to_string(),
            event_type: copy.event_type.as_ref().map(EventType::to_string),
            received_at: copy.accepted_at.into(),
            headers: copy.headers.iter().map(header).collect(),
            body: copy.body.clone(),
        });
        Ok(CopyPage {
            copies: copies.collect(),
            next_after,
            lost,
            is_first,
        })
    }

    async fn send_test(&self, source: &Kind) -> Result<TestSent, Problem> {
        let source = self.known_source(source)?;
        let Some(receiver) = &self.receiver else {
            return Err(Problem::not_offered(
                "This process does not receive; ask one of the role all or api",
            ));
        };
        test(receiver, &source).await
    }

    async fn replay(&self, event: &EventRecord, to: Option<&Kind>) -> Result<(), Problem> {
        let kind = to.unwrap_or(&event.envelope.kind);
        let forwarder = self.forwarder(kind)?;
        let raw = raw_event(event.clone());
        delivered(&forwarder.send_once(&raw, Trigger::Replay).await)
    }

    async fn replay_if_allowed(
        &self,
        event: &EventRecord,
        to: Option<&Kind>,
    ) -> Result<Replayed, Problem> {
        let kind = to.unwrap_or(&event.envelope.kind);
        let forwarder = self.forwarder(kind)?;
        let raw = raw_event(event.clone());
        let sending = forwarder.send_if_allowed(&raw, Trigger::Replay, kind);
        let exchange = match sending.await {
            Ok(exchange) => exchange,
            Err(NotNow {
                reason, retry_in, ..
            }) => {
                return Ok(Replayed::NotNow {
                    reason: reason.to_owned(),
                    retry_in,
                });
            }
        };
        match (exchange.failure(), exchange.retry_after()) {
            (Some(reason), Some(retry_in)) => Ok(Replayed::NotNow { reason, retry_in }),
            _ => delivered(&exchange).map(|()| Replayed::Delivered),
        }
    }

    fn signed_curl(&self, source: &Kind, body: &Bytes) -> Option<String> {
        let source = self.source(source)?;
        // A token or a password would be in the command.
        if !matches!(
            source.source().spec().scheme,
            Scheme::Hmac(_) | Scheme::None
        ) {
            return None;
        }
        let (config, path) = (&source.config, source.config.path());
        let signed = Delivery::sign(config, &path, &random_id(), Vec::new(), body).ok()?;
        let url = self.url(config, &path);
        signed.curl(url.strip_suffix(&path).unwrap_or(&self.base_url))
    }

    fn max_body_bytes(&self, source: &Kind) -> usize {
        let source = self.source(source);
        source.map_or(self.max_body_bytes, |it| it.config.max_body_bytes)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// Whether a copy was delivered.
fn delivered(exchange: &Exchange) -> Result<(), Problem> {
    match (exchange.failure(), &exchange.result) {
        (None, _) => Ok(()),
        (Some(_), Ok(answer)) => Err(Problem::bad_gateway(format!(
            "The destination answered {}",
            answer.status
        ))),
        (Some(failure), Err(_)) => Err(Problem::bad_gateway(format!(
            "The copy was not delivered: {failure}"
        ))),
    }
}

fn header((name, value): (&str, &[u8])) -> Header {
    Header {
        name: name.to_owned(),
        value: Some(String::from_utf8_lossy(value).into_owned()),
    }
}

/// Why and since when a destination is paused that said itself that it wants no more events.
fn paused_because(pause: &PauseRecord) -> String {
    let since = jiff::Timestamp::try_from(pause.since)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    let since = since.unwrap_or_else(|_| "an unknown time".to_owned());
    format!("it {} at {since}", pause.reason)
}

fn destination(kind: &Kind, status: DestinationStatus) -> Destination {
    use webhook_forward::DestinationState as Of;
    let (state, until) = match status.state {
        Of::Closed => (DestinationState::Closed, None),
        Of::Open { until } => (DestinationState::Open, Some(until)),
        Of::HalfOpen => (DestinationState::HalfOpen, None),
        Of::Throttled { until } => (DestinationState::Throttled, Some(until)),
        _ => (DestinationState::Paused, None),
    };
    let answers = status.last_answers.into_iter();
    Destination {
        source: kind.to_string(),
        url: status.url,
        state,
        until: until.map(Into::into),
        paused_since: status.pause.as_ref().map(|it| it.since.into()),
        paused_because: status.pause.map(|it| paused_because(&it)),
        in_flight: status.in_flight as u64,
        window: status.window as u64,
        concurrency: status.concurrency as u64,
        rate: status.rate,
        delivered: status.delivered,
        failed: status.failed,
        postponed: status.postponed,
        consecutive_failures: status.consecutive_failures,
        last_answers: answers
            .map(|answer| Answer {
                at: answer.at.into(),
                key: answer.key,
                status: answer.status,
                error_class: answer.error_class.map(|it| it.as_str().to_owned()),
                duration_ms: Some((answer.duration.as_secs_f64() * 1e3).round()),
            })
            .collect(),
        paused: false,
        oldest_due_age_seconds: None,
    }
}

fn refused(request: &RefusedRequest) -> Refused {
    let headers = request.headers.lines();
    let headers = headers.filter_map(|line| line.split_once(": "));
    Refused {
        at: request.at.into(),
        client: request.client.map(|addr| addr.to_string()),
        method: request.method.clone(),
        query: request.query.clone(),
        status: request.status,
        reason: request.reason.clone(),
        hint: request.hint.get().cloned(),
        headers: headers
            .map(|(name, value)| header((name, value.as_bytes())))
            .collect(),
        body_bytes: request.body_bytes.map(|bytes| bytes as u64),
        body: request.body.as_ref().map(|body| {
            let whole = request.body_bytes.unwrap_or(body.len());
            Body::masked(body, whole as u64)
        }),
    }
}

/// Sends a signed delivery through the same code as a request over the network.
async fn test(receiver: &Arc<App>, source: &ActiveSource) -> Result<TestSent, Problem> {
    let cannot = |error: &dyn std::fmt::Display| {
        Problem::conflict(format!(
            "A test event cannot be signed for this source: {error}"
        ))
    };
    let id = random_id();
    let path = source.config.path();
    let body = TEST_BODY.as_bytes();
    let signed = Delivery::sign(&source.config, &path, &id, Vec::new(), body);
    let signed = signed.map_err(|error| cannot(&error))?;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let served = tokio::spawn(serve_stream(Arc::clone(receiver), theirs));
    let exchange = async {
        let io = TokioIo::new(ours);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let connection = tokio::spawn(connection);
        let sent = signed.head().header(HOST, "localhost");
        let sent = sent.body(Full::<Bytes>::from(signed.body))?;
        let answer = sender.send_request(sent).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_TEST_ANSWER_BYTES);
        let body = body.collect().await?.to_bytes();
        connection.abort();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
    };
    let answered = tokio::time::timeout(TEST_TIMEOUT, exchange).await;
    served.abort();
    match answered {
        Ok(Ok((status, body))) => Ok(TestSent {
            source: source.name().to_owned(),
            key: None,
            status,
            answer: String::from_utf8_lossy(&body).into_owned(),
        }),
        Ok(Err(error)) => Err(cannot(&error)),
        Err(_) => Err(Problem::unavailable("The source did not answer in time", 1)),
    }
}

/// A sample as operators see it.
fn sample(sample: &KindSample) -> Sample {
    let capped = |count| Capped {
        count,
        at_least: sample.is_capped,
    };
    Sample {
        source: sample.kind.as_str().to_owned(),
        waiting: capped(sample.waiting),
        due: capped(sample.due),
        leased: capped(sample.leased),
        failed: capped(sample.failed),
        oldest_due_age_seconds: sample.oldest_due.map(|age| age.as_secs_f64()),
        paused: sample.paused,
    }
}
