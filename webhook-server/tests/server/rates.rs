//! How often clients may ask.

use webhook_sources::signature::StandardWebhooks;

use crate::support::client::{Client, post};
use crate::support::process::webhook_server;
use crate::support::signed::signed;
use crate::support::transaction;

fn from(client: &str) -> String {
    format!(
        "GET /v1/transactions/tx-1 HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n"
    )
}

/// How many of 60 requests pass, where a hundredth of a second passes for each at most.
async fn passed(client: &mut Client, request: &str) -> usize {
    let mut passed = 0;
    for _ in 0..60 {
        let reply = client.ask(request).await;
        if reply.status == 429 {
            assert_eq!(reply.problem(429), "Too many requests");
            assert_eq!(reply.header("retry-after"), Some("1"));
        } else {
            passed += 1;
        }
    }
    passed
}

#[tokio::test]
async fn one_sender_does_not_keep_others_out() {
    let mut process = webhook_server(&["--insecure"])
        .env("RATE_LIMIT_PER_SENDER", "10")
        .env("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")
        .start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    let many = passed(&mut client, &from("192.0.2.1")).await;
    assert!((10..60).contains(&many), "{many}");
    // What a client writes itself stands before what the proxy adds.
    assert_eq!(
        client
            .ask(from("192.0.2.2, 192.0.2.1, 10.0.0.3"))
            .await
            .status,
        429
    );
    assert_eq!(client.ask(from("192.0.2.2")).await.status, 404);
    assert_eq!(client.ask(from("2001:db8::1")).await.status, 404);
    // Whoever watches over the server is not counted.
    for _ in 0..100 {
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn nobody_is_believed_who_is_no_proxy() {
    let mut process = webhook_server(&["--insecure"])
        .env("RATE_LIMIT_PER_SENDER", "10")
        .start();
    let mut client = Client::connect(process.listens().await).await;
    let mut passed = 0;
    for i in 0..60 {
        passed += usize::from(client.ask(from(&format!("192.0.2.{i}"))).await.status != 429);
    }
    assert!((10..60).contains(&passed), "{passed}");
}

#[tokio::test]
async fn all_together_have_a_limit_and_a_refused_delivery_is_not_kept() {
    let mut process = webhook_server(&[]).env("RATE_LIMIT", "10").start();
    let mut client = Client::connect(process.listens().await).await;
    let mut refused = None;
    for i in 0..60 {
        let id = format!("tx-{i}");
        let reply = client.post(transaction(&id)).await;
        if reply.status == 429 {
            refused = Some(id);
            break;
        }
        reply.acknowledged("ACCEPTED");
    }
    let refused = refused.expect("ten a second are fewer than these");
    let show = format!("/v1/transactions/{refused}");
    let shown = loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        match client.get(&show).await.status {
            429 => {}
            status => break status,
        }
    };
    assert_eq!(shown, 404);
    process.logs("request rejected").await;
}

#[tokio::test]
async fn what_is_no_limit_is_told_by_its_name() {
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

/// Else whoever can reach the server could shut out its senders.
#[tokio::test]
async fn only_verified_deliveries_count_towards_the_limit_of_all() {
    const SECRET: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk";
    const OTHER: &str = "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3";
    let mut process = webhook_server(&[])
        .env("RATE_LIMIT", "2")
        .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
        .env("WEBHOOK_SECRETS", SECRET)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    let signer = StandardWebhooks::new([SECRET]).unwrap();
    let forger = StandardWebhooks::new([OTHER]).unwrap();
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
    // Two a second are fewer than these, unless all take half a minute.
    for body in [transaction("tx-1"), long.replace("forged", "tx-2")] {
        let mut refused = 0;
        for _ in 0..60 {
            let reply = client.ask(signed(&signer, &body)).await;
            refused += usize::from(reply.status == 429);
        }
        assert!(refused > 0, "none of 60 deliveries was refused");
    }
}
