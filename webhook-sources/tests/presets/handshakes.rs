//! The requests that senders make to check an address.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use webhook_sources::{
    Outcome, Outgoing, Request, SecretLength, Secrets, Source, SourceOptions, preset,
};

const SECRET: &str = "shh-this-is-a-secret";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn source(name: &str, secrets: &[(&str, &str)]) -> Source {
    let options = SourceOptions {
        public_url: Some("https://example.com/hook".to_owned()),
        secret_length: SecretLength::Unchecked,
        ..SourceOptions::default()
    };
    let secrets = secrets.iter().fold(Secrets::new(), |all, (name, secret)| {
        all.with(name, *secret)
    });
    let spec = preset::get(name).unwrap().spec.clone();
    Source::new(spec, &secrets, options).unwrap_or_else(|problems| panic!("{name}: {problems:?}"))
}

/// The status, the content type and the body of the answer.
fn answered(source: &Source, request: &Request<'_>) -> (u16, String, String) {
    let answer = match source.receive(request, now()) {
        Outcome::Handshake(answer) => answer,
        Outcome::Refused(refusal) => refusal.answer,
        other => panic!("{other:?}"),
    };
    let mut types = answer
        .headers
        .iter()
        .filter(|(name, _)| *name == "content-type");
    let content_type = types
        .next()
        .map_or("", |(_, it)| it.split(';').next().unwrap_or_default());
    let body = String::from_utf8(answer.body.clone()).unwrap();
    (answer.status, content_type.to_owned(), body)
}

fn get(
    source: &Source,
    method: &str,
    target: &str,
    headers: &[(&str, &[u8])],
) -> (u16, String, String) {
    let request = Request {
        method,
        target,
        headers,
        body: b"",
    };
    answered(source, &request)
}

/// The answer to a JSON document that the sender signed, and to one that nobody signed.
fn post_json(source: &Source, body: &str) -> [(u16, String, String); 2] {
    let headers: &[(&str, &[u8])] = &[("content-type", b"application/json")];
    let request = Request {
        method: "POST",
        target: "/hook",
        headers,
        body: body.as_bytes(),
    };
    let signed = source
        .sign(
            &Outgoing {
                request,
                message_id: None,
            },
            now(),
        )
        .unwrap();
    let all: Vec<(&str, &[u8])> = signed
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    [
        answered(
            source,
            &Request {
                headers: &all,
                ..request
            },
        ),
        answered(source, &request),
    ]
}

fn text(body: &str) -> (u16, String, String) {
    (200, "text/plain".to_owned(), body.to_owned())
}

fn json(body: &str) -> (u16, String, String) {
    (200, "application/json".to_owned(), body.to_owned())
}

#[test]
fn meta_is_answered_with_its_challenge() {
    let meta = source("meta", &[("secret", SECRET), ("verify_token", "a token")]);
    let target = "/hook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=a+token";
    assert_eq!(get(&meta, "GET", target, &[]), text("1158201444"));
    let wrong = "/hook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=another";
    assert_eq!(get(&meta, "GET", wrong, &[]).0, 403);
}

#[test]
fn dropbox_is_answered_with_its_challenge() {
    let dropbox = source("dropbox", &[("secret", SECRET)]);
    assert_eq!(
        get(&dropbox, "GET", "/hook?challenge=abc123", &[]),
        text("abc123")
    );
}

#[test]
fn microsoft_graph_is_answered_with_its_token() {
    let graph = source("msgraph", &[("secret", SECRET)]);
    let target = "/hook?validationToken=Validation%3A+Testing+%2F+1";
    assert_eq!(
        get(&graph, "POST", target, &[]),
        text("Validation: Testing / 1")
    );
}

#[test]
fn x_is_answered_with_a_signature() {
    let x = source("x", &[("secret", SECRET)]);
    let answer = r#"{"response_token":"sha256=9ZgzgzFwgTeTjeAcWSix/FKE9WfzPpIvspzHRcnfyGw="}"#;
    assert_eq!(
        get(&x, "GET", "/hook?crc_token=challenge-token", &[]),
        json(answer)
    );
}

/// X signs deliveries with the key of its check of the address, so that an answer could be a signature.
#[test]
fn answers_to_x_are_no_signatures_of_deliveries() {
    let x = source("x", &[("secret", SECRET)]);
    let token = "/hook?crc_token=%7B%22for_user_id%22%3A%221%22%7D";
    assert_eq!(get(&x, "GET", token, &[]).0, 401);

    // A token that is answered is no body of a delivery.
    let (_, _, answer) = get(&x, "GET", "/hook?crc_token=12345", &[]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let signature = answer["response_token"].as_str().unwrap();
    let headers: &[(&str, &[u8])] = &[("x-twitter-webhooks-signature", signature.as_bytes())];
    let forged = Request {
        method: "POST",
        target: "/hook",
        headers,
        body: b"12345",
    };
    assert_eq!(answered(&x, &forged).0, 401);
}

#[test]
fn okta_is_answered_with_its_challenge() {
    let okta = source("okta", &[("secret", SECRET)]);
    let headers: &[(&str, &[u8])] = &[("X-Okta-Verification-Challenge", b"abc\"123")];
    assert_eq!(
        get(&okta, "GET", "/hook", headers),
        json(r#"{"verification":"abc\"123"}"#)
    );
}

#[test]
fn probes_are_answered() {
    let trello = source("trello", &[("secret", SECRET)]);
    assert_eq!(get(&trello, "HEAD", "/hook", &[]).0, 200);

    let woocommerce = source("woocommerce", &[("secret", SECRET)]);
    let headers: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
    let ping = Request {
        method: "POST",
        target: "/hook",
        headers,
        body: b"webhook_id=12",
    };
    assert_eq!(answered(&woocommerce, &ping).0, 200);
    let more = Request {
        body: b"webhook_id=12&order=1",
        ..ping
    };
    assert_eq!(answered(&woocommerce, &more).0, 401);
}

#[test]
fn cloudevents_are_allowed() {
    let cloudevents = source("cloudevents", &[("secret", SECRET)]);
    let headers: &[(&str, &[u8])] = &[("WebHook-Request-Origin", b"eventemitter.example.com")];
    let request = Request {
        method: "OPTIONS",
        target: "/hook",
        headers,
        body: b"",
    };
    let Outcome::Handshake(answer) = cloudevents.receive(&request, now()) else {
        panic!("no handshake");
    };
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .headers
            .iter()
            .any(|(name, _)| *name == "webhook-allowed-origin")
    );
}

#[test]
fn slack_is_answered_with_its_challenge() {
    let slack = source("slack", &[("secret", SECRET)]);
    let body = r#"{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let [signed, unsigned] = post_json(&slack, body);
    assert_eq!(
        signed,
        text("3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P")
    );
    assert_eq!(unsigned.0, 401);
}

#[test]
fn zoom_is_answered_with_its_token_and_a_signature() {
    let zoom = source("zoom", &[("secret", SECRET)]);
    let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1,"event":"endpoint.url_validation"}"#;
    let [signed, unsigned] = post_json(&zoom, body);
    let answer = r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"f5e00fa1d73f91b62e9ecae3429b69ffe29b01ba9b11b88b0eb914290219acef"}"#;
    assert_eq!(signed, json(answer));
    assert_eq!(unsigned.0, 401);
}
