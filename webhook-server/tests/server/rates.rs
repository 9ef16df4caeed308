//! Rate limits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Reply, post};
use crate::support::process::webhook_server;
use crate::support::signed::{Signer, signed};
use crate::support::{transaction, until};

fn from(client: &str) -> String {
    format!(
        "GET /v1/transactions/tx-1 HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n"
    )
}

/// Sends `requests` in one go, and returns their replies, which came within less than a second: a limit
/// of one a second lets at most one request of each client pass meanwhile. On a slow machine, tries
/// again with other requests, after the limits have recovered.
async fn within_a_second(
    addr: SocketAddr,
    requests: impl Fn(usize) -> Vec<Vec<u8>>,
) -> (usize, Vec<Reply>) {
    for attempt in 0..20 {
        let requests = requests(attempt);
        let mut client = Client::connect(addr).await;
        let started = Instant::now();
        client.send(requests.concat()).await;
        let mut replies = Vec::new();
        for _ in &requests {
            replies.push(client.reply().await);
        }
        if started.elapsed() < Duration::from_secs(1) {
            return (attempt, replies);
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    panic!(
        "the server answers {} requests too slowly",
        requests(0).len()
    );
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.status).collect()
}

#[tokio::test]
async fn one_sender_does_not_keep_others_out() {
    let mut process = webhook_server(&["--insecure"])
        .env("RATE_LIMIT_PER_SENDER", "1")
        .env("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")
        .start();
    let addr = process.listens().await;
    let requests = |attempt| {
        let (busy, other) = (
            format!("192.0.2.{attempt}"),
            format!("198.51.100.{attempt}"),
        );
        let requests = [
            from(&busy),
            from(&busy),
            // What the client writes itself is before what the proxy adds.
            from(&format!("{other}, {busy}, 10.0.0.3")),
            from(&other),
            from(&format!("2001:db8:{attempt}::1")),
        ];
        requests.map(String::into_bytes).to_vec()
    };
    let (_, replies) = within_a_second(addr, requests).await;
    assert_eq!(statuses(&replies), [404, 429, 429, 404, 404]);
    assert_eq!(replies[1].problem(429), "Too many requests");
    assert_eq!(replies[1].header("retry-after"), Some("1"));
    // Health checks are not counted.
    let mut client = Client::connect(addr).await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn forwarded_header_from_untrusted_peer_is_ignored() {
    let mut process = webhook_server(&["--insecure"])
        .env("RATE_LIMIT_PER_SENDER", "1")
        .start();
    let addr = process.listens().await;
    let requests = |_| {
        let requests = (1..=3).map(|client| from(&format!("192.0.2.{client}")));
        requests.map(String::into_bytes).collect()
    };
    let (_, replies) = within_a_second(addr, requests).await;
    assert_eq!(statuses(&replies), [404, 429, 429]);
}

#[tokio::test]
async fn all_together_have_a_limit_and_a_rejected_delivery_is_not_kept() {
    let mut process = webhook_server(&[]).env("RATE_LIMIT", "1").start();
    let addr = process.listens().await;
    let id = |attempt, place| format!("tx-{attempt}-{place}");
    let requests = |attempt| {
        let places = 0..3;
        let deliveries = places.map(|place| post(transaction(&id(attempt, place))));
        deliveries.collect()
    };
    let (attempt, replies) = within_a_second(addr, requests).await;
    assert_eq!(statuses(&replies), [202, 429, 429]);
    let mut client = Client::connect(addr).await;
    let mut status = 429;
    until("the limit lets a request pass", async || {
        let path = format!("/v1/transactions/{}", id(attempt, 1));
        status = client.get(&path).await.status;
        status != 429
    })
    .await;
    assert_eq!(status, 404);
    process.logs("request rejected").await;
}

#[tokio::test]
async fn invalid_limits_are_reported_by_name() {
    for (name, value, expected) in [
        ("RATE_LIMIT", "0", "RATE_LIMIT (--rate-limit)"),
        (
            "RATE_LIMIT_PER_SENDER",
            "many",
            "RATE_LIMIT_PER_SENDER (--rate-limit-per-sender)",
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/99",
            "expected an address, or a network such as 10.0.0.0/8",
        ),
        (
            "FORWARDED_HEADER",
            "via",
            "expected one of x-forwarded-for, forwarded",
        ),
    ] {
        let (code, _, log) = webhook_server(&[]).env(name, value).output().await;
        assert_eq!(code, 2, "{log}");
        assert!(log.contains(expected), "{log}");
    }
}

/// Otherwise, anyone who can reach the server could use up the limit of its senders.
#[tokio::test]
async fn only_verified_deliveries_count_towards_the_limit_of_all() {
    const SECRET: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk";
    const OTHER: &str = "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3";
    let mut process = webhook_server(&[])
        .env("RATE_LIMIT", "1")
        .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
        .env("WEBHOOK_SECRETS", SECRET)
        .start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    let signer = Signer::new("standard-webhooks", SECRET);
    let forger = Signer::new("standard-webhooks", OTHER);
    let short = transaction("forged");
    // Long enough to be verified on another thread.
    let long = format!("{short}{}", " ".repeat(100_000));
    for round in 0..60 {
        let unsigned = post(&short);
        let forged = signed(&forger, if round % 2 == 0 { &short } else { &long });
        client.ask(unsigned).await.problem(401);
        client.ask(forged).await.problem(401);
    }
    let first = client.ask(signed(&signer, &transaction("tx-1"))).await;
    first.acknowledged("ACCEPTED");
    for body in [transaction("tx-1"), long.replace("forged", "tx-2")] {
        let requests = |_| vec![signed(&signer, &body); 3];
        let (_, replies) = within_a_second(addr, requests).await;
        assert!(statuses(&replies).contains(&429), "{replies:?}");
    }
}
