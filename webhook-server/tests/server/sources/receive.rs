//! Deliveries are verified, stored once, and kept as they came.

use super::*;

const TWO: &str = r#"
[sources.github]
preset = "github"
secrets = "file:secret"

[sources.stripe]
preset = "stripe"
secrets = "file:secret"

[sources.shop]
secrets = "file:secret"
scheme.token = { at = "header:x-shop-token" }
id = "json:/id"
event_type = "json:/type"
keep_headers = ["x-shop"]
"#;

#[tokio::test]
async fn each_source_stores_what_its_sender_signs_and_nothing_else() {
    let setup = Setup::new(TWO);
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let github = Sender::of("github");
    let stripe = Sender::of("stripe");
    for sender in [&github, &stripe] {
        let id = format!("{}-1", sender.name);
        let headers = [
            ("x-github-delivery", id.as_str()),
            ("x-github-event", "push"),
        ];
        let body = format!(r#"{{"id":"{id}","type":"push","n":1}}"#);
        let other = body.replace('1', "2");
        // New, and again, and with other content.
        assert_stored(&client.ask(sender.delivery(&headers, &body)).await);
        assert_stored(&client.ask(sender.delivery(&headers, &body)).await);
        let conflict = body.replace("\"n\":1", "\"n\":7");
        assert_stored(&client.ask(sender.delivery(&headers, &conflict)).await);
        let event = shown(&mut client, &sender.name, &id).await;
        assert_eq!(event["event_type"], "push");
        assert_eq!(event["duplicate_conflict_count"], 1, "{event}");
        assert_eq!(event["body_bytes"], body.len());
        // Forged: another body, another secret, a signature of another source, and none.
        let mut forged = sender.delivery(&headers, &body);
        let at = forged.len() - 3;
        forged[at] = b'9';
        assert_refused(&client.ask(forged).await);
        let name = sender.name.as_str();
        let forger = Sender::preset(name, name, OTHER_SECRET);
        assert_refused(&client.ask(forger.delivery(&headers, &other)).await);
        let wrong = if name == "github" { "stripe" } else { "github" };
        let wrong = Sender::preset(name, wrong, SECRET);
        assert_refused(&client.ask(wrong.delivery(&headers, &other)).await);
        let target = format!("/v1/webhooks/{name}");
        assert_refused(
            &client
                .ask(request_of("POST", &target, &headers, &other))
                .await,
        );
        let id = id.replace('1', "2");
        client
            .get(&format!("/v1/events/{name}/{id}"))
            .await
            .problem(404);
    }
}

#[tokio::test]
async fn same_id_of_two_sources_is_two_events() {
    let setup = Setup::new(TWO);
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let shop = request_of(
        "POST",
        "/v1/webhooks/shop",
        &[("x-shop-token", SECRET)],
        r#"{"id":"same","type":"a"}"#,
    );
    assert_stored(&client.ask(&shop).await);
    let stripe = Sender::of("stripe").delivery(&[], r#"{"id":"same"}"#);
    assert_stored(&client.ask(&stripe).await);
    assert_eq!(shown(&mut client, "shop", "same").await["body_bytes"], 24);
    assert_eq!(shown(&mut client, "stripe", "same").await["body_bytes"], 13);
}

#[tokio::test]
async fn any_media_type_is_kept_with_the_headers_that_the_source_names() {
    let setup = Setup::new(TWO);
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    for (id, media_type, body) in [
        (
            "a",
            Some("application/x-www-form-urlencoded"),
            &b"payload=%7B%7D"[..],
        ),
        ("b", Some("text/plain"), b"\x00\xff\r\n"),
        ("c", None, b""),
        ("d", Some("application/json"), b"{\"unfinished"),
        ("e", Some("multipart/form-data; boundary=x"), b"--x--"),
    ] {
        let mut headers = vec![
            ("x-github-delivery", id),
            ("x-github-hook-id", "7"),
            ("x-other", "no"),
        ];
        headers.extend(media_type.map(|it| ("content-type", it)));
        headers.push(("content-encoding", "gzip"));
        assert_stored(
            &client
                .ask(Sender::of("github").delivery(&headers, body))
                .await,
        );
        let event = shown(&mut client, "github", id).await;
        assert_eq!(event["body_bytes"], body.len(), "{event}");
        let names: Vec<_> = event["headers"].as_array().unwrap().iter().collect();
        let names: Vec<_> = names
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert!(
            names.contains(&"x-github-hook-id") && !names.contains(&"x-other"),
            "{names:?}"
        );
        assert_eq!(names.contains(&"content-type"), media_type.is_some());
    }
}

#[tokio::test]
async fn long_bodies_have_the_limit_of_their_source() {
    let setup = Setup::new(
        r#"
        [sources.github]
        preset = "github"
        secrets = "file:secret"
        max_body_bytes = "200KiB"
        "#,
    );
    let server = serve(&setup);
    let github = Sender::of("github");
    let mut client = Client::connect(server.addr()).await;
    let long = "x".repeat(200 * 1024);
    assert_stored(&client.ask(github.github("long", &long)).await);
    assert_eq!(
        shown(&mut client, "github", "long").await["body_bytes"],
        long.len()
    );
    let forger = Sender::preset("github", "github", OTHER_SECRET);
    assert_refused(&client.ask(forger.github("forged", &long)).await);
    client.send_some(github.github("longer", long + "x")).await;
    let reply = client.reply().await;
    assert_eq!(reply.problem(413), "Body longer than 204800 bytes");
}

#[tokio::test]
async fn longest_body_of_a_source_fits_whatever_the_limit_of_all_bodies_is() {
    let limits = "max_body_bytes = \"600KiB\"\nmax_queued_bytes = \"600KiB\"";
    let source =
        format!("[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\n{limits}\n");
    let setup = Setup::new(&source);
    let mut config = setup.config();
    config.max_queued_bytes = 1 << 20;
    let server = crate::serve::serve(&config);
    let mut client = Client::connect(server.addr()).await;
    let long = "x".repeat(600 * 1024);
    assert_stored(&client.ask(Sender::of("github").github("long", &long)).await);
}

#[tokio::test]
async fn copy_of_a_delivery_under_another_id_is_a_duplicate() {
    let setup = Setup::new(TWO);
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    // The signature covers the body only, so that anybody who has seen it can change the id.
    let headers = [("x-github-delivery", "first"), ("x-github-event", "push")];
    let seen = String::from_utf8(Sender::of("github").delivery(&headers, "{}")).unwrap();
    assert_stored(&client.ask(&seen).await);
    assert_stored(&client.ask(seen.replace("first", "other")).await);
    client.get("/v1/events/github/other").await.problem(404);
    let first = shown(&mut client, "github", "first").await;
    assert_eq!(first["duplicate_conflict_count"], 0, "{first}");
}

#[tokio::test]
async fn confirmation_is_stored_for_the_operator_to_see() {
    let setup = Setup::new(
        r#"
        [sources.topics]
        preset = "github"
        secrets = "file:secret"
        handshakes = [{ request = "confirm", pointer = "/type", equals = "confirm", url = "/url" }]
        "#,
    );
    let mut process = setup.server(&[]).start();
    let mut client = Client::connect(process.listens().await).await;
    let sender = Sender::preset("topics", "github", SECRET);
    let body =
        r#"{"type":"confirm","url":"https://example.com/?token=hidden-until-it-is-visited"}"#;
    secrets::keep("hidden-until-it-is-visited");
    assert_stored(&client.ask(sender.github("a", body)).await);
    let event = shown(&mut client, "topics", "a").await;
    assert_eq!(event["event_type"], webhook_sources::CONFIRMATION);
    let line = process
        .logs("the sender asks to be confirmed: show this event, and visit the URL in it if you asked for it")
        .await;
    assert_eq!(
        (&line["source"], &line["id"]),
        (&"topics".into(), &"a".into())
    );
}

#[tokio::test]
async fn http_1_0_is_served() {
    let setup = Setup::new(TWO);
    let server = serve(&setup);
    let request = Sender::of("github").github("old", "{}");
    let request = String::from_utf8(request).unwrap();
    let request = request.replace("HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.0\r\n");
    let mut client = Client::connect(server.addr()).await;
    assert_stored(&client.ask(request).await);
}

#[tokio::test]
async fn events_of_one_request_are_stored_separately() {
    let setup = Setup::new(
        r#"
        [sources.batches]
        secrets = "file:secret"
        scheme.token = { at = "header:x-shop-token" }
        split = "/events/*"
        id = "json:/id"
        event_type = "json:/type"
        "#,
    );
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let post = |body: &str| {
        request_of(
            "POST",
            "/v1/webhooks/batches",
            &[("x-shop-token", SECRET)],
            body,
        )
    };
    // One of them has no id: it is kept as well, and says what is wrong.
    let body = r#"{"events":[{"id":"a"},{"id":"b","more":true},{"type":"bad"},{"id":"a"}]}"#;
    assert_stored(&client.ask(post(body)).await);
    assert_eq!(shown(&mut client, "batches", "a").await["body_bytes"], 10);
    assert_eq!(shown(&mut client, "batches", "b").await["body_bytes"], 22);
    // The longest batch; a longer one is kept as one event.
    let many: Vec<_> = (0..5_000)
        .map(|id| format!(r#"{{"id":"many-{id}"}}"#))
        .collect();
    let body = format!(r#"{{"events":[{}]}}"#, many.join(","));
    assert_stored(&client.ask(post(&body)).await);
    for id in ["many-0", "many-4999"] {
        assert_eq!(
            shown(&mut client, "batches", id).await["flaw"],
            serde_json::Value::Null
        );
    }
    let longer = body.replacen('[', r#"[{"id":"one-more"},"#, 1);
    assert_stored(&client.ask(post(&longer)).await);
    client.get("/v1/events/batches/one-more").await.problem(404);
    for odd in [r#"{"events":[]}"#, r#"{"events":7}"#, "no JSON at all", ""] {
        assert_stored(&client.ask(post(odd)).await);
    }
}

#[tokio::test]
async fn without_a_configuration_file_there_are_no_sources() {
    let server = crate::serve::serve(&crate::serve::config());
    let mut client = Client::connect(server.addr()).await;
    let request = Sender::of("github").github("a", "{}");
    assert_eq!(client.ask(request).await.problem(404), "Not found");
    client.get("/v1/events/github/a").await.problem(404);
}
