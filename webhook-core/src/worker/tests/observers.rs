//! Spans and observers of attempts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::subscriber::set_default;
use tracing::{Metadata, Subscriber, span};

use super::super::*;
use super::scripted::{LAST_ATTEMPT, SECOND, Scripted, brings, event};
use crate::handler::{Event, HandlerError};
use crate::observer::{AttemptEnd, Observed};
use crate::scheduler::{Claimed, FailureReason};
use crate::test_payload::Word;

/// Records the calls of an observer.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, event: &Observed<'_>, what: impl fmt::Display) {
        let attempt = event.attempt.map(|(_, attempt)| attempt.number());
        let line = format!("{} {} {attempt:?} {what}", event.kind, event.key);
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for Notes {
    fn attempt_started(&self, event: &Observed<'_>) {
        self.note(event, "started");
    }

    fn attempt_ended(&self, event: &Observed<'_>, end: AttemptEnd<'_>, took: Duration) {
        match end {
            AttemptEnd::Processed => self.note(event, format_args!("processed in {took:?}")),
            AttemptEnd::Retry { reason, .. } => self.note(event, format_args!("retry: {reason}")),
            AttemptEnd::Failed { reason } => self.note(event, format_args!("failed: {reason}")),
            AttemptEnd::Postponed { after } => self.note(event, format_args!("later: {after:?}")),
            AttemptEnd::Released => self.note(event, "released"),
        }
    }

    fn event_failed(&self, event: &Observed<'_>, reason: &FailureReason) {
        self.note(event, format_args!("for good: {reason:?}"));
    }
}

/// Panics in every method.
struct Broken;

impl Observer for Broken {
    fn attempt_started(&self, _: &Observed<'_>) {
        panic!("the observer is broken");
    }

    fn attempt_ended(&self, _: &Observed<'_>, _: AttemptEnd<'_>, _: Duration) {
        panic!("the observer is broken");
    }

    fn event_failed(&self, _: &Observed<'_>, _: &FailureReason) {
        panic!("the observer is broken");
    }
}

async fn by_id(event: Event<Word>) -> Result<(), HandlerError> {
    match event.id().get() {
        1 => {
            sleep(SECOND).await;
            Ok(())
        }
        2 => Err(HandlerError::retry("no luck")),
        3 => Err(HandlerError::reject("never")),
        4 => Err(HandlerError::postpone(SECOND, "busy")),
        5 => panic!("oh no"),
        _ => std::future::pending().await,
    }
}

#[tokio::test(start_paused = true)]
async fn observers_learn_how_attempts_end() {
    let exhausted = Claimed {
        exhausted: vec![event(9, 1).key],
        ..Claimed::default()
    };
    let script = (1..=6)
        .map(|id| event(id, 1))
        .chain([event(7, LAST_ATTEMPT)]);
    let script = Claimed {
        exhausted: exhausted.exhausted,
        ..brings(script).unwrap()
    };
    let scheduler = Scripted::new([Ok(script)]);
    let notes = Notes::default();
    let worker = Worker::builder()
        .observer(Broken)
        .observer(notes.clone())
        .handle(WorkerOptions::default(), by_id)
        .start(Arc::clone(&scheduler) as Arc<dyn Scheduler>);
    scheduler.settled(5).await;
    assert_eq!(worker.shutdown(SECOND).await.released, 2);
    let mut notes = notes.0.lock().unwrap().clone();
    notes.retain(|note| !note.ends_with("started"));
    notes.sort();
    assert_eq!(
        notes,
        [
            "word key-1 Some(1) processed in 1s".to_owned(),
            "word key-2 Some(1) retry: no luck".to_owned(),
            "word key-3 Some(1) failed: never".to_owned(),
            "word key-3 Some(1) for good: Error(Reason(\"never\"))".to_owned(),
            "word key-4 Some(1) later: 1s".to_owned(),
            "word key-5 Some(1) retry: handler panicked: oh no".to_owned(),
            "word key-6 Some(1) released".to_owned(),
            "word key-7 Some(25) released".to_owned(),
            "word key-9 None for good: Exhausted".to_owned(),
        ]
    );
}

/// Records the fields of each new span, and the span of each event.
#[derive(Clone, Default)]
struct Spans(Arc<SpansInner>);

#[derive(Default)]
struct SpansInner {
    last: AtomicU64,
    spans: Mutex<Vec<String>>,
    entered: Mutex<Vec<u64>>,
    lines: Mutex<Vec<(Option<u64>, String)>>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields(format!("{}: ", attributes.metadata().name()));
        attributes.record(&mut fields);
        self.0.spans.lock().unwrap().push(fields.0);
        span::Id::from_u64(self.0.last.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let within = self.0.entered.lock().unwrap().last().copied();
        self.0.lines.lock().unwrap().push((within, fields.0));
    }

    fn enter(&self, span: &span::Id) {
        self.0.entered.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, _: &span::Id) {
        self.0.entered.lock().unwrap().pop();
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn handlers_log_in_a_span_that_names_their_event() {
    let spans = Spans::default();
    let _log = set_default(spans.clone());
    let scheduler = Scripted::new([brings([event(1, 1), event(2, 3)])]);
    let worker = super::scripted::start(&scheduler, async |event: Event<Word>| {
        // One after the other, each at two polls.
        sleep(SECOND * u32::try_from(event.id().get()).unwrap()).await;
        tracing::info!("shipping {}", event.key);
        Ok(())
    });
    scheduler.settled(2).await;
    worker.shutdown(SECOND).await;
    let created = spans.0.spans.lock().unwrap().clone();
    let expected = [
        "attempt: kind=word key=key-1 attempt=1 ",
        "attempt: kind=word key=key-2 attempt=3 ",
    ];
    assert_eq!(created, expected);
    let lines = spans.0.lines.lock().unwrap().clone();
    for (span, key) in [(1, "key-1"), (2, "key-2")] {
        let line = format!("message=shipping {key} ");
        assert!(lines.contains(&(Some(span), line)), "{lines:?}");
    }
    assert!(spans.0.entered.lock().unwrap().is_empty());
}
