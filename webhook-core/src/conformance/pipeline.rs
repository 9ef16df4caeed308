//! From delivery to settlement: an [`Inbox`] and [`Worker`]s on the backend.

use std::collections::BTreeMap;
use std::future::pending;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};

use super::Backend;
use super::steps::{LONG, SHORT, attempts};
use crate::{
    Accepted, Attempt, Backoff, Claim, Envelope, Event, EventRecord, EventRef, Fingerprint,
    HandlerError, Headers, Identity, Inbox, InboxOptions, InvalidPayload, Key, Payload, Pipeline,
    PipelineBuilder, RawEvent, Retention, State, Worker, WorkerOptions, payload,
};

/// Longer than any case needs. The deadline of the case ends a case that hangs.
const DRAIN: Duration = Duration::from_secs(60);

/// A payload whose body is `key=content`.
struct Note {
    key: String,
    content: String,
}

impl Note {
    fn read(body: &[u8]) -> Result<Self, InvalidPayload> {
        let malformed = |detail: &str| InvalidPayload::Malformed {
            detail: detail.to_owned(),
        };
        let text = str::from_utf8(body).map_err(|_| malformed("must be UTF-8"))?;
        let (key, content) = text.split_once('=').ok_or_else(|| malformed("needs a ="))?;
        Ok(Self {
            key: key.to_owned(),
            content: content.to_owned(),
        })
    }
}

impl Payload for Note {
    const KIND: &'static str = "conformance.note";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        let note = Self::read(body)?;
        Identity::new(note.key, Fingerprint::of([&note.content]))
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(Self::read(body)?)
    }
}

/// The contents that handlers got, by key.
#[derive(Clone, Default)]
struct Seen {
    attempts: Arc<Mutex<BTreeMap<String, Vec<Attempt>>>>,
    more: Arc<Notify>,
}

impl Seen {
    fn note(&self, event: &Event<Note>) {
        let key = event.payload.key.clone();
        let mut seen = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(key).or_default().push(event.lease.attempt);
        self.more.notify_waiters();
    }

    fn of(&self, key: &str) -> Vec<u32> {
        let seen = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = seen.get(key).map(Vec::as_slice).unwrap_or_default();
        attempts.iter().map(|attempt| attempt.number()).collect()
    }

    async fn wait_for(&self, key: &str) {
        loop {
            let more = self.more.notified();
            if !self.of(key).is_empty() {
                return;
            }
            more.await;
        }
    }
}

fn inbox(backend: &Backend, delay: Duration) -> Inbox {
    let options = InboxOptions {
        delay,
        accept_timeout: Duration::from_secs(60),
        ..InboxOptions::default()
    };
    Inbox::new(Arc::clone(&backend.store), options)
}

/// Options with short waits.
fn options(max_attempts: NonZeroU32) -> WorkerOptions {
    WorkerOptions {
        max_attempts,
        lease: LONG,
        backoff: Backoff {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(50),
        },
        poll_interval: Duration::from_millis(200),
        ..WorkerOptions::default()
    }
}

/// Starts a worker that records its events and succeeds.
fn content(backend: &Backend, seen: &Seen) -> Worker {
    let seen = seen.clone();
    let handler = move |event: Event<Note>| {
        seen.note(&event);
        async { Ok::<_, HandlerError>(()) }
    };
    Worker::start(
        Arc::clone(&backend.scheduler),
        options(attempts(3)),
        handler,
    )
}

async fn deliver(inbox: &Inbox, body: &str) -> Accepted {
    let receipt = inbox.receive::<Note>(body.to_owned().into()).await;
    receipt.expect("the delivery is accepted").accepted
}

/// Waits until the event of `key` is settled.
async fn settled(backend: &Backend, inbox: &Inbox, key: &str) -> EventRecord {
    loop {
        let name = Key::new(key).expect("cases name valid keys");
        let record = inbox.find::<Note>(&name).await.expect("find");
        let record = record.unwrap_or_else(|| panic!("there is no event {key:?}"));
        if record.state != State::Processing {
            return record;
        }
        backend.pass(Duration::from_millis(10)).await;
    }
}

/// Claims one event with a short lease, like a worker that then crashes.
async fn claim_and_die(backend: &Backend, max_attempts: NonZeroU32) {
    let claim = Claim {
        kind: payload::kind_of::<Note>(),
        lease: SHORT,
        max_attempts,
        ..super::steps::up_to(1)
    };
    backend.claim_one(&claim).await;
}

/// An event is processed, once, after its delay and not before.
pub async fn a_delivery_is_processed_once_and_never_early(backend: Backend) {
    let inbox = inbox(&backend, SHORT);
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    assert_eq!(deliver(&inbox, "a=1").await, Accepted::New);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((record.state, record.attempts), (State::Processed, 1));
    assert_eq!(seen.of("a"), [1]);
    let settled_at = record.settled_at.expect("it is settled");
    let waited = settled_at.duration_since(record.accepted_at);
    assert!(waited.is_ok_and(|waited| waited >= SHORT), "{record:?}");
}

/// If many senders deliver one event at the same time, it is processed once.
pub async fn concurrent_redeliveries_are_processed_once(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    for round in 0..5 {
        let body = format!("key-{round}=same");
        let accepted = join_all((0..32).map(|_| deliver(&inbox, &body))).await;
        let new = accepted.iter().filter(|it| **it == Accepted::New).count();
        let duplicate = accepted.iter().filter(|it| **it == Accepted::Duplicate);
        assert_eq!((new, duplicate.count()), (1, 31));
        let key = format!("key-{round}");
        let record = settled(&backend, &inbox, &key).await;
        assert_eq!(record.state, State::Processed);
        assert_eq!(deliver(&inbox, &body).await, Accepted::Duplicate);
        assert_eq!(seen.of(&key), [1]);
    }
    worker.shutdown(DRAIN).await;
}

/// The first content is processed; the delivery with other content is a conflict.
pub async fn a_conflicting_delivery_changes_nothing(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    assert_eq!(deliver(&inbox, "a=first").await, Accepted::New);
    assert_eq!(deliver(&inbox, "a=second").await, Accepted::Conflict);
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!(record.envelope.body, "a=first");
    assert_eq!(record.conflict_count, 1);
    assert_eq!(seen.of("a"), [1]);
}

/// Failed attempts are retried until the handler succeeds.
pub async fn a_failing_event_is_retried_until_it_succeeds(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    deliver(&inbox, "a=1").await;
    let handler = async |event: Event<Note>| match event.lease.attempt.number() {
        1 => Err(HandlerError::retry("first")),
        2 => Err(HandlerError::retry_after(SHORT, "second")),
        _ => Ok(()),
    };
    let scheduler = Arc::clone(&backend.scheduler);
    let worker = Worker::start::<Note>(scheduler, options(attempts(3)), handler);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((record.state, record.attempts), (State::Processed, 3));
}

/// An event whose handler always panics fails, and does not stop other events.
pub async fn a_poison_event_fails_and_others_are_processed(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    deliver(&inbox, "poison=1").await;
    deliver(&inbox, "sound=1").await;
    let handler = async |event: Event<Note>| {
        assert_eq!(event.payload.key, "sound", "poisoned on purpose");
        Ok(())
    };
    let scheduler = Arc::clone(&backend.scheduler);
    let worker = Worker::start::<Note>(scheduler, options(attempts(3)), handler);
    let sound = settled(&backend, &inbox, "sound").await;
    assert_eq!(sound.state, State::Processed);
    let poison = settled(&backend, &inbox, "poison").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((poison.state, poison.attempts), (State::Failed, 3));
    let reason = poison.reason.expect("a failed event has a reason");
    assert!(reason.as_str().contains("poisoned on purpose"), "{reason}");
}

/// Several workers share the events, and process each of them once.
pub async fn workers_share_events_without_repeating_any(backend: Backend) {
    const EVENTS: usize = 500;
    let inbox = inbox(&backend, Duration::ZERO);
    let bodies: Vec<_> = (0..EVENTS).map(|n| format!("key-{n}=1")).collect();
    join_all(bodies.iter().map(|body| deliver(&inbox, body))).await;
    let seen = Seen::default();
    let workers: Vec<_> = (0..3).map(|_| content(&backend, &seen)).collect();
    for n in 0..EVENTS {
        let key = format!("key-{n}");
        let record = settled(&backend, &inbox, &key).await;
        assert_eq!((record.state, record.attempts), (State::Processed, 1));
        assert_eq!(seen.of(&key), [1]);
    }
    join_all(workers.into_iter().map(|worker| worker.shutdown(DRAIN))).await;
}

/// The event of a crashed worker is taken over when its lease expires.
pub async fn a_dead_workers_event_is_taken_over(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    deliver(&inbox, "a=1").await;
    claim_and_die(&backend, attempts(3)).await;
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((record.state, record.attempts), (State::Processed, 2));
    assert_eq!(seen.of("a"), [2]);
}

/// An event that kills every worker that claims it fails when its attempts are spent, and its
/// handler does not run again.
pub async fn an_event_that_kills_its_workers_fails(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    deliver(&inbox, "a=1").await;
    for _ in 0..3 {
        claim_and_die(&backend, attempts(3)).await;
    }
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((record.state, record.attempts), (State::Failed, 3));
    assert_eq!(record.reason, Some(crate::FailureReason::Exhausted));
    assert!(seen.of("a").is_empty());
}

/// Events that a worker releases during its shutdown are processed by another worker at once, without
/// a spent attempt.
pub async fn events_released_by_a_drain_keep_their_attempts(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    deliver(&inbox, "a=1").await;
    let begun = Seen::default();
    let stuck = {
        let begun = begun.clone();
        move |event: Event<Note>| {
            begun.note(&event);
            pending::<Result<(), HandlerError>>()
        }
    };
    let scheduler = Arc::clone(&backend.scheduler);
    let worker = Worker::start(scheduler, options(attempts(1)), stuck);
    begun.wait_for("a").await;
    let drained = worker.shutdown(Duration::ZERO).await;
    assert_eq!((drained.released, drained.unsettled), (1, 0));
    // With a single attempt and a lease of an hour, only a release lets another worker have it.
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((record.state, record.attempts), (State::Processed, 1));
    assert_eq!(seen.of("a"), [1]);
}

/// The same kind, of a version of the app that reads every body.
struct Lenient;

impl Payload for Lenient {
    const KIND: &'static str = Note::KIND;

    fn identify(body: &[u8], headers: &Headers) -> Result<Identity, InvalidPayload> {
        Note::identify(body, headers)
    }

    fn decode(_: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(Self)
    }
}

async fn accept_unreadable(inbox: &Inbox, key: &str) {
    let envelope = Envelope::new(
        payload::kind_of::<Note>(),
        Key::new(key).expect("a valid key"),
        Fingerprint::of([key]),
        "no equals sign".into(),
    );
    assert_eq!(inbox.accept(envelope).await.ok(), Some(Accepted::New));
}

/// A body that does not decode is retried, and the event fails with the reason in the end.
pub async fn an_unreadable_payload_spends_its_attempts(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    accept_unreadable(&inbox, "a").await;
    let seen = Seen::default();
    let worker = content(&backend, &seen);
    let record = settled(&backend, &inbox, "a").await;
    worker.shutdown(DRAIN).await;
    assert_eq!((record.state, record.attempts), (State::Failed, 3));
    assert!(
        record
            .reason
            .is_some_and(|it| it.as_str().contains("needs a ="))
    );
    assert!(seen.of("a").is_empty());
}

/// A body that one version of an app cannot read is processed later by another one, as in a rolling
/// deploy.
pub async fn an_unreadable_payload_is_left_to_another_version(backend: Backend) {
    let inbox = inbox(&backend, Duration::ZERO);
    accept_unreadable(&inbox, "a").await;
    let options = WorkerOptions {
        backoff: Backoff {
            base: Duration::from_millis(400),
            cap: Duration::from_millis(400),
        },
        ..options(attempts(1_000))
    };
    let scheduler = Arc::clone(&backend.scheduler);
    let strict = async |_: Event<Note>| Ok(());
    let strict = Worker::start(scheduler, options.clone(), strict);
    let name = Key::new("a").expect("a valid key");
    loop {
        let record = inbox.find::<Note>(&name).await.expect("find");
        // The first attempt has failed when the second one begins. The shutdown may release the
        // second one, which then does not count.
        if record.is_some_and(|it| it.attempts > 1) {
            break;
        }
        backend.pass(Duration::from_millis(10)).await;
    }
    strict.shutdown(DRAIN).await;
    let scheduler = Arc::clone(&backend.scheduler);
    let lenient = async |_: Event<Lenient>| Ok(());
    let lenient = Worker::start(scheduler, options, lenient);
    let record = settled(&backend, &inbox, "a").await;
    lenient.shutdown(DRAIN).await;
    assert_eq!(record.state, State::Processed);
    assert!(record.attempts >= 2);
}

fn pipeline(backend: &Backend) -> PipelineBuilder {
    let store = Arc::clone(&backend.store);
    Pipeline::builder_of(store, Arc::clone(&backend.scheduler)).inbox(InboxOptions {
        accept_timeout: Duration::from_secs(60),
        ..InboxOptions::default()
    })
}

/// A handler of raw events has the body and the headers byte for byte, and knows which event it is.
pub async fn a_raw_handler_gets_the_delivered_body(backend: Backend) {
    let (tell, mut told) = mpsc::channel(1);
    let handler = move |event: RawEvent| {
        let tell = tell.clone();
        async move { Ok::<_, HandlerError>(tell.send(event).await?) }
    };
    let kind = payload::kind_of::<Note>();
    let options = options(attempts(3));
    let pipeline = pipeline(&backend).handle_raw(kind.clone(), options, handler);
    let pipeline = pipeline.start();
    let body: &[u8] = b"a=\xff\0";
    let headers = Headers::try_from_iter([("X-Type", b"\xff")]).expect("valid headers");
    let envelope = Envelope::new(
        kind.clone(),
        Key::new("a").expect("a valid key"),
        Fingerprint::of([body]),
        body.into(),
    );
    let envelope = envelope.with_headers(headers.clone());
    let accepted = pipeline.inbox().accept(envelope).await;
    assert_eq!(accepted.expect("accept"), Accepted::New);
    let event = told.recv().await.expect("the handler runs");
    let record = settled(&backend, pipeline.inbox(), "a").await;
    pipeline.shutdown(DRAIN).await;
    assert_eq!((event.kind.clone(), event.key.as_str()), (kind, "a"));
    assert_eq!((&*event.body, &event.headers), (body, &headers));
    assert_eq!((event.id(), event.attempt().number()), (record.id, 1));
    assert_eq!(event.accepted_at, record.accepted_at);
    assert_eq!(record.state, State::Processed);
}

/// A handler accepts further events through the inbox of its pipeline.
pub async fn handlers_may_accept_follow_up_events(backend: Backend) {
    let seen = Seen::default();
    let note = seen.clone();
    let handler = move |event: Event<Note>| {
        note.note(&event);
        async move {
            if event.payload.content == "first" {
                let inbox = event.inbox().ok_or("no inbox")?;
                inbox.receive::<Note>("b=second".into()).await?;
            }
            Ok::<_, HandlerError>(())
        }
    };
    let pipeline = pipeline(&backend).handle_with(options(attempts(3)), handler);
    let pipeline = pipeline.start();
    deliver(pipeline.inbox(), "a=first").await;
    seen.wait_for("b").await;
    assert_eq!(settled(&backend, pipeline.inbox(), "b").await.attempts, 1);
    pipeline.shutdown(DRAIN).await;
}

/// A pipeline is idle once all events are settled, including retries and follow-up events.
pub async fn an_idle_pipeline_has_settled_all_events(backend: Backend) {
    let seen = Seen::default();
    let note = seen.clone();
    let handler = move |event: Event<Note>| {
        note.note(&event);
        async move {
            match event.payload.content.as_str() {
                "fails once" if event.attempt().number() == 1 => Err("no luck")?,
                "is followed" => {
                    let inbox = event.inbox().ok_or("no inbox")?;
                    inbox.receive::<Note>("d=follows".into()).await?;
                }
                _ => {}
            }
            Ok::<_, HandlerError>(())
        }
    };
    let pipeline = pipeline(&backend).handle_with(options(attempts(3)), handler);
    let pipeline = pipeline.start();
    pipeline.idle().await;
    for body in ["a=succeeds", "b=fails once", "c=is followed"] {
        deliver(pipeline.inbox(), body).await;
    }
    let late = Envelope::of::<Note>("e=late".into(), Headers::new()).expect("a note");
    let accepted = pipeline.inbox().accept_after(late, SHORT).await;
    accepted.expect("accept");
    pipeline.idle().await;
    let seen = ["a", "b", "c", "d", "e"].map(|key| seen.of(key));
    assert_eq!(seen, [vec![1], vec![1, 2], vec![1], vec![1], vec![1]]);
    pipeline.shutdown(DRAIN).await;
}

/// A shutdown waits for handlers, which may accept events until they end, and then for what is
/// queued.
pub async fn handlers_accept_events_until_they_end(backend: Backend) {
    let started = Arc::new(Notify::new());
    let (begun, go_on) = (Arc::clone(&started), Arc::new(Notify::new()));
    let released = Arc::clone(&go_on);
    let handler = move |event: Event<Note>| {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        async move {
            begun.notify_one();
            go_on.notified().await;
            let inbox = event.inbox().ok_or("no inbox")?;
            inbox.receive::<Note>("b=follows".into()).await?;
            Ok::<_, HandlerError>(())
        }
    };
    let pipeline = pipeline(&backend).handle_with(options(attempts(3)), handler);
    let pipeline = pipeline.start();
    let inbox = pipeline.inbox().clone();
    deliver(&inbox, "a=1").await;
    started.notified().await;
    let senders = async {
        // The last requests come while handlers run.
        deliver(&inbox, "c=last").await;
        released.notify_one();
    };
    let (drained, ()) = pipeline.shutdown_with(DRAIN, senders).await;
    assert_eq!(drained, crate::Drained::default());
    let refused = inbox.receive::<Note>("d=late".into()).await;
    assert!(matches!(refused, Err(crate::Error::Closed)));
    let states = ["a", "b", "c"].map(|key| EventRef {
        kind: payload::kind_of::<Note>(),
        key: Key::new(key).expect("a valid key"),
    });
    let states = backend.find(&states).await.into_iter().flatten();
    let states: Vec<_> = states.map(|record| record.state).collect();
    let expected = [State::Processed, State::Processing, State::Processing];
    assert_eq!(states, expected);
}

/// A pipeline deletes old events by itself, until it is shut down.
pub async fn a_pipeline_deletes_old_events(backend: Backend) {
    let kind = payload::kind_of::<Note>();
    let retention = Retention {
        interval: Duration::from_millis(10),
        ..Retention::new(kind, Duration::ZERO)
    };
    let handler = async |_: Event<Note>| Ok::<_, HandlerError>(());
    let pipeline = pipeline(&backend)
        .handle_with(options(attempts(3)), handler)
        .retain(Arc::clone(&backend.admin), retention)
        .start();
    deliver(pipeline.inbox(), "a=1").await;
    let key = Key::new("a").expect("a valid key");
    while pipeline
        .inbox()
        .find::<Note>(&key)
        .await
        .expect("find")
        .is_some()
    {
        backend.pass(Duration::from_millis(10)).await;
    }
    pipeline.shutdown(DRAIN).await;
}
