//! What the answers of receivers mean for events.

use std::time::SystemTime;

use webhook_core::{Admin, Event, FailureReason, Handled, Handler, HandlerError, State};
use webhook_forward::{DestinationState, ErrorClass};

use super::receiver::{Answer, Receiver, answer, answer_with};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Forwards one event to a receiver that answers with `answer`, and fails with the statuses `fail_on`.
async fn attempt(
    answer: impl Fn() -> Answer + Send + Sync + 'static,
    fail_on: &str,
) -> (Result<Handled, HandlerError>, Forwarder) {
    let receiver = Receiver::new(move |_, _| answer()).await;
    let destination = destination(&receiver)
        .with_schedule(Schedule::list([10 * SECOND]).unwrap())
        .with_fail_on(fail_on.parse().unwrap());
    let forwarder = Forwarder::new(destination).unwrap();
    let handled = forwarder
        .handle(Event::raw(KIND, "{}").with_key(key("evt_1")))
        .await;
    assert_eq!(forwarder.status().in_flight, 0);
    (handled, forwarder)
}

fn details(error: &HandlerError) -> serde_json::Value {
    serde_json::from_slice(error.details().unwrap()).unwrap()
}

#[tokio::test]
async fn a_success_is_decided_by_the_status() {
    for status in [200, 201, 204, 299] {
        let (handled, forwarder) = attempt(move || answer(status), "300-599").await;
        assert_eq!(handled, Ok(Handled::Done), "{status}");
        let status = forwarder.status();
        assert_eq!((status.delivered, status.failed), (1, 0));
    }
}

#[tokio::test]
async fn other_statuses_are_tried_again() {
    for (status, class, least) in [
        (302, "redirect", 8),
        (400, "status_4xx", 8),
        (404, "status_4xx", 8),
        (408, "status_4xx", 8),
        (425, "status_4xx", 8),
        (429, "throttled", 8),
        (500, "status_5xx", 8),
        (502, "status_5xx", 60),
        (503, "status_5xx", 8),
        (504, "status_5xx", 60),
    ] {
        let (handled, forwarder) = attempt(move || answer(status), "422").await;
        let error = handled.unwrap_err();
        assert!(
            !error.is_rejection() && !error.is_postponement(),
            "{status}"
        );
        let delay = error.delay().unwrap();
        assert!(delay >= least * SECOND, "{status}: {delay:?}");
        assert!(delay <= 60 * SECOND, "{status}: {delay:?}");
        assert!(
            error.reason().starts_with(&format!("answered {status} ")),
            "{error:?}"
        );
        let details = details(&error);
        assert_eq!(
            (&details["status"], &details["error_class"]),
            (&status.into(), &class.into())
        );
        let status = forwarder.status();
        assert_eq!((status.failed, status.consecutive_failures), (1, 1));
        assert_eq!(status.state, DestinationState::Closed);
    }
}

#[tokio::test]
async fn listed_statuses_fail_the_event() {
    let (handled, forwarder) = attempt(|| answer(422), "400, 420-429").await;
    let error = handled.unwrap_err();
    assert!(error.is_rejection());
    assert_eq!(error.reason(), "answered 422 Unprocessable Entity");
    assert_eq!(details(&error)["status"], 422);
    assert_eq!(forwarder.status().failed, 1);
    // Not even a request for fewer requests throttles then.
    let (handled, forwarder) = attempt(|| answer_with(429, "retry-after", "9"), "429").await;
    assert!(handled.unwrap_err().is_rejection());
    assert_eq!(forwarder.status().state, DestinationState::Closed);
}

#[tokio::test]
async fn retry_after_is_obeyed_and_throttles() {
    let date = |seconds: u64| {
        let then = SystemTime::now() + Duration::from_secs(seconds);
        httpdate::fmt_http_date(then)
    };
    for (status, text, least, most, is_throttled) in [
        (429, "100".to_owned(), 100, 100, true),
        (503, "100".to_owned(), 100, 100, true),
        // Dates count from that of the answer, in whole seconds.
        (429, date(100), 98, 102, true),
        (
            429,
            "999999999999999999999".to_owned(),
            86_400,
            86_400,
            true,
        ),
        (429, date(1_000_000), 86_400, 86_400, true),
        // The delay of the schedule is longer.
        (503, "1".to_owned(), 8, 12, true),
        (503, "0".to_owned(), 8, 12, false),
        (
            503,
            "Sun, 06 Nov 1994 08:49:37 GMT".to_owned(),
            8,
            12,
            false,
        ),
        (503, "later".to_owned(), 8, 12, false),
        (500, "100".to_owned(), 8, 12, false),
    ] {
        let value = text.clone();
        let (handled, forwarder) =
            attempt(move || answer_with(status, "retry-after", &value), "422").await;
        let error = handled.unwrap_err();
        let delay = error.delay().unwrap().as_secs_f64();
        assert!(
            (f64::from(least)..=f64::from(most)).contains(&delay),
            "{status} {text}: {delay}"
        );
        assert!(!error.is_postponement());
        let event = Event::raw(KIND, "{}").with_key(key("evt_2"));
        if is_throttled {
            assert!(matches!(
                forwarder.status().state,
                DestinationState::Throttled { .. }
            ));
            // An event that was claimed already waits, and spends no attempt.
            let held = forwarder.handle(event).await.unwrap_err();
            assert!(held.is_postponement(), "{held:?}");
            assert_eq!(forwarder.status().postponed, 1);
        } else {
            assert_eq!(
                forwarder.status().state,
                DestinationState::Closed,
                "{status} {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_names_the_place() {
    let elsewhere = Receiver::of(200).await;
    let place = elsewhere.url();
    let (handled, _) = attempt(move || answer_with(308, "location", &place), "422").await;
    let error = handled.unwrap_err();
    let shown = elsewhere.url().replace("?key=swordfish", "");
    let reason = format!("answered 308 Permanent Redirect: the URL has moved to {shown}");
    assert_eq!(error.reason(), reason);
    assert_eq!(elsewhere.got().len(), 0);
}

#[tokio::test]
async fn a_time_out_and_a_refused_connection_are_tried_again() {
    let hanging = Receiver::hanging().await;
    // Long enough that a busy machine connects within it.
    let destination = destination(&hanging).with_timeout(SECOND);
    let forwarder = Forwarder::new(destination).unwrap();
    let error = forwarder.handle(Event::raw(KIND, "{}")).await.unwrap_err();
    assert!(error.delay().unwrap() >= 60 * SECOND);
    assert_eq!(details(&error)["error_class"], "timeout_response");

    let url = hanging.url();
    drop(hanging);
    let nobody = Forwarder::new(Destination::new(url.parse().unwrap())).unwrap();
    for failures in 1..=5 {
        assert_eq!(nobody.status().state, DestinationState::Closed);
        let error = nobody.handle(Event::raw(KIND, "{}")).await.unwrap_err();
        assert_eq!(details(&error)["error_class"], "connect");
        assert!(!error.reason().contains("swordfish"), "{error:?}");
        assert_eq!(nobody.status().consecutive_failures, failures);
    }
    assert!(matches!(
        nobody.status().state,
        DestinationState::Open { .. }
    ));
    assert_eq!(
        nobody.status().last_answers[0].error_class,
        Some(ErrorClass::Connect)
    );
}

#[tokio::test]
async fn an_event_fails_when_it_would_be_too_old() {
    let receiver = Receiver::of(500).await;
    let destination = destination(&receiver)
        .with_schedule(Schedule::list([10 * SECOND]).unwrap())
        .with_give_up_after(Duration::from_secs(3_600));
    let forwarder = Forwarder::new(destination).unwrap();
    let event = |age: u64| Event::raw(KIND, "{}").with_age(Duration::from_secs(age));
    let error = forwarder.handle(event(3_580)).await.unwrap_err();
    assert!(!error.is_rejection());
    let error = forwarder.handle(event(3_595)).await.unwrap_err();
    assert!(error.is_rejection());
    assert_eq!(
        error.reason(),
        "gave up after 1h: answered 500 Internal Server Error"
    );
}

#[tokio::test]
async fn the_age_of_an_event_is_that_of_the_store() {
    let receiver = Receiver::of(500).await;
    // The delays vary by a fifth: the second attempt begins after 2,160 s at most, and another one after
    // 1,440 s at least.
    let inbox = Inbox::new(
        destination(&receiver)
            .with_schedule(Schedule::list([1_800 * SECOND; 3]).unwrap())
            .with_give_up_after(3_600 * SECOND),
    );
    inbox.accept(&["evt_1"]).await;
    wait_until("failed attempt", async || {
        let record = inbox.find("evt_1").await;
        (record.reason.is_some()).then_some(())
    })
    .await;
    assert_eq!(inbox.find("evt_1").await.state, State::Processing);
    pass(2_200 * SECOND).await;
    inbox.until("failure", |counts| counts.failed == 1).await;
    let record = inbox.find("evt_1").await;
    assert_eq!((record.attempts, receiver.got().len()), (2, 2));
    let reason = "gave up after 1h: answered 500 Internal Server Error";
    assert_eq!(record.reason.unwrap().as_str(), reason);

    // A requeue is for one more attempt: the event is as old as before.
    inbox.store.requeue(&[inbox.named("evt_1")]).await.unwrap();
    inbox.until("failure", |counts| counts.failed == 1).await;
    let record = inbox.find("evt_1").await;
    assert_eq!((record.attempts, receiver.got().len()), (1, 3));
    assert_eq!(record.reason.unwrap().as_str(), reason);
}

#[tokio::test]
async fn an_event_fails_after_its_last_attempt_with_its_details() {
    let receiver = Receiver::new(|number, _| {
        let mut answer = answer(500);
        *answer.body_mut() = format!("failure {number}").into();
        answer
    })
    .await;
    let inbox = Inbox::new(destination(&receiver).with_schedule(quick(3)));
    inbox.accept(&["evt_1"]).await;
    inbox.until("failure", |counts| counts.failed == 1).await;
    let record = inbox.find("evt_1").await;
    assert_eq!((record.state, record.attempts), (State::Failed, 3));
    let reason = record.reason.unwrap();
    assert_eq!(reason.as_str(), "answered 500 Internal Server Error");
    assert_eq!(receiver.got().len(), 3);
    let failed = inbox
        .store
        .failed_attempts(&inbox.named("evt_1"))
        .await
        .unwrap();
    let bodies = failed.iter().filter_map(|attempt| {
        let FailureReason::Error(reason) = &attempt.reason else {
            return None;
        };
        let details: serde_json::Value = serde_json::from_slice(reason.details()?).unwrap();
        Some(details["body"].as_str().unwrap().to_owned())
    });
    let bodies: Vec<_> = bodies.collect();
    assert_eq!(bodies, ["failure 2", "failure 1", "failure 0"]);
}
