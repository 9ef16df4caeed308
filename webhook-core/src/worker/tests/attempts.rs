//! The outcomes of single attempts.

use std::future::pending;

use bytes::Bytes;

use super::super::*;
use super::scripted::{LAST_ATTEMPT, SECOND, Scripted, brings, event, start};
use crate::handler::{Event, Handled, HandlerError};
use crate::scheduler::{ClaimedEvent, Outcome, Reason};
use crate::test_payload::Word;

/// Returns how the worker settles a single event with `handler`.
async fn outcome_of(attempt: u32, handler: impl Handler<Word>) -> Outcome {
    let scheduler = Scripted::new([brings([event(1, attempt)])]);
    let worker = start(&scheduler, handler);
    let (_, outcome) = scheduler.settled(1).await.remove(0);
    let asked_at = Instant::now();
    assert_eq!(worker.shutdown(60 * SECOND).await, Drained::default());
    assert!(
        asked_at.elapsed() < SECOND,
        "an idle worker has nothing to wait for"
    );
    outcome
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: Reason::new(reason),
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_see_the_event_and_settle_it_as_processed() {
    let outcome = outcome_of(3, async |event: Event<Word>| {
        assert_eq!(event.payload.0, "word-1");
        assert_eq!(event.key.as_str(), "key-1");
        assert_eq!(event.event_type.as_ref().unwrap().as_str(), "type-1");
        assert_eq!(event.age, SECOND);
        assert_eq!(event.attempt().number(), 3);
        assert_eq!(event.max_attempts.get(), LAST_ATTEMPT);
        assert!(!event.is_last_attempt());
        assert_eq!(event.kind.as_str(), Word::KIND);
        assert_eq!(event.body, "word-1");
        Ok(())
    });
    assert_eq!(outcome.await, Outcome::Processed);
}

/// Senders do not redeliver acknowledged events, so an outage of days must not fail them.
#[test]
fn the_default_attempts_last_for_about_three_days() {
    let options = WorkerOptions::default();
    let span = options.backoff.span(options.max_attempts.get());
    let hours = |duration: &Duration| duration.as_secs() / 3600;
    assert_eq!((hours(span.start()), hours(span.end())), (44, 89));
}

#[tokio::test(start_paused = true)]
async fn errors_are_retried_with_jitter_under_the_ceiling() {
    let outcome = outcome_of(3, async |_: Event<Word>| {
        Err::<(), _>(std::io::Error::other("no luck").into())
    });
    match outcome.await {
        Outcome::Retry { after, reason } => {
            let ceiling = WorkerOptions::default().backoff.ceiling(3);
            assert!((ceiling / 2..=ceiling).contains(&after), "{after:?}");
            assert_eq!(reason.as_str(), "no luck");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_may_choose_the_delay() {
    let outcome = outcome_of(1, async |_: Event<Word>| {
        Err::<(), _>(HandlerError::retry_after(7 * SECOND, "busy"))
    });
    let expected = Outcome::Retry {
        after: 7 * SECOND,
        reason: Reason::new("busy"),
    };
    assert_eq!(outcome.await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_postponed_attempt_is_not_counted_even_if_it_is_the_last() {
    let outcome = outcome_of(LAST_ATTEMPT, async |_: Event<Word>| {
        Err::<(), _>(HandlerError::postpone(7 * SECOND, "throttled"))
    });
    let expected = Outcome::Postpone { after: 7 * SECOND };
    assert_eq!(outcome.await, expected);
}

#[tokio::test(start_paused = true)]
async fn handlers_may_reject_for_good() {
    let outcome = outcome_of(1, async |_: Event<Word>| {
        Err::<(), _>(HandlerError::reject("never"))
    });
    assert_eq!(outcome.await, failed("never"));
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_fails_the_event() {
    for remedy in [
        HandlerError::retry("still no luck"),
        HandlerError::retry_after(SECOND, "still no luck"),
    ] {
        let outcome = outcome_of(LAST_ATTEMPT, move |_: Event<Word>| {
            let remedy = remedy.clone();
            async move { Err::<(), _>(remedy) }
        });
        assert_eq!(outcome.await, failed("still no luck"));
    }
}

#[tokio::test(start_paused = true)]
async fn panics_are_retried_like_errors() {
    let outcome = outcome_of(LAST_ATTEMPT, async |event: Event<Word>| {
        assert!(event.lag > SECOND, "lag {:?}", event.lag);
        Ok(())
    });
    assert_eq!(outcome.await, failed("handler panicked: lag 0ns"));
}

#[tokio::test(start_paused = true)]
async fn handlers_have_a_time_out() {
    let outcome = outcome_of(LAST_ATTEMPT, async |_: Event<Word>| {
        pending::<()>().await;
        Ok(())
    });
    assert_eq!(outcome.await, failed("handler took longer than 600s"));
}

#[tokio::test(start_paused = true)]
async fn undecodable_payloads_are_retried_until_the_attempts_are_spent() {
    let broken = |id, attempt| ClaimedEvent {
        body: Bytes::from_static(b"\xff"),
        ..event(id, attempt)
    };
    let scheduler = Scripted::new([brings([broken(1, 1), broken(2, LAST_ATTEMPT)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    let mut settled = scheduler.settled(2).await;
    settled.sort_by_key(|(id, _)| *id);
    let expected = "stored payload is unreadable: invalid payload: /word must be text";
    match &settled[0] {
        (1, Outcome::Retry { reason, .. }) => assert_eq!(reason.as_str(), expected),
        other => panic!("{other:?}"),
    }
    assert_eq!(settled[1], (2, failed(expected)));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn events_settled_by_handlers_are_not_settled_again() {
    let scheduler = Scripted::new([brings([event(1, 1), event(2, 1)])]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        Ok(match event.lease.event.get() {
            1 => Handled::Settled,
            _ => Handled::Done,
        })
    });
    scheduler.settled(1).await;
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
    assert_eq!(scheduler.settled(1).await, [(2, Outcome::Processed)]);
}
