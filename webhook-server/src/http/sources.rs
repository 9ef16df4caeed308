//! Receives the deliveries of the sources, and the requests by which senders check an address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use webhook_core::{
    Accepted, Admin, Envelope, EventType, Fingerprint, Headers, Inbox, Key, TraceParent,
};
use webhook_sources::http::RequestParts;
use webhook_sources::{Flaw, Outcome, Received, Refusal, Source};
use webhook_ui::UiBody;

use super::answer::Answer;
use super::connections::Peer;
use super::problem::Problem;
use super::verify::MAX_INLINE_BYTES;
use super::{App, body};
use crate::metrics::Refused;
use crate::sources::{ActiveSource, Named, Sources};
use crate::traces::Sending;

/// How long after the last byte of a body the answer is decided at most. The strictest senders wait three seconds
/// for the whole request.
pub(crate) const DECISION_TIME: Duration = Duration::from_secs(2);

/// When a sender should try again whose source is turned off, in seconds.
const DISABLED_RETRY_SECONDS: u16 = 60;

/// When a sender should try again whose key has to be fetched first, in seconds.
const UNVERIFIABLE_RETRY_SECONDS: u16 = 5;

/// When a sender should try again that is over a limit of its source, in seconds.
const LIMITED_RETRY_SECONDS: u16 = 5;

/// The header with which an event is stored whose delivery was not as its source says.
pub(crate) const FLAW_HEADER: &str = "webhook-inbox-flaw";

/// The sources, and the inbox for what they receive.
pub(super) struct Intake {
    pub(super) sources: Arc<Sources>,
    pub(super) inbox: Inbox,
    /// Tells the conflicts of an event.
    pub(super) admin: Option<Arc<dyn Admin>>,
}

/// Whose delivery a request is.
pub(super) enum Recipient {
    Source(Arc<ActiveSource>),
    /// Nobody's: it is refused as a request with a wrong signature is.
    Unknown,
}

/// A request that may be a delivery, before its body is read.
pub(super) struct Delivery<'a> {
    intake: &'a Intake,
    recipient: Recipient,
}

impl Recipient {
    fn source<'a>(&'a self, sources: &'a Sources) -> &'a Arc<Source> {
        match self {
            Self::Source(source) => source.source(),
            Self::Unknown => sources.unknown(),
        }
    }

    /// Refuses a request with one answer for every reason, so that a forger does not learn how far it got, and
    /// not whether there is such a source. `body` is `None` if it was not read.
    ///
    /// Only refused requests count towards the limit of their client: a sender whose requests are verified has
    /// limits of its own.
    fn refuse(
        &self,
        app: &App,
        sources: &Sources,
        client: Option<IpAddr>,
        head: &Parts,
        body: Option<&Bytes>,
        refusal: Refusal,
    ) -> Problem {
        let is_unverifiable = refusal.answer.status == StatusCode::SERVICE_UNAVAILABLE;
        let problem = match app.rates.check_sender(client) {
            Err(too_many) => too_many,
            // The key of the sender is not there yet, which may be nobody's fault.
            Ok(()) if is_unverifiable => {
                Problem::unavailable("Not verifiable at the moment", UNVERIFIABLE_RETRY_SECONDS)
            }
            Ok(()) => Problem::refused_by_source(refusal.answer.status, &refusal.answer.headers)
                .counted(Refused::of(&refusal.reason)),
        };
        let source = match self {
            Self::Unknown => {
                app.auth.note_refused(None, client, &"no such source");
                sources.unknown_record()
            }
            Self::Source(source) => {
                app.auth
                    .note_refused(Some(source.name()), client, &refusal.reason);
                source
            }
        };
        let (status, reason) = (problem.status().as_u16(), refusal.reason.to_string());
        let diagnosis = sources.diagnosis();
        diagnosis.record(source, client, head, body, status, reason);
        problem.listed()
    }
}

/// Decides by the head of a request to `name` whether its body is read.
pub(super) fn route<'a>(
    app: &App,
    intake: &'a Intake,
    client: Option<IpAddr>,
    head: &Parts,
    name: &str,
) -> Result<Delivery<'a>, Problem> {
    let recipient = match intake.sources.named(name) {
        Named::Source(source) if source.config.retired => {
            return Err(Problem::new(StatusCode::GONE, "Gone"));
        }
        Named::Source(source) if source.config.enabled => Recipient::Source(source),
        Named::Source(_) | Named::Unusable => {
            return Err(Problem::unavailable(
                "Not receiving at the moment",
                DISABLED_RETRY_SECONDS,
            )
            .counted(Refused::Because("disabled")));
        }
        Named::Unknown => Recipient::Unknown,
    };
    let parts = RequestParts::new(head);
    let checked = recipient
        .source(&intake.sources)
        .check_head(&parts.request(b""), SystemTime::now());
    match checked {
        Ok(()) => Ok(Delivery { intake, recipient }),
        Err(refusal) => Err(recipient.refuse(app, &intake.sources, client, head, None, refusal)),
    }
}

/// Reads the body of a delivery, verifies it, and makes its events durable.
pub(super) async fn receive(
    app: &App,
    peer: &Peer,
    delivery: Delivery<'_>,
    client: Option<IpAddr>,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    let Delivery { intake, recipient } = delivery;
    let limit = match &recipient {
        Recipient::Source(source) => source.config.max_body_bytes,
        Recipient::Unknown => app.options.max_body_bytes,
    };
    let body = body::receive_up_to(limit, app, peer, client, body).await?;
    peer.waits_for_server();
    if let Recipient::Source(source) = &recipient {
        source.requests.read(body.bytes.len());
    }
    let decision = async {
        let outcome = outcome_with_keys(&recipient, &intake.sources, head, &body.bytes).await?;
        match (outcome, &recipient) {
            (Outcome::Received(received), Recipient::Source(source)) => {
                peer.note_verified();
                source.note_verified(received.verified.secret_index);
                store(
                    app,
                    source,
                    &intake.inbox,
                    client,
                    head,
                    &body.bytes,
                    received,
                )
                .await
            }
            (Outcome::Handshake(answer), Recipient::Source(source)) => {
                // Anybody may make most of these requests.
                let checked = app.rates.check_sender(client);
                checked.inspect_err(|_| app.auth.note_rate_limited(client))?;
                tracing::debug!(source = source.name(), "answered a handshake");
                into_answer(answer)
            }
            (Outcome::Refused(refusal), recipient) => Err(recipient.refuse(
                app,
                &intake.sources,
                client,
                head,
                Some(&body.bytes),
                refusal,
            )),
            // Nobody has the secret of the unknown source.
            _ => Err(Problem::unsigned()),
        }
    };
    match timeout(DECISION_TIME, decision).await {
        Ok(decided) => decided,
        Err(_) => Err(Problem::unavailable("Store too slow", 1)),
    }
}

/// Finds out what a request is. Where a key of the sender is missing, waits a moment for it; if it does not come, the
/// request is refused with 503, since the sender cannot help it.
async fn outcome_with_keys(
    recipient: &Recipient,
    sources: &Sources,
    head: &Parts,
    body: &Bytes,
) -> Result<Outcome, Problem> {
    let refusal = match (outcome(recipient, sources, head, body).await?, recipient) {
        (Outcome::Refused(refusal), Recipient::Source(_)) => refusal,
        (outcome, _) => return Ok(outcome),
    };
    let (Some(request), Recipient::Source(source)) = (refusal.missing_key(), recipient) else {
        return Ok(Outcome::Refused(refusal));
    };
    if sources.keys().renew(source.name(), request).await {
        return outcome(recipient, sources, head, body).await;
    }
    Ok(Outcome::Refused(refusal.postponed()))
}

/// Finds out what a request is: a long one on a blocking thread, one of each source at a time.
async fn outcome(
    recipient: &Recipient,
    sources: &Sources,
    head: &Parts,
    body: &Bytes,
) -> Result<Outcome, Problem> {
    let source = recipient.source(sources);
    if body.len() <= MAX_INLINE_BYTES {
        let parts = RequestParts::new(head);
        return Ok(source.receive(&parts.request(body), SystemTime::now()));
    }
    let verifications: &Arc<Semaphore> = match recipient {
        Recipient::Source(source) => &source.limits.verifications,
        Recipient::Unknown => sources.unknown_verifications(),
    };
    let permit = Arc::clone(verifications)
        .acquire_owned()
        .await
        .map_err(Problem::internal)?;
    let (source, head, body) = (Arc::clone(source), head.clone(), body.clone());
    let outcome = tokio::task::spawn_blocking(move || {
        let parts = RequestParts::new(&head);
        let outcome = source.receive(&parts.request(&body), SystemTime::now());
        drop(permit);
        outcome
    });
    outcome.await.map_err(Problem::internal)
}

/// Stores the events of a verified delivery, all or none, within the limits of its source. Everything that fails
/// is answered 503 or 500, which every sender repeats.
async fn store(
    app: &App,
    source: &ActiveSource,
    inbox: &Inbox,
    client: Option<IpAddr>,
    head: &Parts,
    body: &Bytes,
    received: Received,
) -> Result<Answer, Problem> {
    let too_many = |limit: &str| {
        app.auth.note_limited(source.name(), client, &limit);
        Problem::unavailable("Too many deliveries", LIMITED_RETRY_SECONDS)
            .counted(Refused::Throttled)
    };
    if app.rates.check_all().is_err() {
        return Err(too_many("RATE_LIMIT"));
    }
    let _admitted = source
        .admit(body.len())
        .map_err(|over| too_many(over.key()))?;
    let traces = app.traces.as_deref();
    let sending = Sending::begin(traces, &source.config.name, received.events.len());
    let context = sending.as_ref().and_then(Sending::context);
    let envelopes = envelopes(source, head, body, &received, context.as_deref())?;
    let copies = &source.activity.copies;
    let copied = copies.are_wanted().then(|| envelopes.clone());
    let key = match &envelopes[..] {
        [only] if sending.is_some() => Some(only.key.clone()),
        _ => None,
    };
    let accepted = inbox
        .accept_together_after(envelopes, source.config.delay)
        .await;
    if let Some(sending) = sending {
        sending.end(traces, key.as_ref(), accepted.as_deref());
    }
    let accepted = accepted?;
    source.activity.note_received(&accepted);
    if let Some(copied) = copied {
        let events = copied.iter().zip(&accepted);
        let new = events.filter(|(_, accepted)| **accepted == Accepted::New);
        copies.add(new.map(|(envelope, _)| envelope));
    }
    let confirmations = received.events.iter().zip(&accepted);
    for (event, accepted) in confirmations.filter(|(event, _)| event.confirm_url.is_some()) {
        if *accepted == Accepted::New {
            // The URL is a secret until it is visited.
            tracing::warn!(
                source = source.name(),
                id = event.id,
                "the sender asks to be confirmed: show this event, and visit the URL in it if you asked for it"
            );
        }
    }
    let count = |wanted| accepted.iter().filter(|it| **it == wanted).count();
    tracing::debug!(
        source = source.name(),
        events = accepted.len(),
        duplicates = count(Accepted::Duplicate),
        conflicts = count(Accepted::Conflict),
        "delivery stored"
    );
    into_answer(received.answer)
}

/// The events of a delivery as the store keeps them. All of them have its headers.
fn envelopes(
    source: &ActiveSource,
    head: &Parts,
    body: &Bytes,
    received: &Received,
    context: Option<&str>,
) -> Result<Vec<Envelope>, Problem> {
    let parts = RequestParts::new(head);
    let kept = source.source().kept_headers(&parts.request(body));
    let headers = headers(context, &kept, None);
    let envelopes = received.events.iter().map(|event| {
        let key = Key::new(event.id.as_str()).map_err(Problem::internal)?;
        let fingerprint = Fingerprint::from_bytes(event.content);
        let content = body.slice(event.body.clone());
        let envelope = Envelope::new(source.config.name.clone(), key, fingerprint, content);
        let event_type = event.event_type.as_deref().map(EventType::new);
        let event_type = event_type.transpose().map_err(Problem::internal)?;
        let envelope = envelope
            .with_event_type(event_type)
            .with_guard(event.guard.map(Fingerprint::from_bytes));
        Ok(envelope.with_headers(match event.flaw {
            None => headers.clone(),
            Some(flaw) => self::headers(context, &kept, Some(flaw)),
        }))
    });
    envelopes.collect()
}

/// The headers that are stored with an event, with the context of its trace. What does not fit is left out.
fn headers(context: Option<&str>, kept: &[(&str, &[u8])], flaw: Option<Flaw>) -> Headers {
    let mut headers = Headers::new();
    let flaw = flaw.map(|flaw| flaw.to_string());
    let flaw = flaw.as_ref().map(|flaw| (FLAW_HEADER, flaw.as_bytes()));
    // The sender cannot say that something is wrong with its own delivery.
    let kept = kept
        .iter()
        .copied()
        .filter(|(name, _)| *name != FLAW_HEADER);
    let context = context.map(|context| (TraceParent::STORED_HEADER, context.as_bytes()));
    for (name, value) in context.into_iter().chain(flaw).chain(kept) {
        if headers.append(name, value).is_err() {
            tracing::debug!(name, "a header does not fit");
        }
    }
    headers
}

/// The answer as HTTP, which caches must not store, and whose type browsers must not guess.
fn into_answer(answer: webhook_sources::Answer) -> Result<Answer, Problem> {
    let mut response = Response::new(UiBody::full(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        let value = HeaderValue::try_from(value).map_err(Problem::internal)?;
        let name = HeaderName::try_from(name).map_err(Problem::internal)?;
        headers.append(name, value);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
