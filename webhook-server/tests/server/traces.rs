//! OpenTelemetry traces, as a collector gets them.

mod collector;

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::forwarding::receiver::Receiver;
use crate::sources::{SECRET, Sender, Setup, assert_stored};
use crate::support::client::{Client, post_as};
use crate::support::process::{Starter, webhook_server};
use crate::support::{in_time, secrets, transaction, until};
use collector::Collector;

const STRANGER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_OF_STRANGER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A source of GitHub's form that forwards to `app`, with these lines besides.
fn setup(app: &Receiver, more: &str) -> Setup {
    let url = app.url("/hooks?token=swordfish");
    Setup::new(&format!(
        "[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\nforward = \"{url}\"\n{more}\n"
    ))
}

/// A delivery with these headers besides.
fn delivery(id: &str, body: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let request = Sender::preset("github", "github", SECRET).github(id, body);
    let request = String::from_utf8(request).unwrap();
    let (first, rest) = request.split_once("\r\n").unwrap();
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{first}\r\n{headers}{rest}").into_bytes()
}

#[tokio::test]
async fn trace_leads_from_the_request_to_the_app() {
    secrets::keep("swordfish-of-the-collector");
    let (mut collector, mut app) = (Collector::start().await, Receiver::start().await);
    app.answers(503);
    let setup = setup(&app, "");
    let mut process = collector
        .of(setup.server(&[]))
        .env("FORWARD_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-tenant=swordfish-of-the-collector",
        )
        .env("OTEL_SERVICE_NAME", "inbox")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .start();
    let mut client = Client::connect(process.listens().await).await;
    let body = r#"{"a": "a body that nobody else sees"}"#;
    let request = delivery("the-key", body, &[("traceparent", STRANGER)]);
    assert_stored(&client.ask(request).await);

    let request = collector.next("POST /v1/webhooks/{source}").await;
    assert!(request.is(SpanKind::Server));
    assert_eq!(request.span.parent_span_id, [0; 0]);
    let links = request.links();
    let [(linked, _)] = &links[..] else {
        panic!("{links:?}")
    };
    assert_eq!(hex::encode(linked), TRACE_OF_STRANGER);
    assert_ne!(&request.span.trace_id, linked);
    request.assert_has(&[
        ("http.request.method", "POST"),
        ("http.route", "/v1/webhooks/{source}"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/webhooks/github"),
        ("url.scheme", "http"),
        ("client.address", "127.0.0.1"),
    ]);
    assert_eq!(request.scope.name, "webhook-server");
    assert!(
        request
            .schema_url
            .starts_with("https://opentelemetry.io/schemas/1.")
    );
    for (name, value) in [
        ("service.name", "inbox"),
        ("deployment.environment.name", "test"),
        ("telemetry.sdk.language", "rust"),
    ] {
        assert_eq!(request.resource[name], value, "{name}");
    }

    let send = collector.next("send github").await;
    assert!(send.is(SpanKind::Producer));
    send.assert_child_of(&request);
    send.assert_has(&[
        ("messaging.system", "webhook_inbox"),
        ("messaging.destination.name", "github"),
        ("messaging.operation.type", "send"),
        ("webhook.outcome", "accepted"),
    ]);

    // Each attempt is a trace of its own, with a link.
    let process_span = collector.next("process github").await;
    assert!(process_span.is(SpanKind::Consumer));
    assert_eq!(process_span.span.parent_span_id, [0; 0]);
    assert_ne!(process_span.span.trace_id, request.span.trace_id);
    assert_eq!(process_span.links(), [send.ids()]);
    process_span.assert_has(&[
        ("messaging.operation.type", "process"),
        ("messaging.message.id", "1"),
        ("messaging.message.body.size", &body.len().to_string()),
        ("webhook.attempt", "1"),
        ("webhook.outcome", "retried"),
        ("error.type", "handler_error"),
    ]);
    let status = process_span.span.status.clone().unwrap();
    assert_eq!(
        (status.code, &*status.message),
        (StatusCode::Error.into(), "")
    );

    let forward = collector.next("POST").await;
    assert!(forward.is(SpanKind::Client));
    forward.assert_child_of(&process_span);
    forward.assert_has(&[
        ("http.request.method", "POST"),
        ("http.response.status_code", "503"),
        ("url.full", &app.url("/hooks")),
        ("server.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("error.type", "503"),
    ]);
    let received = app.next().await;
    assert_eq!(received.header("traceparent"), forward.traceparent());

    for span in [&request, &send, &process_span, &forward] {
        let told = format!("{span:?}");
        for secret in ["the-key", "nobody else", "swordfish"] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
}

#[tokio::test]
async fn attempt_may_be_a_part_of_the_trace_and_have_the_key() {
    let mut collector = Collector::start().await;
    let mut process = collector
        .of(webhook_server(&["--processing-delay-seconds=0"]))
        .env("TRACE_PROCESS", "child")
        .env("TRACE_KEYS", "true")
        .start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("t-1"))
        .await
        .acknowledged("ACCEPTED");
    client
        .post(transaction("t-1"))
        .await
        .acknowledged("DUPLICATE");

    let request = collector.next("POST /v1/webhooks/transactions").await;
    let send = collector.next("send transaction").await;
    send.assert_child_of(&request);
    send.assert_has(&[("webhook.key", "t-1"), ("webhook.outcome", "accepted")]);
    let again = collector.next("send transaction").await;
    again.assert_has(&[("webhook.outcome", "duplicate")]);
    assert_ne!(again.span.trace_id, send.span.trace_id);
    let process_span = collector.next("process transaction").await;
    process_span.assert_child_of(&send);
    assert_eq!(process_span.links(), []);
    process_span.assert_has(&[("webhook.key", "t-1"), ("webhook.outcome", "processed")]);

    // What the handler logs can be found by the trace.
    let line = process.logs("transaction processed").await;
    assert_eq!(line["trace_id"], hex::encode(&process_span.span.trace_id));
    assert_eq!(line["span_id"], hex::encode(&process_span.span.span_id));
    client.get("/v1/transactions/t-1").await;
    let read = collector.next("GET /v1/transactions/{id}").await;
    read.assert_has(&[("url.path", "/v1/transactions/t-1")]);
}

#[tokio::test]
async fn log_for_people_has_the_trace() {
    let mut collector = Collector::start().await;
    let mut process = collector
        .of(webhook_server(&["--processing-delay-seconds=0"]))
        .start_for_people();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("t-1"))
        .await
        .acknowledged("ACCEPTED");
    let span = collector.next("process transaction").await;
    let end = format!(" trace_id={}", hex::encode(&span.span.trace_id));
    loop {
        let line = in_time("the line", process.next_line()).await.unwrap();
        if line.contains("transaction processed") {
            assert!(line.ends_with(&end), "{line}");
            break;
        }
        assert!(!line.contains("trace_id"), "{line}");
    }
    client.get("/v1/transactions/t-1").await;
    let read = collector.next("GET /v1/transactions/{id}").await;
    read.assert_has(&[("url.path", "/v1/transactions/{id}")]);
}

#[tokio::test]
async fn context_of_a_stranger_is_linked_if_it_is_valid_and_never_obeyed() {
    let mut collector = Collector::start().await;
    let mut process = collector.of(webhook_server(&[])).start();
    let mut client = Client::connect(process.listens().await).await;
    let valid = [
        STRANGER.to_owned(),
        STRANGER.replace("-01", "-00"),
        format!("cc{}-more", &STRANGER[2..]),
    ];
    let invalid = [
        String::new(),
        STRANGER[1..].to_owned(),
        STRANGER[..54].to_owned(),
        format!("{STRANGER}-00"),
        STRANGER.to_uppercase(),
        format!("ff{}", &STRANGER[2..]),
        STRANGER.replace(TRACE_OF_STRANGER, &"0".repeat(32)),
        STRANGER.replace("00f067aa0ba902b7", &"0".repeat(16)),
        STRANGER.replace('-', " "),
        "x".repeat(8_000),
        // Several headers say nothing.
        format!("{STRANGER}\r\ntraceparent: {STRANGER}"),
        format!("{STRANGER},{STRANGER}"),
    ];
    let all = valid
        .iter()
        .map(|it| (it, 1))
        .chain(invalid.iter().map(|it| (it, 0)));
    for (number, (value, links)) in all.enumerate() {
        let headers = format!(
            "Content-Type: application/json\r\nTraceparent: {value}\r\ntracestate: a=b\r\n"
        );
        let request = post_as(&headers, transaction(&format!("t-{number}")));
        client.ask(request).await.acknowledged("ACCEPTED");
        let span = collector.next("POST /v1/webhooks/transactions").await;
        assert_eq!(span.links().len(), links, "{value}");
        assert_eq!(span.span.parent_span_id, [0; 0]);
        assert_ne!(hex::encode(&span.span.trace_id), TRACE_OF_STRANGER);
        assert_eq!(span.span.trace_state, "");
    }
}

/// Even where its header is kept with the event, and its trace would be continued.
#[tokio::test]
async fn stranger_does_not_choose_what_is_recorded() {
    let (mut collector, mut app) = (Collector::start().await, Receiver::start().await);
    let setup = setup(&app, "keep_headers = [\"traceparent\"]");
    let sampled = |server: Starter, ratio: &str| {
        server
            .env("FORWARD_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .env("TRACE_PROCESS", "child")
            .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", ratio)
    };
    let mut process = sampled(collector.of(setup.server(&[])), "0").start();
    let mut client = Client::connect(process.listens().await).await;
    let request = delivery("a", "{}", &[("traceparent", STRANGER)]);
    assert_stored(&client.ask(request).await);
    // It is passed on, as before, since nothing replaces it.
    assert_eq!(app.next().await.header("traceparent"), STRANGER);
    process.signal(Signal::TERM);
    assert!(process.ends().await.success());

    // With another server, which records everything, its trace is not continued either.
    let mut process = sampled(collector.of(setup.server(&[])), "1").start();
    let mut client = Client::connect(process.listens().await).await;
    let request = delivery("a", "{}", &[("traceparent", STRANGER)]);
    assert_stored(&client.ask(request).await);
    let forward = collector.next("POST").await;
    assert_ne!(hex::encode(&forward.span.trace_id), TRACE_OF_STRANGER);
    assert_eq!(
        app.next().await.header("traceparent"),
        forward.traceparent()
    );
    // The first server has exported nothing.
    let request = collector.next("POST /v1/webhooks/{source}").await;
    assert_eq!(request.span.trace_id, forward.span.trace_id);
}

#[tokio::test]
async fn nothing_is_exported_where_traces_are_off() {
    let collector = Collector::start().await;
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ] {
        let server = webhook_server(&["--processing-delay-seconds=0"]);
        let mut process = collector.of(server).env(name, value).start();
        let mut client = Client::connect(process.listens().await).await;
        client
            .post(transaction("t-1"))
            .await
            .acknowledged("ACCEPTED");
        let line = process.logs("transaction processed").await;
        assert_eq!(line.get("trace_id"), None, "{name}");
        process.signal(Signal::TERM);
        assert!(process.ends().await.success());
    }
    assert!(collector.is_unused());
}

#[tokio::test]
async fn collector_that_fails_costs_spans_and_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let failing = Receiver::start().await;
    failing.answers(500);
    let busy = Receiver::start().await;
    busy.answers(503);
    for url in [
        format!("http://{silent}"),
        format!("http://{closed}"),
        failing.url(""),
        busy.url("/"),
    ] {
        let mut process = webhook_server(&["--processing-delay-seconds=0"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
            .env("OTEL_BSP_EXPORT_TIMEOUT", "400")
            .env("OTEL_BSP_SCHEDULE_DELAY", "1")
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "2")
            .start();
        let mut client = Client::connect(process.listens().await).await;
        for number in 0..20 {
            let answer = client.post(transaction(&format!("t-{number}"))).await;
            answer.acknowledged("ACCEPTED");
        }
        until("all are processed", async || {
            client.get("/v1/transactions/t-19").await.json()["status"] == "PROCESSED"
        })
        .await;
        let lost = "spans were lost: the collector of OTEL_EXPORTER_OTLP_ENDPOINT did not take them, or not \
                    fast enough";
        let line = process.logs(lost).await;
        assert_eq!(line["level"], "WARN", "{line}");
        process.signal(Signal::TERM);
        let ended = in_time("the end", process.ends()).await;
        assert!(ended.success(), "{url}");
    }
}

#[tokio::test]
async fn wrong_urls_and_protocols_are_errors_and_other_values_warnings() {
    for (name, value, wrong) in [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "expected a URL",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "by http/protobuf only",
        ),
    ] {
        let server = webhook_server(&[])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
            .env(name, value);
        let (code, _, log) = server.output().await;
        assert_eq!(code, 2, "{log}");
        assert!(
            log.contains(&format!("invalid {name}")) && log.contains(wrong),
            "{log}"
        );
    }
    let collector = Collector::start().await;
    let server = collector.of(webhook_server(&[]));
    let mut process = server.env("OTEL_TRACES_SAMPLER", "xray").start();
    process
        .logs(
            "OTEL_TRACES_SAMPLER is ignored: expected always_on, always_off or traceidratio, or one of them \
             after parentbased_",
        )
        .await;
    process.listens().await;
}

/// Spans that wait for others are exported at the end.
#[tokio::test]
async fn shutdown_exports_what_waits() {
    let mut collector = Collector::start().await;
    let server = collector.of(webhook_server(&[]));
    let delay = Duration::from_secs(3_600).as_millis().to_string();
    let mut process = server.env("OTEL_BSP_SCHEDULE_DELAY", &delay).start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("t-1"))
        .await
        .acknowledged("ACCEPTED");
    process.signal(Signal::TERM);
    assert!(process.ends().await.success());
    collector.next("send transaction").await;
}
