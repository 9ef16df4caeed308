//! One of everything that clients ask of a server, by those who may and those who may not.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::client::{Client, post_as};
use super::process::Starter;
use super::signed::{Signer, signed, signed_as, token};
use super::{secrets, transaction, with_amount};

/// Ways to sign, and a secret for each.
pub(crate) const SCHEMES: [(&str, &str); 3] = [
    (
        "standard-webhooks",
        "whsec_c3VpdGUgc3VpdGUgc3VpdGUgc3VpdGUh",
    ),
    ("stripe", "a secret of the suite's for Stripe"),
    ("github", "a secret of the suite's for GitHub"),
];

/// Asks it all of the server that `starter` starts, which processes at once; its log is looked at as
/// every server's.
pub(crate) async fn run(starter: Starter, scheme: &str, secret: &str) {
    let (reader, reads) = token("read").await;
    let (operator, operates) = token("operate").await;
    let password = "a-password-of-the-suite";
    secrets::keep(password);
    let mut process = starter
        .env("WEBHOOK_SIGNATURE_SCHEME", scheme)
        .env("WEBHOOK_SECRETS", &secret.replace(' ', "-"))
        .env("API_TOKENS", &format!("{reads} {operates}"))
        .start();
    let addr = process.listens().await;
    let signer = &Signer::new(scheme, &secret.replace(' ', "-"));
    let mut client = Client::connect(addr).await;

    let body = transaction("tx-1");
    for status in ["ACCEPTED", "DUPLICATE"] {
        let reply = client.ask(signed(signer, &body)).await;
        reply.acknowledged(status);
    }
    let other = with_amount("tx-1", "2");
    client
        .ask(signed(signer, &other))
        .await
        .acknowledged("CONFLICT");
    for (wrong, status) in [
        (&body[..body.len() - 1], 400),
        (&body.replace("DE89", "DE\\n89"), 422),
        (&body.replace("DE89", &"DE89".repeat(100)), 422),
        (
            &body.replace("\"DE89370400440532013000\"", "[\"DE89370400440532013000\"]"),
            422,
        ),
        (&body.replace("currency", "source_account"), 422),
    ] {
        client.ask(signed(signer, wrong)).await.problem(status);
    }

    let now = SystemTime::now();
    client.post(&body).await.problem(401);
    client
        .ask(signed_as(signer, now, &other, &body))
        .await
        .problem(401);
    if scheme != "github" {
        let long_ago = now - Duration::from_secs(3_600);
        client
            .ask(signed_as(signer, long_ago, &body, &body))
            .await
            .problem(401);
    }

    let get = |path: &str, authorization: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n")
    };
    let bearer = format!("Authorization: Bearer {reader}\r\n");
    let path = "/v1/transactions/tx-1";
    assert_eq!(client.ask(get(path, &bearer)).await.status, 200);
    client
        .ask(get("/v1/transactions/none", &bearer))
        .await
        .problem(404);
    for wrong in [
        String::new(),
        bearer.repeat(2),
        format!("Authorization: Bearer {reader}x\r\n"),
        format!("Authorization: Basic {reader}\r\n"),
        format!("Authorization: {reader}\r\n"),
        format!("X-Api-Key: {reader}\r\nCookie: session={password}\r\n"),
    ] {
        client.ask(get(path, &wrong)).await.problem(401);
    }
    let operating = format!("Authorization: Bearer {operator}\r\n");
    for (what, status) in [
        ("status", 200),
        ("events?state=processed", 200),
        ("events?state=DE89370400440532013000", 400),
        ("events/transaction/tx-1", 200),
        ("events/transaction/none", 404),
        ("events/transaction/tx-1/requeue", 405),
        ("sources/transaction/pause", 405),
    ] {
        let path = format!("/v1/operator/{what}");
        let reply = client.ask(get(&path, &operating)).await;
        assert_eq!(reply.status, status, "{path}");
        let read = client.ask(get(&path, &bearer)).await;
        assert_eq!(read.status, status, "{path}");
        client.ask(get(&path, "")).await.problem(401);
    }
    for (what, status) in [("?unmask=true", 403), ("/body", 403)] {
        let path = format!("/v1/operator/events/transaction/tx-1{what}");
        client.ask(get(&path, &bearer)).await.problem(status);
        assert_eq!(client.ask(get(&path, &operating)).await.status, 200);
    }
    // Where secrets should not be, and are.
    let query = format!("{path}?access_token={reader}&password={password}");
    client.ask(get(&query, "")).await.problem(401);
    let target = format!("http://user:{password}@test{path}");
    let mut closed = Client::connect(addr).await;
    closed.ask(get(&target, &bearer)).await.problem(400);
    drop(closed);

    for (head, status) in [
        (
            format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\n{}\0\r\n\r\n",
                bearer.trim_end()
            ),
            400,
        ),
        (format!("GET / HTTP/1.1\r\nHost: {password} x\r\n\r\n"), 400),
        (
            format!("{password} / HTTP/1.1\r\n{}\r\n", bearer.repeat(200)),
            431,
        ),
    ] {
        let mut client = Client::connect(addr).await;
        assert_eq!(client.ask(head).await.status, status);
    }
    // Signed, since a body that nobody signed is not read.
    let signature = signer.sign("msg_1", now, body.as_bytes()).unwrap();
    let signature: String = signature
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let chunked = format!(
        "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n{signature}\r\n"
    );
    for rest in [
        format!("{body}\r\n"),
        format!("{:x};{password}\n{body}", body.len()),
        format!(
            "{:x}\r\n{body}\r\n0\r\n{}\u{1}\r\n\r\n",
            body.len(),
            bearer.trim_end()
        ),
    ] {
        let mut client = Client::connect(addr).await;
        client.ask([&*chunked, &rest].concat()).await.problem(400);
    }
    let headers = format!("Content-Type: text/{password}\r\n{bearer}");
    client.ask(post_as(&headers, &body)).await.problem(415);

    for path in ["/", "/readyz"] {
        assert_eq!(client.ask(get(path, &bearer)).await.status, 200);
    }
    client.ask(get("/nope", &bearer)).await.problem(404);
    client
        .ask(get("/v1/webhooks/transactions", &bearer))
        .await
        .problem(405);
    let mut gone = Client::connect(addr).await;
    let request = signed(signer, &transaction("gone"));
    gone.send(&request[..request.len() - 1]).await;
    drop(gone);

    process.logs("transaction processed").await;
    process.signal(Signal::HUP);
    process
        .logs("secrets, tokens and certificates reloaded")
        .await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}
