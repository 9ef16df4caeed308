//! Only deliveries with a valid signature are accepted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use webhook_core::MockStore;
use webhook_memory::MemoryStore;

use crate::serve::{config, serve_on};
use crate::support::client::{Client, Reply, post};
use crate::support::files::Files;
use crate::support::process::webhook_server;
use crate::support::signed::{Signer, signed, signed_as};
use crate::support::{transaction, until};

const OLD: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk";
const NEW: &str = "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3";

fn standard(secret: &str) -> Signer {
    Signer::new("standard-webhooks", secret)
}

#[track_caller]
fn assert_refused(reply: &Reply) {
    assert_eq!(reply.problem(401), "Signature missing or wrong");
    assert_eq!(reply.header("www-authenticate"), Some("Webhook-Signature"));
}

#[tokio::test]
async fn each_scheme_accepts_only_its_own_signatures() {
    let secret = "hunter2-hunter2";
    for (scheme, secret) in [
        ("standard-webhooks", OLD),
        ("Stripe", secret),
        ("github", secret),
        ("razorpay", secret),
        ("shopify", secret),
        ("cashfree", secret),
        ("hmac-hex:X-Mine", secret),
        ("hmac-base64:x-mine", secret),
    ] {
        let signer = Signer::new(scheme, secret);
        let mut process = webhook_server(&["--webhook-signature-scheme", scheme])
            .env(
                "WEBHOOK_SECRETS",
                &format!("whsec_b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=\n{secret}"),
            )
            .start();
        let mut client = Client::connect(process.listens().await).await;
        let body = transaction("tx-1");
        client
            .ask(signed(&signer, &body))
            .await
            .acknowledged("ACCEPTED");
        assert_refused(&client.post(&body).await);
        let other = transaction("tx-2");
        let forged = signed_as(&signer, SystemTime::now(), &body, &other);
        assert_refused(&client.ask(forged).await);
        client.get("/v1/transactions/tx-2").await.problem(404);
        client
            .ask(signed(&signer, &body))
            .await
            .acknowledged("DUPLICATE");
    }
}

#[tokio::test]
async fn signature_is_checked_before_the_body_and_the_store() {
    let mut config = config();
    config.webhook_signature_scheme = "standard-webhooks".parse().unwrap();
    config.webhook_secrets = Some(OLD.to_owned().into());
    // A mock that expects no call.
    let store = Arc::new(MockStore::new());
    let server = serve_on(store, Arc::new(MemoryStore::default()), &config);
    let mut client = Client::connect(server.addr()).await;
    for body in ["", "{", "[]", "{}", &transaction("tx-1")] {
        assert_refused(&client.ask(post(body)).await);
        let forged = signed(&standard(NEW), body);
        assert_refused(&client.ask(forged).await);
    }
    // If it is signed, its errors are reported.
    client.ask(signed(&standard(OLD), "{")).await.problem(400);
    client.ask(signed(&standard(OLD), "{}")).await.problem(422);
}

#[tokio::test]
async fn expired_signatures_are_rejected() {
    let mut process = webhook_server(&["--webhook-tolerance-seconds=60"])
        .env("WEBHOOK_SIGNATURE_SCHEME", "svix")
        .env("WEBHOOK_SECRETS", OLD)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    let body = transaction("tx-1");
    let now = SystemTime::now();
    for far in [
        now - Duration::from_secs(120),
        now + Duration::from_secs(120),
    ] {
        let far = signed_as(&standard(OLD), far, &body, &body);
        assert_refused(&client.ask(far).await);
    }
    let near = now - Duration::from_secs(20);
    let near = signed_as(&standard(OLD), near, &body, &body);
    client.ask(near).await.acknowledged("ACCEPTED");
}

#[tokio::test]
async fn secrets_are_read_again_and_no_request_is_dropped() {
    let files = Files::new();
    let file = files.write("secrets", format!("{OLD}\n\n"));
    let mut process = webhook_server(&["--log-level=trace"])
        .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
        .env("WEBHOOK_SECRETS_FILE", &file)
        .start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    client
        .ask(signed(&standard(OLD), &transaction("a")))
        .await
        .acknowledged("ACCEPTED");
    assert_refused(&client.ask(signed(&standard(NEW), &transaction("b"))).await);

    // A request whose body is still on its way.
    let mut slow = Client::connect(addr).await;
    let request = signed(&standard(OLD), &transaction("slow"));
    let (start, end) = request.split_at(request.len() - 10);
    slow.send(start).await;
    files.write("secrets", format!("{NEW}\n{OLD}\n"));
    process.signal(Signal::HUP);
    process
        .logs("secrets, tokens and certificates reloaded")
        .await;
    slow.send(end).await;
    slow.reply().await.acknowledged("ACCEPTED");
    for (id, secret) in [("c", OLD), ("d", NEW)] {
        client
            .ask(signed(&standard(secret), &transaction(id)))
            .await
            .acknowledged("ACCEPTED");
    }

    // A file that cannot be used changes nothing.
    files.write("secrets", "whsec_not base64\n");
    process.signal(Signal::HUP);
    process
        .logs("failed to reload secrets, tokens and certificates; the current ones stay in use")
        .await;
    client
        .ask(signed(&standard(NEW), &transaction("e")))
        .await
        .acknowledged("ACCEPTED");

    files.write("secrets", NEW);
    process.signal(Signal::HUP);
    until("the old secret is refused", async || {
        let reply = client.ask(signed(&standard(OLD), &transaction("f"))).await;
        reply.status == 401
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    let log = process.logged.join("\n");
    for secret in [OLD, NEW, "b2xkIG9sZ", "bmV3IG5l"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn unusable_secrets_are_reported_at_the_start_and_not_shown() {
    for (variables, message) in [
        (
            &[("WEBHOOK_SIGNATURE_SCHEME", "paypal")][..],
            "expected none, standard-webhooks",
        ),
        (
            &[("WEBHOOK_SIGNATURE_SCHEME", "stripe")],
            "needs WEBHOOK_SECRETS",
        ),
        (
            &[("WEBHOOK_SECRETS", "hunter2")],
            "need WEBHOOK_SIGNATURE_SCHEME",
        ),
        (
            &[
                ("WEBHOOK_SIGNATURE_SCHEME", "stripe"),
                ("WEBHOOK_SECRETS", "hunter2"),
                ("WEBHOOK_SECRETS_FILE", "x"),
            ],
            "are both set",
        ),
    ] {
        let mut starter = webhook_server(&[]);
        for (name, value) in variables {
            starter = starter.env(name, value);
        }
        let (code, _, log) = starter.output().await;
        assert_eq!(code, 2, "{log}");
        assert!(log.contains(message) && !log.contains("hunter2"), "{log}");
    }
    for (variables, message) in [
        (
            ("WEBHOOK_SECRETS", "whsec_hunter2!"),
            "secret 1 with the name secret is not Base64",
        ),
        (
            ("WEBHOOK_SECRETS", "# none"),
            "WEBHOOK_SECRETS_FILE contains no secret",
        ),
        (
            ("WEBHOOK_SECRETS_FILE", "/nowhere"),
            "failed to read WEBHOOK_SECRETS_FILE /nowhere",
        ),
    ] {
        let mut process = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
            .env(variables.0, variables.1)
            .start();
        assert_eq!(process.ends().await.code(), Some(1));
        let log = process.logged.join("\n");
        assert!(log.contains(message) && !log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn secrets_that_are_too_short_need_the_insecure_flag() {
    let standard = |bytes: usize| format!("whsec_{}", "YWJj".repeat(bytes / 3));
    for (scheme, secret, min_bytes) in [
        ("standard-webhooks", standard(21), Some(24)),
        ("standard-webhooks", standard(24), None),
        (
            "standard-webhooks",
            format!("v1,{}", standard(21)),
            Some(24),
        ),
        ("stripe", "1234567".to_owned(), Some(8)),
        ("stripe", "12345678".to_owned(), None),
        ("github", "a".to_owned(), Some(8)),
        ("cashfree", "1234567".to_owned(), Some(8)),
    ] {
        for insecure in [false, true] {
            let mut process = webhook_server(&[])
                .env("WEBHOOK_SIGNATURE_SCHEME", scheme)
                .env("WEBHOOK_SECRETS", &secret)
                .env("INSECURE", &insecure.to_string())
                .start();
            match min_bytes.filter(|_| !insecure) {
                None => drop(process.listens().await),
                Some(min_bytes) => {
                    assert_eq!(process.ends().await.code(), Some(1), "{scheme}");
                    let log = process.logged.join("\n");
                    let expected = format!("has fewer than {min_bytes} bytes");
                    assert!(log.contains(&expected), "{log}");
                }
            }
        }
    }
}

#[tokio::test]
async fn unsigned_delivery_is_refused_before_its_body_is_read() {
    let mut process = webhook_server(&["--webhook-signature-scheme=standard-webhooks"])
        .env("WEBHOOK_SECRETS", NEW)
        .start();
    let addr = process.listens().await;
    let body = transaction("tx-1");
    let at = SystemTime::now() - Duration::from_secs(3600);
    let late = standard(NEW).sign("msg", at, body.as_bytes()).unwrap();
    let late: String = late
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    for headers in ["", "webhook-signature: v1,AAAA\r\n", &late] {
        // The body never comes, so that only a refusal by the headers can be the answer.
        let head = format!(
            "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: 900000\r\n\r\n"
        );
        let mut client = Client::connect(addr).await;
        let reply = client.ask(head).await;
        assert_refused(&reply);
        assert_eq!(reply.header("connection"), Some("close"));
    }
}
