//! What senders and everybody else are answered.

use super::*;

#[tokio::test]
async fn unknown_source_is_answered_as_a_wrong_signature_is() {
    let setup = Setup::new(
        r#"
        [sources.known]
        preset = "github"
        secrets = "file:secret"
        "#,
    );
    let server = serve(&setup);
    let forged = Sender::preset("known", "github", OTHER_SECRET).github("a", "{}");
    let long = Sender::preset("known", "github", OTHER_SECRET).github("a", "x".repeat(100_000));
    let none: [(&str, &str); 0] = [];
    let mut requests = vec![
        forged,
        long,
        request_of("POST", "/v1/webhooks/known", &none, "{}"),
    ];
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"] {
        requests.push(request_of(
            method,
            "/v1/webhooks/known?challenge=1",
            &none,
            "",
        ));
    }
    for request in requests {
        let text = String::from_utf8(request.clone()).unwrap();
        let first_line = text.lines().next().unwrap();
        let mut answers = Vec::new();
        for name in ["known", "other", "KNOWN", "no%20name"] {
            let request = text.replacen("/known", &format!("/{name}"), 1);
            // Each on a connection of its own, to see whether it is closed.
            let mut client = Client::connect(server.addr()).await;
            let reply = ask(&mut client, request.as_bytes()).await;
            assert_eq!(reply.status, 401, "{first_line}: {reply:?}");
            let headers = reply.headers.iter().filter(|(name, _)| name != "date");
            let headers: Vec<_> = headers.cloned().collect();
            answers.push((reply.version.clone(), headers, reply.body.clone()));
        }
        assert!(
            answers.iter().all(|it| *it == answers[0]),
            "{first_line}: {answers:#?}"
        );
    }
}

#[tokio::test]
async fn answers_are_those_that_the_sender_wants() {
    let setup = Setup::new(
        r#"
        [sources.plain]
        preset = "github"
        secrets = "file:secret"

        [sources.text]
        preset = "github"
        secrets = "file:secret"
        answer = { status = 202, content_type = "text/plain", body = "[accepted]" }
        refused_status = 498

        [sources.empty]
        preset = "github"
        secrets = "file:secret"
        answer = { status = 204 }
        refused_status = 400

        [sources.password]
        scheme.basic = {}
        secrets = "file:password"
        "#,
    );
    secrets::keep("hunter2-hunter2");
    setup.files.write("password", "ana:hunter2-hunter2");
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    for (name, status, media_type, body, refused) in [
        ("plain", 200, None, "", 401),
        ("text", 202, Some("text/plain"), "[accepted]", 498),
        ("empty", 204, None, "", 400),
    ] {
        let sender = Sender::preset(name, "github", SECRET);
        // New, duplicate and conflict are answered alike.
        for content in ["{}", "{}", "[]"] {
            let reply = client.ask(sender.github("a", content)).await;
            assert_eq!((reply.status, reply.text()), (status, body), "{name}");
            assert_eq!(reply.header("content-type"), media_type);
        }
        let forger = Sender::preset(name, "github", OTHER_SECRET);
        let reply = client.ask(forger.github("a", "{}")).await;
        assert_eq!(reply.problem(refused), "Signature missing or wrong");
        let challenge = (refused == 401).then_some("Webhook-Signature");
        assert_eq!(reply.header("www-authenticate"), challenge);
    }
    // A sender that sends its password only when it is asked for it.
    let none: [(&str, &str); 0] = [];
    let reply = client
        .ask(request_of("POST", "/v1/webhooks/password", &none, "{}"))
        .await;
    assert_eq!(reply.problem(401), "Signature missing or wrong");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Basic realm="), "{challenge}");
    let with_password = [("authorization", "Basic YW5hOmh1bnRlcjItaHVudGVyMg==")];
    let request = request_of("POST", "/v1/webhooks/password", &with_password, "{}");
    assert_stored(&client.ask(request).await);
}

#[tokio::test]
async fn source_that_is_turned_off_asks_its_sender_to_come_back_unless_it_is_retired() {
    let setup = Setup::new(
        r#"
        [sources.off]
        preset = "github"
        secrets = "file:secret"
        enabled = false

        [sources.gone]
        preset = "github"
        secrets = "file:secret"
        retired = true
        "#,
    );
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    for secret in [SECRET, OTHER_SECRET] {
        let reply = client
            .ask(Sender::preset("off", "github", secret).github("a", "{}"))
            .await;
        reply.unavailable();
        let reply = client
            .ask(Sender::preset("gone", "github", secret).github("a", "{}"))
            .await;
        assert_eq!(reply.problem(410), "Gone");
    }
}
