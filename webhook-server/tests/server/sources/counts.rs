//! Each request that gets an error is counted once, and each that is counted as refused is listed.

use std::net::SocketAddr;

use serde_json::Value;

use super::operator::Operator;
use super::*;
use crate::support::client::{post, post_as};
use crate::support::process::Process;
use crate::support::signed::token;
use crate::support::{transaction, until};

const SOURCES: &str = r#"
[sources.shop]
preset = "github"
secrets = "file:secret"
max_body_bytes = "1KiB"

[sources.limited]
preset = "github"
secrets = "file:secret"
requests_per_second = 1

[sources.off]
preset = "github"
secrets = "file:secret"
enabled = false

[sources.gone]
preset = "github"
secrets = "file:secret"
retired = true
"#;

/// What a source counts, with the last hour of the overview and the number of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    refused: u64,
    of_hour: u64,
    unavailable: u64,
}

impl Counts {
    async fn of(operator: &mut Operator, source: &str) -> Self {
        let overview = operator.get("overview").await;
        let mut sources = overview["sources"].as_array().unwrap().iter();
        let found = sources.find(|it| it["name"] == source).unwrap();
        let of_hour = found["series"]["refused"].as_array().unwrap().iter();
        Self {
            refused: found["refused"].as_u64().unwrap(),
            of_hour: of_hour.map(|it| it.as_u64().unwrap()).sum(),
            unavailable: found["unavailable"].as_u64().unwrap(),
        }
    }

    const fn refused(refused: u64) -> Self {
        Self {
            refused,
            of_hour: refused,
            unavailable: 0,
        }
    }
}

/// A server whose sources have numbers of the last hour.
struct Running {
    operator: Operator,
    addr: SocketAddr,
    _process: Process,
    _setup: Setup,
}

impl Running {
    async fn start() -> Self {
        let setup = Setup::new(SOURCES);
        let (token, digest) = token("operate").await;
        let args = ["--body-timeout-seconds=1", "--max-body-bytes=2048"];
        let mut process = setup.server(&args).env("API_TOKENS", &digest).start();
        let addr = process.listens().await;
        let client = Client::connect(addr).await;
        let mut operator = Operator { client, token };
        until("there are numbers of the last hour", async || {
            let overview = operator.get("overview").await;
            let mut sources = overview["sources"].as_array().unwrap().iter();
            sources.all(|it| it["series"].is_object())
        })
        .await;
        Self {
            operator,
            addr,
            _process: process,
            _setup: setup,
        }
    }

    /// The status of the answer to a request, which has a connection of its own.
    async fn status(&self, request: &[u8]) -> u16 {
        let mut client = Client::connect(self.addr).await;
        client.send_some(request).await;
        client.reply().await.status
    }
}

/// The requests that a source refuses, with the status that each gets.
fn refused_by_shop() -> Vec<(&'static str, Vec<u8>, u16)> {
    let sender = Sender::preset("shop", "github", SECRET);
    let forger = Sender::preset("shop", "github", OTHER_SECRET);
    let path = "/v1/webhooks/shop";
    let signed = String::from_utf8(sender.github("a", "{}")).unwrap();
    let changed = |from: &str, to: &str| signed.replace(from, to).into_bytes();
    let chunked = |chunks: &str| {
        let (head, _) = signed.split_once("\r\n\r\n").unwrap();
        let head = head.replace("Content-Length: 2", "Transfer-Encoding: chunked");
        format!("{head}\r\n\r\n{chunks}").into_bytes()
    };
    let unsigned = |method: &str, target: &str| {
        let none: [(&str, &str); 0] = [];
        request_of(method, target, &none, "{}")
    };
    let host = "Host: localhost\r\n";
    let long = "x".repeat(9_000);
    vec![
        ("a forged signature", forger.github("b", "{}"), 401),
        ("no signature", unsigned("POST", path), 401),
        ("another method", unsigned("PUT", path), 401),
        ("no host", changed(host, ""), 400),
        ("two hosts", changed(host, &host.repeat(2)), 400),
        (
            "a coding",
            changed("Content-Length: 2", "Transfer-Encoding: gzip, chunked"),
            501,
        ),
        (
            "a long target",
            unsigned("POST", &format!("{path}?{long}")),
            414,
        ),
        ("a long body", sender.github("c", "x".repeat(1_025)), 413),
        (
            "a long body in chunks",
            chunked(&format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1_025))),
            413,
        ),
        ("a body without a frame", chunked("zz\r\n"), 400),
        (
            "a slow body",
            signed.as_bytes()[..signed.len() - 1].to_vec(),
            408,
        ),
    ]
}

#[tokio::test]
async fn every_request_that_is_counted_as_refused_is_listed() {
    let mut server = Running::start().await;
    let mut cases: Vec<_> = refused_by_shop()
        .into_iter()
        .map(|(what, request, status)| ("shop", what, request, status))
        .collect();
    for (source, status) in [("off", 503), ("gone", 410)] {
        let sender = Sender::preset(source, "github", SECRET);
        cases.push((source, "any request", sender.github("a", "{}"), status));
    }
    for (source, what, request, status) in cases {
        let before = Counts::of(&mut server.operator, source).await;
        assert_eq!(server.status(&request).await, status, "{what}");
        let after = Counts::of(&mut server.operator, source).await;
        assert_eq!(after, Counts::refused(before.refused + 1), "{what}");
        let listed = server
            .operator
            .get(&format!("sources/{source}/refused"))
            .await;
        assert_eq!(listed["total"], after.refused, "{what}");
        let requests = listed["refused"].as_array().unwrap();
        assert_eq!(requests.len() as u64, after.refused, "{what}");
        assert_eq!(requests[0]["status"], status, "{what}: {listed}");
        assert!(
            requests[0]["reason"]
                .as_str()
                .is_some_and(|it| !it.is_empty()),
            "{what}: {listed}"
        );
        if source == "shop" && status != 401 {
            assert_eq!(requests[0]["body_bytes"], Value::Null, "{what}");
        }
    }
}

#[tokio::test]
async fn verified_deliveries_over_a_limit_are_counted_and_not_listed() {
    let mut server = Running::start().await;
    let operator = &mut server.operator;
    let sender = Sender::preset("limited", "github", SECRET);
    let mut unavailable = 0;
    for round in 0..20 {
        let reply = operator
            .client
            .ask(sender.github(&round.to_string(), "{}"))
            .await;
        if reply.status != 200 {
            reply.unavailable();
            unavailable += 1;
        }
    }
    let counts = Counts::of(operator, "limited").await;
    let expected = Counts {
        unavailable,
        ..Counts::refused(0)
    };
    assert_eq!(counts, expected);
    assert_eq!(operator.get("sources/limited/refused").await["total"], 0);
}

#[tokio::test]
async fn requests_over_the_limit_of_their_client_are_listed() {
    let setup = Setup::new(SOURCES);
    let (mut operator, _process) = Operator::start(&setup, &["--rate-limit-per-sender=1"]).await;
    let forger = Sender::preset("shop", "github", OTHER_SECRET);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(operator.client.ask(forger.github("a", "{}")).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    let mut listed = Value::Null;
    until("the operator is not over the limit", async || {
        let reply = operator
            .ask("GET", "/v1/operator/sources/shop/refused")
            .await;
        listed = reply.json();
        reply.status == 200
    })
    .await;
    let requests = listed["refused"].as_array().unwrap().iter().rev();
    let listed: Vec<_> = requests.map(|it| it["status"].as_u64().unwrap()).collect();
    assert_eq!(
        listed,
        statuses.into_iter().map(u64::from).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn each_refused_transaction_is_counted_once() {
    let mut server = Running::start().await;
    let whole = post(transaction("tx-1"));
    let mut refused = 0;
    for (what, request, status) in [
        ("no JSON", post("no JSON"), 400),
        ("a wrong field", post("{}"), 422),
        (
            "a wrong media type",
            post_as("Content-Type: text/plain\r\n", "{}"),
            415,
        ),
        ("a long body", post("x".repeat(2_049)), 413),
        ("a slow body", whole[..whole.len() - 1].to_vec(), 408),
        (
            "another method",
            b"GET /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            405,
        ),
        (
            "a coding",
            b"POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\n\
              Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
            501,
        ),
    ] {
        assert_eq!(server.status(&request).await, status, "{what}");
        refused += 1;
        let counts = Counts::of(&mut server.operator, "transaction").await;
        assert_eq!(counts, Counts::refused(refused), "{what}");
    }
}

#[tokio::test]
async fn requests_to_no_source_are_counted_nowhere() {
    let mut server = Running::start().await;
    let sender = Sender::preset("stranger", "github", SECRET);
    for (request, status) in [
        (sender.github("a", "{}"), 401),
        (sender.github("a", "x".repeat(3_000)), 413),
        (
            format!(
                "POST /v1/webhooks/shop HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
                "x".repeat(20_000)
            )
            .into_bytes(),
            431,
        ),
    ] {
        assert_eq!(server.status(&request).await, status);
    }
    for source in ["shop", "limited", "off", "gone", "transaction"] {
        let counts = Counts::of(&mut server.operator, source).await;
        assert_eq!(counts, Counts::refused(0), "{source}");
    }
}
