//! Whatever is wrong with a request, it is refused or kept, and the server goes on.

use std::time::{Duration, SystemTime};

use super::*;

const SOURCES: &str = r#"
[sources.github]
preset = "github"
secrets = "file:secret"

[sources.stripe]
preset = "stripe"
secrets = "file:secret"

[sources.form]
secrets = "file:secret"
scheme.token = { at = "header:x-token" }
id = "form:id"
event_type = "form:type"

[sources.deep]
secrets = "file:secret"
scheme.hmac = { signed = "{json:/a/0/b}", signature = { at = "json:/signature" } }
id = "json:/a/0/b"
"#;

#[tokio::test]
async fn wrong_signature_headers_are_refused_alike() {
    let setup = Setup::new(SOURCES);
    let server = serve(&setup);
    let good = String::from_utf8(Sender::of("github").github("a", "{}")).unwrap();
    let signature = good
        .lines()
        .find_map(|line| line.strip_prefix("x-hub-signature-256: "))
        .unwrap();
    let line = format!("x-hub-signature-256: {signature}\r\n");
    let other = signature.replace(['0', '1', '2'], "3");
    for wrong in [
        String::new(),
        "x-hub-signature-256:\r\n".to_owned(),
        "x-hub-signature-256: sha256=\r\n".to_owned(),
        format!("x-hub-signature-256: {}\r\n", &signature["sha256=".len()..]),
        format!("x-hub-signature-256: {other}\r\n"),
        format!(
            "x-hub-signature-256: {}\r\n",
            &signature[..signature.len() - 1]
        ),
        format!("x-hub-signature-256: {signature}0\r\n"),
        format!("x-hub-signature-256: {signature}, {signature}\r\n"),
        format!("x-hub-signature-256: sha256={}\r\n", "0".repeat(10_000)),
        format!("x-hub-signature-256: sha256={}\r\n", "\u{e9}".repeat(32)),
        format!("x-hub-signature: {signature}\r\n"),
        // Each value of the header counts, and none of these is right.
        format!("x-hub-signature-256: {other}\r\n").repeat(2),
        format!("x-hub-signature-256: {other}\r\n").repeat(50),
    ] {
        let request = good.replace(&line, &wrong);
        let mut client = Client::connect(server.addr()).await;
        let reply = client.ask(request).await;
        assert_eq!(reply.status, 401, "{wrong}");
        assert_refused(&reply);
    }
    let mut client = Client::connect(server.addr()).await;
    assert_stored(&client.ask(good).await);
    // A clock that is wrong, in both directions.
    let stripe = Sender::of("stripe");
    for (seconds, is_good) in [(200, true), (400, false), (1_000_000_000, false)] {
        for at in [
            SystemTime::now() - Duration::from_secs(seconds),
            SystemTime::now() + Duration::from_secs(seconds),
        ] {
            let reply = client.ask(stripe.delivery_at(at, &[], "{}")).await;
            if is_good {
                assert_stored(&reply);
            } else {
                assert_refused(&reply);
            }
        }
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be_are_kept_if_they_are_signed() {
    let setup = Setup::new(SOURCES);
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long_id = format!("{{\"id\":\"{}\"}}", "x".repeat(10_000));
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{\"id\":null}",
        "{\"id\":{}}",
        "{\"id\":\"\"}",
        "{\"id\":\"\\u0000\"}",
        "{\"id\":\"\\ud800\"}",
        "{\"id\":1,\"id\":2}",
        "\u{feff}{\"id\":\"bom\"}",
        &long_id,
        &deep,
    ] {
        let stripe = Sender::of("stripe");
        assert_stored(&client.ask(stripe.delivery(&[], body)).await);
        let headers = [
            ("x-token", SECRET),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let request = request_of("POST", "/v1/webhooks/form", &headers, body);
        assert_stored(&client.ask(request).await);
    }
    let headers = [
        ("x-token", SECRET),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    for (path, body) in [
        ("a%20b", "id=a+b&type=t"),
        ("%26", "id=%26"),
        ("c", "id=c&&=&%zz=%ff"),
    ] {
        let request = request_of("POST", "/v1/webhooks/form", &headers, body);
        assert_stored(&client.ask(request).await);
        let event = shown(&mut client, "form", path).await;
        assert_eq!(event["flaw"], serde_json::Value::Null, "{event}");
    }
    // Nothing of the rest is trusted before it is verified.
    let many = format!("{{\"a\":[{}]}}", "{},".repeat(50_000) + "{}");
    for body in [
        "",
        "{",
        "{\"a\":7}",
        "{\"a\":[]}",
        "{\"a\":{\"0\":{\"b\":\"x\"}}}",
        &deep,
        &many,
    ] {
        let none: [(&str, &str); 0] = [];
        let request = request_of("POST", "/v1/webhooks/deep", &none, body);
        assert_refused(&client.ask(request).await);
    }
}

#[tokio::test]
async fn bad_event_of_a_batch_is_kept_and_says_what_is_wrong() {
    let setup = Setup::new(
        r#"
        [sources.batches]
        secrets = "file:secret"
        scheme.token = { at = "header:x-token" }
        split = "/*"
        id = "json:/id"
        "#,
    );
    let (mut operator, _process) = super::operator::Operator::start(&setup, &[]).await;
    let body = r#"[{"id":"good"},{"no":"id"},7]"#;
    let request = request_of("POST", "/v1/webhooks/batches", &[("x-token", SECRET)], body);
    assert_stored(&operator.client.ask(request).await);
    crate::support::until("all are processed", async || {
        operator.get("status?source=batches").await["sources"][0]["processed"] == 3
    })
    .await;
    let listed = operator.get("events?source=batches&state=processed").await;
    let mut flaws = Vec::new();
    // The newest is the first.
    for event in listed["events"].as_array().unwrap().iter().rev() {
        let path = format!("/v1/events/batches/{}", event["key"].as_str().unwrap());
        let reply = operator.ask("GET", &path).await;
        flaws.push(reply.json()["flaw"].as_str().map(str::to_owned));
    }
    assert_eq!(flaws[0], None);
    assert!(flaws[1].is_some() && flaws[2].is_some(), "{flaws:?}");
}

/// Mailgun's and Adyen's signatures are in the JSON, which is read before anybody knows who sent it.
#[tokio::test]
async fn deeply_nested_documents_that_hold_their_signatures_are_refused_or_kept() {
    let hex = "0f".repeat(32);
    secrets::keep(&hex);
    let setup = Setup::new(
        r#"
        [sources.mailgun]
        preset = "mailgun"
        secrets = "file:secret"
        max_body_bytes = "1MiB"

        [sources.adyen]
        preset = "adyen"
        secrets = "file:hex"
        max_body_bytes = "1MiB"
        "#,
    );
    setup.files.write("hex", &hex);
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let deep = [
        "[".repeat(100_000) + &"]".repeat(100_000),
        r#"{"a":"#.repeat(20_000) + "1" + &"}".repeat(20_000),
        // It ends within.
        "[".repeat(100_000),
    ];
    for (name, secret, body, path) in [
        (
            "mailgun",
            SECRET,
            r#"{"signature":{"token":"t"},"event-data":{"id":"ID","deep":DEEP}}"#,
            "ID",
        ),
        (
            "adyen",
            &hex,
            r#"{"notificationItems":[{"NotificationRequestItem":{"pspReference":"ID","merchantAccountCode":"M","merchantReference":"R","amount":{"value":1,"currency":"EUR"},"eventCode":"CAPTURE","success":"true","deep":DEEP}}]}"#,
            "CAPTURE:ID:true",
        ),
    ] {
        let sender = Sender::preset(name, name, secret);
        let none: [(&str, &str); 0] = [];
        for (number, deep) in deep.iter().enumerate() {
            let id = format!("id-{number}");
            let body = body.replace("ID", &id);
            // Only the sender signs what has no end.
            let is_whole = deep.ends_with([']', '}']);
            let unsigned = body.replace("DEEP", deep);
            let request = request_of("POST", &format!("/v1/webhooks/{name}"), &none, &unsigned);
            assert_refused(&client.ask(request).await);
            if is_whole {
                let signed = sender.delivery(&[], &unsigned);
                // A busy machine may take longer than the server may.
                crate::support::until("it is stored", async || {
                    let reply = client.ask(&signed).await;
                    assert!([200, 503].contains(&reply.status), "{reply:?}");
                    reply.status == 200
                })
                .await;
                let event = shown(&mut client, name, &path.replace("ID", &id)).await;
                assert!(event["body_bytes"].as_u64().unwrap() > 100_000, "{event}");
            }
        }
    }
}
