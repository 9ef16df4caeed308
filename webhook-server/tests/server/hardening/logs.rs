//! Text from clients cannot forge lines, fields or terminal commands in the log.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{Client, post, post_as};
use crate::support::process::webhook_server;
use crate::support::{in_time, secrets, suite, transaction};

use super::case::{chunk, delivery, get, get_with};

/// Ids that are allowed, and would be more than ids to a log that is written carelessly.
const IDS: [&str; 6] = [
    "a b",
    "x attempt=9 reason=none",
    r#"x" attempt="9"#,
    r#"x","level":"ERROR"#,
    "x\u{2028}2026-01-02T03:04:05Z ERROR forged",
    "x\u{202e}\u{200b}y",
];

/// All of the above, and what is refused, wherever a client can put it.
async fn forge(addr: std::net::SocketAddr) {
    let nasty = "\n2026-01-02T03:04:05Z ERROR forged\r\u{1b}[31m\u{9b}31m\u{7f}\0";
    let json = serde_json::to_string(nasty).unwrap();
    let mut client = Client::connect(addr).await;
    for id in IDS {
        client.post(transaction(id)).await.acknowledged("ACCEPTED");
        client
            .post(transaction(id).replace("1500.50", "99"))
            .await
            .acknowledged("CONFLICT");
    }
    client.post(transaction(nasty)).await.problem(422);
    let body = transaction("x").replace("\"x\"", &json);
    client
        .post(body.replace("transaction_id", nasty))
        .await
        .problem(400);
    let body = transaction("x").replace("EUR", "\\n\\u001b[31m");
    client.post(body).await.problem(422);
    let encoded = percent_encoding::utf8_percent_encode(nasty, percent_encoding::NON_ALPHANUMERIC);
    for target in [
        format!("/v1/transactions/{encoded}"),
        format!("/{encoded}?{encoded}"),
        "/\u{9b}31m\u{85}forged".to_owned(),
        "/\u{2028}forged\u{202e}".to_owned(),
    ] {
        client.ask(get(&target)).await.problem(404);
    }
    let bytes = "\u{9b}31m\u{85}\u{2028}";
    let headers =
        format!("Authorization: Bearer {bytes}\r\nUser-Agent: {bytes}\r\nHost2: {bytes}\r\n");
    assert_eq!(client.ask(get_with(&headers)).await.status, 200);
    let typed = post_as(&format!("Content-Type: {bytes}\r\n"), "{}");
    client.ask(typed).await.problem(415);
    for rest in [format!("zz{nasty}\r\n"), format!("1;{nasty}\r\n")] {
        let mut client = Client::connect(addr).await;
        let request = delivery("Transfer-Encoding: chunked\r\n", rest);
        client.ask(request).await.problem(400);
    }
    let mut client = Client::connect(addr).await;
    let trailers = [chunk("{}"), format!("0\r\nx: {nasty}\r\n\r\n").into_bytes()].concat();
    let request = delivery("Transfer-Encoding: chunked\r\n", trailers);
    client.ask(request).await.problem(400);
    for request in [
        nasty.to_owned(),
        get_with(&format!("x{nasty}: {nasty}\r\n")),
    ] {
        let mut client = Client::connect(addr).await;
        assert_eq!(client.ask(request).await.status, 400);
    }
    // Whole, and after all of it.
    let mut client = Client::connect(addr).await;
    client
        .ask(post(transaction("last")))
        .await
        .acknowledged("ACCEPTED");
}

#[tokio::test]
async fn lines_for_machines_cannot_be_forged() {
    let mut process =
        webhook_server(&["--processing-delay-seconds=0", "--log-level=trace"]).start();
    let addr = process.listens().await;
    forge(addr).await;
    let mut processed = Vec::new();
    for _ in 0..=IDS.len() {
        let line = process.logs("transaction processed").await;
        assert_eq!(line["level"], "INFO");
        processed.push(line["transaction_id"].as_str().unwrap().to_owned());
    }
    processed.retain(|id| id != "last");
    processed.sort();
    let mut ids = IDS;
    ids.sort_unstable();
    assert_eq!(processed, ids);
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    for line in &process.logged {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["level"], "ERROR", "{line}");
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line[name].is_string(), "{line}");
        }
    }
}

#[tokio::test]
async fn lines_for_people_cannot_be_forged() {
    let mut process =
        webhook_server(&["--processing-delay-seconds=0", "--log-level=trace"]).start_for_people();
    let addr = process.listens().await;
    forge(addr).await;
    let mut processed = 0;
    in_time("all transactions are processed", async {
        while processed <= IDS.len() {
            let line = process.next_line().await.unwrap();
            processed += usize::from(line.contains("transaction processed"));
            process.logged.push(line);
        }
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    for line in &process.logged {
        let mut words = line.split_whitespace();
        let time = words.next().unwrap_or_default();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        let level = words.next().unwrap_or_default();
        assert!(
            ["TRACE", "DEBUG", "INFO", "WARN"].contains(&level),
            "{line}"
        );
    }
    let log = process.logged.join("\n");
    for shown in [
        r#"transaction_id="a b""#,
        r#"transaction_id="x attempt=9 reason=none""#,
        r#"transaction_id="x\" attempt=\"9""#,
        r#"transaction_id="x\u{2028}2026-01-02T03:04:05Z ERROR forged""#,
        "transaction_id=last",
    ] {
        assert!(log.contains(shown), "{shown}: {log}");
    }
}

#[tokio::test]
async fn no_request_logs_a_secret() {
    for (scheme, secret) in suite::SCHEMES {
        let starter = webhook_server(&["--processing-delay-seconds=0"]);
        suite::run(starter, scheme, secret).await;
    }
}

/// Proves that what all the other tests rely on would be noticed.
#[tokio::test]
#[should_panic(expected = "shows a secret")]
async fn secret_in_a_log_fails_the_test() {
    secrets::keep("an id as if secret");
    let mut process = webhook_server(&["--processing-delay-seconds=0"]).start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("an id as if secret"))
        .await
        .acknowledged("ACCEPTED");
    process.logs("transaction processed").await;
    process.signal(Signal::TERM);
    process.ends().await;
}
