//! Errors in bodies: each gets its answer, and affects no other request. Errors in HTTP itself are in
//! `hardening`.

use serde_json::json;

use crate::serve::{config, serve};
use crate::support::client::{Client, post};
use crate::support::{transaction, with_amount};

/// One server, one connection: after every bad request it serves the next.
async fn client() -> Client {
    let server = serve(&config());
    Client::connect(server.addr()).await
}

/// Posts what is well-formed but wrong in one field, and asserts which and why.
async fn wrong_field(client: &mut Client, body: String, pointer: &str, detail: &str) {
    let reply = client.post(&body).await;
    reply.problem(422);
    let expected = json!([{"pointer": pointer, "detail": detail}]);
    assert_eq!(reply.json()["errors"], expected, "{body}");
}

#[tokio::test]
async fn truncated_json() {
    let mut client = client().await;
    let whole = transaction("tx-1");
    for end in (0..whole.len()).step_by(7) {
        client.post(&whole[..end]).await.problem(400);
    }
    client.post(&whole).await.acknowledged("ACCEPTED");
}

#[tokio::test]
async fn garbage_after_the_object() {
    let mut client = client().await;
    for garbage in ["x", "{}", "\0", ","] {
        client
            .post(transaction("tx-1") + garbage)
            .await
            .problem(400);
    }
    client
        .post(format!(" \r\n\t{}\n", transaction("tx-1")))
        .await
        .acknowledged("ACCEPTED");
}

#[tokio::test]
async fn a_byte_order_mark() {
    client()
        .await
        .post(format!("\u{feff}{}", transaction("tx-1")))
        .await
        .acknowledged("ACCEPTED");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8() {
    let mut client = client().await;
    let mut body = br#"{"note":"#.to_vec();
    body.extend_from_slice(b"\"\xff\xfe\"}");
    let detail = client.post(body).await.problem(400);
    assert_eq!(detail, "Malformed body: must be UTF-8; byte 10 is not");
}

#[tokio::test]
async fn duplicate_members() {
    let mut client = client().await;
    let body = transaction("tx-1").replacen('{', r#"{"amount":1,"#, 1);
    wrong_field(&mut client, body, "/amount", "appears more than once").await;
    let body = transaction("tx-1").replacen('{', r#"{"note":1,"note":2,"#, 1);
    client.post(body).await.acknowledged("ACCEPTED");
}

#[tokio::test]
async fn nul_and_other_controls_in_strings() {
    let mut client = client().await;
    for control in [r"\u0000", r"\u001f", r"\n", "\u{7f}", "\u{85}"] {
        let body = transaction("X").replace("\"X\"", &format!("\"a{control}b\""));
        let detail = "must not contain control characters";
        wrong_field(&mut client, body, "/transaction_id", detail).await;
    }
    client
        .post(transaction("X").replace('X', "a\0b"))
        .await
        .problem(400);
}

#[tokio::test]
async fn lone_surrogates() {
    let mut client = client().await;
    let body = transaction("X").replace("\"X\"", r#""\ud800""#);
    let detail = "must not contain a lone surrogate";
    wrong_field(&mut client, body, "/transaction_id", detail).await;
    let body = transaction("X").replacen('{', r#"{"\udfff":"\ud800","#, 1);
    client.post(body).await.acknowledged("ACCEPTED");
}

#[tokio::test]
async fn amounts_too_large_too_small_or_too_long() {
    let mut client = client().await;
    for (amount, detail) in [
        ("1e999999999", "must have at most 28 significant digits"),
        (
            "1234567890123456789012345678901234567890",
            "must have at most 28 significant digits",
        ),
        ("1e-400", "must have at most 28 decimal places"),
        ("0", "must be greater than 0"),
        ("-0", "must be greater than 0"),
        ("0.000", "must be greater than 0"),
        ("-1500.50", "must be greater than 0"),
        ("\"NaN\"", "must be a number or a decimal string"),
        ("\"Infinity\"", "must be a number or a decimal string"),
        ("\"+1\"", "must be a number or a decimal string"),
        ("\"1_000\"", "must be a number or a decimal string"),
        ("\"0x10\"", "must be a number or a decimal string"),
        ("\"\"", "must be a number or a decimal string"),
        ("true", "must be a number or a decimal string"),
        ("null", "must be a number or a decimal string"),
        ("{}", "must be a number or a decimal string"),
    ] {
        wrong_field(&mut client, with_amount("tx-1", amount), "/amount", detail).await;
    }
    for amount in [
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        ".5",
        "5.",
        "0x10",
    ] {
        client.post(with_amount("tx-1", amount)).await.problem(400);
    }
}

#[tokio::test]
async fn deep_nesting() {
    let mut client = client().await;
    let nested = |levels: usize| {
        let note = format!(r#"{{"note":{}{},"#, "[".repeat(levels), "]".repeat(levels));
        transaction("tx-1").replacen('{', &note, 1)
    };
    client.post(nested(127)).await.acknowledged("ACCEPTED");
    client.post(nested(128)).await.problem(400);
    client.post(nested(400_000)).await.problem(400);
    client.post("[".repeat(1 << 20)).await.problem(400);
}

#[tokio::test]
async fn chunked_bodies() {
    let mut client = client().await;
    let body = transaction("tx-1");
    let head = "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut request = head.to_owned();
    for chunk in body.as_bytes().chunks(10) {
        let text = std::str::from_utf8(chunk).unwrap();
        request.push_str(&format!("{:x};ext=1\r\n{text}\r\n", chunk.len()));
    }
    request.push_str("0\r\nTrailer: x\r\n\r\n");
    client.ask(request).await.acknowledged("ACCEPTED");
    client.ask(format!("{head}0\r\n\r\n")).await.problem(400);
    client.post(body).await.acknowledged("DUPLICATE");
    let reply = client.ask(format!("{head}zz\r\nbroken")).await;
    assert_eq!(reply.problem(400), "Body incomplete or badly framed");
    client.closed().await;
}

#[tokio::test]
async fn a_body_as_long_as_the_limit() {
    let mut config = config();
    config.max_body_bytes = 300_000;
    let server = serve(&config);
    let mut client = Client::connect(server.addr()).await;
    let padded = |id: &str, length: usize| {
        let body = transaction(id);
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    client
        .post(padded("fits", 300_000))
        .await
        .acknowledged("ACCEPTED");
    let reply = client.ask(post(padded("long", 300_001))).await;
    assert_eq!(reply.problem(413), "Body longer than 300000 bytes");
    assert_eq!(reply.header("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn bad_request_does_not_affect_other_requests() {
    let server = serve(&config());
    let mut good = Client::connect(server.addr()).await;
    for round in 0..20 {
        let mut bad = Client::connect(server.addr()).await;
        bad.send(
            [
                "\0\0\0\r\n\r\n",
                "GET",
                "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
            ][round % 3],
        )
        .await;
        good.post(transaction(&format!("tx-{round}")))
            .await
            .acknowledged("ACCEPTED");
    }
}
