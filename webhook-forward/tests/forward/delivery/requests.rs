//! What receivers get.

use std::sync::Mutex;

use http::{HeaderName, HeaderValue, Method, Request};
use webhook_core::{Event, EventType, Headers, RawEvent, Requeued, State};
use webhook_forward::{Exchange, RequestSpan, RequestTracer, SigningKeys, Trigger};

use super::receiver::{Receiver, answer};
use super::*;

const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
];

#[tokio::test]
async fn an_event_is_delivered_signed() {
    let receiver = Receiver::of(204).await;
    let keys = SigningKeys::parse(SECRETS).unwrap();
    let bearer = (
        http::header::AUTHORIZATION,
        HeaderValue::from_static("Bearer swordfish"),
    );
    let inbox = Inbox::new(
        destination(&receiver)
            .with_keys(keys)
            .with_headers([bearer])
            .with_pass_headers([HeaderName::from_static("x-github-event")]),
    );
    let kept = Headers::try_from_iter([
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", "push"),
        ("Cookie", "a=b"),
        ("Authorization", "of the sender"),
    ]);
    let envelope = inbox
        .envelope("evt 1", r#"{"é": 1}"#)
        .with_event_type(EventType::new("push").unwrap())
        .with_headers(kept.unwrap());
    inbox.accept_envelope(envelope).await;
    let counts = inbox
        .until("delivery", |counts| counts.processed == 1)
        .await;
    assert_eq!(counts, Counts::default().with_processed(1));

    let [got] = &receiver.got()[..] else {
        panic!("{:?}", receiver.got())
    };
    assert_eq!(
        (&got.method, &*got.target),
        (&Method::POST, "/hooks?key=swordfish")
    );
    assert_eq!(got.body, r#"{"é": 1}"#);
    for (name, value) in [
        ("host", Some(receiver.url().split('/').nth(2).unwrap())),
        ("content-type", Some("application/json")),
        ("content-length", Some("9")),
        ("x-github-event", Some("push")),
        ("authorization", Some("Bearer swordfish")),
        ("inbox-source", Some("stripe")),
        ("inbox-key", Some("evt%201")),
        ("inbox-type", Some("push")),
        ("inbox-attempt", Some("1/13")),
        ("inbox-trigger", Some("schedule")),
        ("cookie", None),
        ("traceparent", None),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    for secret in SECRETS {
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        webhook.verify(&got.body, &got.headers).unwrap();
        webhook.verify(b"{}", &got.headers).unwrap_err();
    }
}

#[tokio::test]
async fn bodies_arrive_byte_for_byte() {
    let receiver = Receiver::of(200).await;
    let inbox = Inbox::new(destination(&receiver));
    let all: Vec<u8> = (0..=255).collect();
    let bodies = [all.repeat(4_096), b"\r\n\r\n0\r\n".to_vec(), Vec::new()];
    for (number, body) in bodies.iter().enumerate() {
        let envelope = inbox.envelope(&number.to_string(), body.clone());
        inbox.accept_envelope(envelope).await;
    }
    inbox
        .until("delivery", |counts| counts.processed == 3)
        .await;
    let mut got = receiver.got();
    got.sort_by_key(|got| got.header("inbox-key").map(str::to_owned));
    for (got, body) in got.iter().zip(bodies) {
        assert!(got.body == body);
        assert_eq!(got.header("content-length"), Some(&*body.len().to_string()));
    }
}

#[tokio::test]
async fn one_id_names_all_attempts_and_a_requeue() {
    let receiver = Receiver::new(|number, _| answer(if number < 5 { 500 } else { 200 })).await;
    let inbox = Inbox::new(destination(&receiver).with_schedule(quick(3)));
    inbox.accept(&["evt_1"]).await;
    inbox.until("failure", |counts| counts.failed == 1).await;
    let requeued = inbox.store.requeue(&[inbox.named("evt_1")]).await.unwrap();
    assert_eq!(requeued, [Requeued::Applied]);
    inbox
        .until("delivery", |counts| counts.processed == 1)
        .await;
    let got = receiver.got();
    let id = webhook_forward::webhook_id(&KIND, &key("evt_1"));
    assert!(got.iter().all(|got| got.header("webhook-id") == Some(&*id)));
    let attempts: Vec<_> = got
        .iter()
        .map(|got| got.header("inbox-attempt").unwrap())
        .collect();
    assert_eq!(attempts, ["1/3", "2/3", "3/3", "1/3", "2/3", "3/3"]);
    let triggers: Vec<_> = got
        .iter()
        .map(|got| got.header("inbox-trigger").unwrap())
        .collect();
    // A store does not say which claim is the first one after a requeue.
    let round = ["schedule", "retry", "retry"];
    assert_eq!(triggers, [round, round].concat());
}

#[tokio::test]
async fn a_replay_counts_nowhere() {
    let receiver = Receiver::of(500).await;
    let inbox = Inbox::new(destination(&receiver));
    let event = Event::raw(KIND, "{}").with_key(key("evt_1"));
    let built = inbox.forwarder.request(&event, Trigger::Replay);
    assert_eq!(built.headers()["inbox-trigger"], "replay");
    let exchange = inbox.forwarder.send_once(&event, Trigger::Test).await;
    assert_eq!(exchange.result.unwrap().status, 500);
    let got = receiver.got();
    assert_eq!(got[0].header("inbox-trigger"), Some("test"));
    let status = inbox.forwarder.status();
    assert_eq!((status.failed, status.consecutive_failures), (0, 0));
    assert_eq!(status.last_answers, []);
}

#[tokio::test]
async fn a_new_destination_gets_the_next_event() {
    let [old, new] = [Receiver::of(200).await, Receiver::of(200).await];
    let inbox = Inbox::new(destination(&old));
    inbox.accept(&["evt_1"]).await;
    inbox
        .until("delivery", |counts| counts.processed == 1)
        .await;
    let keys = SigningKeys::parse(SECRETS).unwrap();
    inbox
        .forwarder
        .replace(destination(&new).with_keys(keys))
        .unwrap();
    inbox.accept(&["evt_2"]).await;
    inbox
        .until("delivery", |counts| counts.processed == 2)
        .await;
    assert_eq!(old.keys(), ["evt_1"]);
    assert_eq!(new.keys(), ["evt_2"]);
    assert!(new.got()[0].header("webhook-signature").is_some());
    assert_eq!(inbox.forwarder.status().delivered, 2);
    let wrong = destination(&new).with_timeout(Duration::ZERO);
    assert!(inbox.forwarder.replace(wrong).is_err());
}

#[tokio::test]
async fn a_worker_that_is_dropped_in_mid_request_gives_the_attempt_back() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let receiver = Receiver::gated(Arc::clone(&gate)).await;
    let mut inbox = Inbox::new(destination(&receiver));
    inbox.accept(&["evt_1"]).await;
    receiver.until_got(1).await;
    assert_eq!(inbox.forwarder.status().in_flight, 1);
    inbox.worker = None;
    wait_until("abort", async || {
        (inbox.forwarder.status().in_flight == 0).then_some(())
    })
    .await;
    let status = inbox.forwarder.status();
    assert_eq!(
        status.last_answers[0].error_class.unwrap().as_str(),
        "aborted"
    );
    assert_eq!((status.failed, status.consecutive_failures), (0, 0));
    gate.add_permits(9);
    inbox.start();
    inbox
        .until("delivery", |counts| counts.processed == 1)
        .await;
    assert_eq!(inbox.find("evt_1").await.state, State::Processed);
    let got = receiver.got();
    let attempts: Vec<_> = got
        .iter()
        .map(|got| got.header("inbox-attempt").unwrap())
        .collect();
    assert_eq!(attempts, ["1/13", "1/13"]);
}

/// Says which requests began and ended, and adds a header.
#[derive(Clone, Default)]
struct Traced(Arc<Mutex<Vec<String>>>);

impl RequestTracer for Traced {
    fn start(
        &self,
        event: &RawEvent,
        request: &mut Request<Bytes>,
    ) -> Option<Box<dyn RequestSpan>> {
        let number = event.attempt().number();
        self.0.lock().unwrap().push(format!("start {number}"));
        let position = HeaderValue::from_static("of the tracer");
        request.headers_mut().insert("traceparent", position);
        Some(Box::new(self.clone()))
    }
}

impl RequestSpan for Traced {
    fn end(self: Box<Self>, exchange: &Exchange) {
        let status = exchange.result.as_ref().map(|answer| answer.status);
        self.0.lock().unwrap().push(format!("end {status:?}"));
    }
}

#[tokio::test]
async fn tracer_sees_each_request_and_sets_headers() {
    let receiver = Receiver::new(|number, _| answer([503, 204][number])).await;
    let inbox = Inbox::new(destination(&receiver).with_schedule(quick(2)));
    let tracer = Traced::default();
    let _ = inbox
        .forwarder
        .clone()
        .with_tracer(Arc::new(tracer.clone()));
    let stored = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let stored = Headers::try_from_iter([("traceparent", stored)]).unwrap();
    let envelope = inbox.envelope("evt", "{}").with_headers(stored);
    inbox.accept_envelope(envelope).await;
    inbox
        .until("delivery", |counts| counts.processed == 1)
        .await;
    assert_eq!(
        *tracer.0.lock().unwrap(),
        ["start 1", "end Ok(503)", "start 2", "end Ok(204)"]
    );
    for got in receiver.got() {
        assert_eq!(got.header("traceparent"), Some("of the tracer"));
    }
}
