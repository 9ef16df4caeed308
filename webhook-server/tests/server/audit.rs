//! The log lines of operators' requests and of rejected requests.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{Client, post_as};
use crate::support::process::webhook_server;
use crate::support::signed::{Signer, signed, token_with};
use crate::support::transaction;

fn with_token(method: &str, path: &str, token: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[tokio::test]
async fn each_action_of_an_operator_is_logged_with_token_address_and_result() {
    let (named, named_digest) = token_with(&["operate", "--name", "ana"], "ana:operate:").await;
    let (unnamed, unnamed_digest) = token_with(&["operate"], "operate:").await;
    let mut process = webhook_server(&[])
        .env("API_TOKENS", &format!("{named_digest} {unnamed_digest}"))
        .start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    for (token, path, status, action) in [
        (&named, "events/transaction/tx-2/requeue", 404, "requeue"),
        (&named, "events/transaction/tx-1/requeue", 409, "requeue"),
        (
            &unnamed,
            "events/transaction/tx-2/make-due",
            404,
            "make_due",
        ),
        (&named, "sources/stripe/pause", 404, "pause"),
        (&named, "sources/stripe/pause?new=true", 200, "pause"),
        (&named, "sources/stripe/resume", 200, "resume"),
    ] {
        let path = format!("/v1/operator/{path}");
        let reply = client.ask(with_token("POST", &path, token)).await;
        assert_eq!(reply.status, status, "{path}");
        let line = process.logs("an operator made a request").await;
        assert_eq!(line["action"], action);
        assert_eq!(line["addr"], "127.0.0.1");
        let result: Value = serde_json::from_str(line["result"].as_str().unwrap()).unwrap();
        assert_eq!(result["status"], status);
        let label = line["token"].as_str().unwrap();
        if *token == named {
            assert_eq!(label, "ana");
        } else {
            let digits = &unnamed_digest["operate:".len()..][..8];
            assert_eq!(label, format!("unnamed, digest {digits}…"));
        }
        let arguments: Value = serde_json::from_str(line["arguments"].as_str().unwrap()).unwrap();
        let target = match path.split('/').collect::<Vec<_>>()[4..] {
            [source, key, _] => format!("{source}/{key}"),
            [source, ..] => source.to_owned(),
            [] => String::new(),
        };
        assert_eq!(arguments["target"], target);
    }
}

#[tokio::test]
async fn token_names_are_validated() {
    for name in ["", "a b", "a:b", "caf\u{e9}"] {
        let (code, out, log) = webhook_server(&["token", "read", "--name", name])
            .output()
            .await;
        assert_eq!((code, &*out), (2, ""), "{log}");
        assert!(log.contains("letters, digits"), "{log}");
    }
}

#[tokio::test]
async fn rejections_are_logged_with_addresses_and_summed_up() {
    let (_, digest) = token_with(&["read"], "read:").await;
    let mut process = webhook_server(&["--webhook-signature-scheme=github"])
        .env("WEBHOOK_SECRETS", "a-secret-of-github")
        .env("API_TOKENS", &digest)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    for _ in 0..20 {
        client.post(transaction("tx-1")).await.problem(401);
    }
    client.get("/v1/transactions/tx-1").await.problem(401);
    process.signal(Signal::TERM);
    let line = process.logs("request rejected").await;
    assert_eq!(line["kind"], "signature");
    assert_eq!(line["addr"], "127.0.0.1");
    let line = process
        .logs("requests rejected since the last summary")
        .await;
    assert_eq!(line["rejected"], 21);
    assert_eq!(line["kinds"], "signature: 20, read token: 1");
    assert_eq!(line["addresses"], "127.0.0.1: 21");
    assert_eq!(process.ends().await.code(), Some(0));
    let own_lines = process.logged.iter();
    let own_lines = own_lines.filter(|line| line.contains(r#""request rejected""#));
    assert_eq!(own_lines.count(), 10, "the log cannot be flooded");
}

#[tokio::test]
async fn deliveries_verified_by_each_secret_are_counted() {
    let (token, digest) = token_with(&["operate"], "operate:").await;
    let secrets = ["the-new-secret", "the-old-secret", "an-unused-secret"];
    let mut process = webhook_server(&["--webhook-signature-scheme=github"])
        .env("WEBHOOK_SECRETS", &secrets.join("\n"))
        .env("API_TOKENS", &digest)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    for (index, secret) in [0, 1, 0].into_iter().map(|at| secrets[at]).enumerate() {
        let signer = Signer::new("github", secret);
        let delivery = signed(&signer, &transaction(&format!("tx-{index}")));
        client.ask(delivery).await.acknowledged("ACCEPTED");
    }
    let ask = with_token("GET", "/v1/operator/sources/transaction", &token);
    let source = client.ask(ask).await.json();
    let verified = source["secrets"].as_array().unwrap().iter();
    let verified: Vec<_> = verified.map(|secret| &secret["verified"]).collect();
    assert_eq!(verified, [2, 1, 0], "{source}");
}

#[tokio::test]
async fn malformed_and_repeated_signature_headers_are_rejected_before_the_body() {
    let mut process = webhook_server(&["--webhook-signature-scheme=github"])
        .env("WEBHOOK_SECRETS", "a-secret-of-github")
        .start();
    let addr = process.listens().await;
    for headers in [
        "X-Hub-Signature-256: sha256=00\r\n",
        "X-Hub-Signature-256: sha256=00\r\nX-Hub-Signature-256: sha256=01\r\n",
    ] {
        let mut client = Client::connect(addr).await;
        let headers = format!("Content-Type: application/json\r\n{headers}");
        let delivery = post_as(&headers, " ".repeat(1_000_000));
        let end = delivery.len() - 1_000_000;
        let reply = client.ask(&delivery[..end]).await;
        assert_eq!(reply.problem(401), "Signature missing or wrong");
    }
}
