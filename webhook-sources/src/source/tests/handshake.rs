//! Requests that check the address.

use super::{SECRET, Sent, post, received, refused, source, try_source};
use crate::outcome::RefusalReason;
use crate::{
    Answer, CONFIRMATION, MAX_HANDSHAKE_VALUE_BYTES, Outcome, Secrets, Source, SourceOptions,
    preset,
};

fn get(target: &str) -> Sent<'_> {
    Sent {
        method: "GET",
        target,
        headers: &[],
        body: "",
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Handshake(answer) => answer,
        other => panic!("no handshake: {other:?}"),
    }
}

fn body(outcome: Outcome) -> String {
    String::from_utf8(answer(outcome).body).unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.iter().filter(|(known, _)| *known == name);
    values.next().map(|(_, value)| value.as_str())
}

fn of_preset(name: &str, secrets: &Secrets) -> Source {
    let spec = preset::get(name).unwrap().spec.clone();
    Source::new(spec, secrets, SourceOptions::default()).unwrap()
}

#[test]
fn metas_challenge_is_echoed_with_the_right_token_only() {
    let secrets = Secrets::of([SECRET]).with("verify_token", "the verify token");
    let meta = of_preset("meta", &secrets);
    let right = "/?hub.mode=subscribe&hub.challenge=11%3C58&hub.verify_token=the+verify+token";
    let answered = answer(get(right).to(&meta));
    assert_eq!((answered.status, &*answered.body), (200, &b"11<58"[..]));
    assert_eq!(header(&answered, "content-type"), Some("text/plain"));
    let nosniff = header(&answered, "x-content-type-options");
    assert_eq!(nosniff, Some("nosniff"));
    for wrong in [
        "/?hub.challenge=1&hub.verify_token=another%20token",
        "/?hub.challenge=1&hub.verify_token=",
        "/?hub.challenge=1",
        "/?hub.challenge=1&hub.verify_token=the+verify+token&hub.verify_token=x",
    ] {
        let refusal = refused(get(wrong).to(&meta));
        assert_eq!(refusal.reason, RefusalReason::VerifyToken, "{wrong}");
        assert_eq!(refusal.answer.status, 403);
    }
    assert_eq!(refused(get("/").to(&meta)).reason, RefusalReason::Method);
}

#[test]
fn values_of_handshakes_are_short_and_printable() {
    let dropbox = of_preset("dropbox", &Secrets::of([SECRET]));
    let longest = format!("/?challenge={}", "x".repeat(MAX_HANDSHAKE_VALUE_BYTES));
    let echoed = body(get(&longest).to(&dropbox));
    assert_eq!(echoed.len(), MAX_HANDSHAKE_VALUE_BYTES);
    for wrong in [
        &format!("{longest}x"),
        "/?challenge=a%0Ab",
        "/?challenge=%00",
        "/?challenge=",
        "/?challenge=1&challenge=1",
    ] {
        let refusal = refused(get(wrong).to(&dropbox));
        assert!(
            matches!(refusal.reason, RefusalReason::HandshakeValue(_)),
            "{wrong}"
        );
        assert_eq!(refusal.answer.status, 401);
    }
}

#[test]
fn graphs_validation_token_is_echoed_on_post() {
    let graph = of_preset("msgraph", &Secrets::of([SECRET]));
    let sent = Sent {
        target: "/hooks?validationToken=Validation%3A+Testing%20x",
        ..post("")
    };
    assert_eq!(body(sent.to(&graph)), "Validation: Testing x");
    // A notification at the same address is no handshake.
    refused(Sent { body: "{}", ..sent }.to(&graph));
}

#[test]
fn challenge_of_x_is_answered_by_hmac() {
    let x = of_preset("x", &Secrets::of([SECRET]));
    let answered = answer(get("/?crc_token=challenge_1").to(&x));
    let content_type = header(&answered, "content-type");
    assert_eq!(content_type, Some("application/json"));
    // Computed by Python: base64.b64encode(hmac.digest(SECRET, b"challenge_1", "sha256")).
    assert_eq!(
        String::from_utf8(answered.body).unwrap(),
        r#"{"response_token":"sha256=05ZV+f9PDxuTcwe/zyXRljCKZoxSYksH7nEkaCAeF8U="}"#
    );
}

#[test]
fn braintrees_challenge_is_answered_with_the_public_key() {
    let settings = r#"
        [[handshakes]]
        request = "query"
        parameter = "bt_challenge"
        answer = { body = "{secret:public_key}|{mac}", hash = "sha1", key = "sha1_of_text" }
    "#;
    let secrets = Secrets::of([SECRET]).with("public_key", "integration_public_key");
    let braintree = try_source(settings, &secrets).unwrap();
    let challenge = get("/?bt_challenge=20f9f8ed05f77439fe955c977e4c8a53");
    // Computed by Python: hmac.digest(hashlib.sha1(SECRET).digest(), CHALLENGE, "sha1").hex().
    assert_eq!(
        body(challenge.to(&braintree)),
        "integration_public_key|26b3b56078e7911c620ff384628f800294923c9e"
    );
}

#[test]
fn slacks_challenge_is_echoed_once_it_is_verified() {
    let slack = source(
        r#"
        id = "json:/event_id"
        [[handshakes]]
        request = "json"
        pointer = "/type"
        equals = "url_verification"
        value = "/challenge"
        answer = {}
    "#,
    );
    let challenge = post(r#"{"type": "url_verification", "challenge": "3eZb\"Rw"}"#);
    assert_eq!(body(challenge.signed_to(&slack)), "3eZb\"Rw");
    refused(challenge.to(&slack));
    // Without a value to echo, it is stored like everything that the sender signs.
    received(&slack, post(r#"{"type": "url_verification"}"#));
    received(&slack, post(r#"{"type": "event_callback"}"#));
}

#[test]
fn zooms_token_is_answered_with_its_hmac() {
    let zoom = source(
        r#"
        [[handshakes]]
        request = "json"
        pointer = "/event"
        equals = "endpoint.url_validation"
        value = "/payload/plainToken"
        [handshakes.answer]
        content_type = "application/json"
        body = '{"plainToken":"{value}","encryptedToken":"{mac}"}'
    "#,
    );
    let sent =
        post(r#"{"event": "endpoint.url_validation", "payload": {"plainToken": "q\"{mac}"}}"#);
    // Computed by Python: hmac.digest(SECRET, b'q"{mac}', "sha256").hex().
    assert_eq!(
        body(sent.signed_to(&zoom)),
        r#"{"plainToken":"q\"{mac}","encryptedToken":"f1057364d693298ed1db4c589d3804a202c8393a308c0825eea28bff393de3f3"}"#
    );
}

#[test]
fn discords_pings_are_answered_by_their_type() {
    let discord = source(
        r#"
        [[handshakes]]
        request = "json"
        pointer = "/type"
        equals = "0"
        answer = { status = 204, content_type = "application/json", body = "" }
        [[handshakes]]
        request = "json"
        pointer = "/type"
        equals = "1"
        answer = { content_type = "application/json", body = '{"type":1}' }
    "#,
    );
    let ping = answer(post(r#"{"type": 0}"#).signed_to(&discord));
    assert_eq!((ping.status, ping.body.len()), (204, 0));
    assert_eq!(header(&ping, "content-type"), Some("application/json"));
    let interaction = post(r#"{"type": 1}"#);
    assert_eq!(body(interaction.signed_to(&discord)), r#"{"type":1}"#);
    refused(interaction.to(&discord));
}

#[test]
fn event_grids_code_is_echoed_unverified() {
    let event_grid = source(
        r#"
        split = "/*"
        id = "json:/id"
        [[handshakes]]
        request = "json"
        pointer = "/0/eventType"
        equals = "Microsoft.EventGrid.SubscriptionValidationEvent"
        value = "/0/data/validationCode"
        verified = false
        answer = { content_type = "application/json", body = '{"validationResponse":"{value}"}' }
    "#,
    );
    let sent = post(
        r#"[{"id": "1", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "data": {"validationCode": "512d38b6\\"}}]"#,
    );
    assert_eq!(
        body(sent.to(&event_grid)),
        r#"{"validationResponse":"512d38b6\\"}"#
    );
}

#[test]
fn oktas_header_is_echoed() {
    let okta = of_preset("okta", &Secrets::of([SECRET]));
    let sent = Sent {
        headers: &[
            ("X-Okta-Verification-Challenge", b"abc\"d"),
            ("authorization", SECRET.as_bytes()),
        ],
        ..get("/")
    };
    assert_eq!(body(sent.to(&okta)), r#"{"verification":"abc\"d"}"#);
}

#[test]
fn header_is_echoed_once_it_is_verified() {
    let verified = source(
        r#"
        [[handshakes]]
        request = "header"
        header = "X-Check"
        verified = true
        answer = {}
    "#,
    );
    let sent = Sent {
        headers: &[("x-check", b"1")],
        ..get("/")
    };
    refused(sent.to(&verified));
    assert_eq!(body(sent.signed_to(&verified)), "1");
    let other = refused(get("/").signed_to(&verified));
    assert_eq!(other.reason, RefusalReason::Method);
}

#[test]
fn senders_of_cloud_events_ask_for_their_origin() {
    let options = |source: &Source, origin: &[u8]| {
        let sent = Sent {
            method: "OPTIONS",
            headers: &[("WebHook-Request-Origin", origin)],
            ..post("")
        };
        sent.to(source)
    };
    let one = source(
        r#"
        [[handshakes]]
        request = "cloud_events"
        allowed_origins = ["events.example.com"]
        allowed_rate = 120
    "#,
    );
    let answered = answer(options(&one, b"Events.example.com"));
    assert_eq!(answered.status, 200);
    for (name, value) in [
        ("allow", "POST"),
        ("webhook-allowed-origin", "events.example.com"),
        ("webhook-allowed-rate", "120"),
    ] {
        assert_eq!(header(&answered, name), Some(value));
    }
    let refusal = refused(options(&one, b"evil.example"));
    assert_eq!(refusal.reason, RefusalReason::Origin);

    let any = of_preset("cloudevents", &Secrets::of([SECRET]));
    let answered = answer(options(&any, b"\xff"));
    for name in ["webhook-allowed-origin", "webhook-allowed-rate"] {
        assert_eq!(header(&answered, name), Some("*"));
    }
    let no_origin = Sent {
        method: "OPTIONS",
        ..post("")
    };
    assert_eq!(refused(no_origin.to(&any)).reason, RefusalReason::Method);
}

#[test]
fn probes_are_answered_by_200() {
    let probed = source(
        r#"
        [[handshakes]]
        request = "probe"
        method = "HEAD"
        [[handshakes]]
        request = "probe"
        method = "GET"
        [[handshakes]]
        request = "probe"
        method = "POST"
        form_field = "webhook_id"
    "#,
    );
    for method in ["HEAD", "GET"] {
        let sent = Sent { method, ..post("") };
        let answered = answer(sent.to(&probed));
        assert_eq!((answered.status, answered.body.len()), (200, 0));
        let with_query = Sent {
            target: "/?a",
            ..sent
        };
        let refusal = refused(with_query.to(&probed));
        assert_eq!(refusal.reason, RefusalReason::Method);
    }
    answer(post("webhook_id=7").to(&probed));
    for other in ["webhook_id=7&a=1", "a=1", "", "{}"] {
        refused(post(other).to(&probed));
        received(&probed, post(other));
    }
    assert_eq!(probed.methods(), ["POST", "HEAD", "GET"]);
}

#[test]
fn confirmation_is_an_event_with_a_url() {
    let sns = source(
        r#"
        id = "json:/MessageId"
        event_type = "json:/Type"
        [[handshakes]]
        request = "confirm"
        pointer = "/Type"
        equals = "SubscriptionConfirmation"
        url = "/SubscribeURL"
    "#,
    );
    let confirmation = |url: &str| {
        let body = format!(
            r#"{{"Type": "SubscriptionConfirmation", "MessageId": "1", "SubscribeURL": "{url}"}}"#
        );
        refused(post(&body).to(&sns));
        let event = received(&sns, post(&body)).events.remove(0);
        assert_eq!(event.id, "1");
        assert_eq!(event.event_type.as_deref(), Some(CONFIRMATION));
        event.confirm_url
    };
    let url = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription";
    assert_eq!(confirmation(url).as_deref(), Some(url));
    for url in ["http://example.com/", "javascript:1", "https://", "", "/"] {
        assert_eq!(confirmation(url), None);
    }
    let other = received(&sns, post(r#"{"Type": "Notification", "MessageId": "2"}"#));
    let event_type = other.events[0].event_type.as_deref();
    assert_eq!(event_type, Some("Notification"));
}
