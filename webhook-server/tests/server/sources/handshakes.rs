//! The requests by which senders check an address.

use super::*;

#[tokio::test]
async fn handshakes_are_answered_as_the_sender_wants_and_store_nothing() {
    let setup = Setup::new(
        r#"
        [sources.slack]
        preset = "slack"
        secrets = "file:secret"

        [sources.echo]
        preset = "github"
        secrets = { secret = "file:secret", verify_token = "file:secret" }
        handshakes = [
            { request = "query", parameter = "hub.challenge", token = "hub.verify_token" },
            { request = "probe", method = "HEAD" },
            { request = "cloud_events", allowed_origins = ["example.com"] },
        ]
        "#,
    );
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let slack = Sender::of("slack");
    let body = r#"{"type":"url_verification","challenge":"abc 123"}"#;
    let reply = client.ask(slack.delivery(&[], body)).await;
    assert_eq!((reply.status, reply.text()), (200, "abc 123"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    let none: [(&str, &str); 0] = [];
    assert_refused(
        &client
            .ask(request_of("POST", "/v1/webhooks/slack", &none, body))
            .await,
    );

    let target = |token: &str| {
        format!("/v1/webhooks/echo?hub.mode=subscribe&hub.challenge=42&hub.verify_token={token}")
    };
    let reply = client
        .ask(request_of("GET", &target(SECRET), &none, ""))
        .await;
    assert_eq!((reply.status, reply.text()), (200, "42"));
    let reply = client
        .ask(request_of("GET", &target("wrong"), &none, ""))
        .await;
    assert!([401, 403].contains(&reply.status), "{reply:?}");
    assert!(!reply.text().contains("42"));
    let reply = ask(
        &mut client,
        &request_of("HEAD", "/v1/webhooks/echo", &none, ""),
    )
    .await;
    assert_eq!(reply.status, 200);
    let origin = [("webhook-request-origin", "example.com")];
    let reply = client
        .ask(request_of("OPTIONS", "/v1/webhooks/echo", &origin, ""))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("webhook-allowed-origin"), Some("example.com"));
    let other = [("webhook-request-origin", "example.org")];
    let reply = client
        .ask(request_of("OPTIONS", "/v1/webhooks/echo", &other, ""))
        .await;
    assert_refused(&reply);
    // A source without this handshake.
    assert_refused(
        &client
            .ask(request_of(
                "GET",
                "/v1/webhooks/slack?challenge=1",
                &none,
                "",
            ))
            .await,
    );
}
