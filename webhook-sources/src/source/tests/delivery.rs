//! Deliveries and their events.

use sha2::{Digest, Sha256};

use super::{SECRET, Sent, now, post, received, refused, source, try_source};
use crate::outcome::{Flaw, RefusalReason};
use crate::verification::{MacKey, Unverified};
use crate::{
    MAX_EVENTS, MAX_KEPT_HEADER_BYTES, MAX_KEPT_HEADERS, Outcome, Request, Secrets, Source,
};

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The ids, the bodies and the flaws of the events of `body`.
fn events<'b>(settings: &str, body: &'b str) -> Vec<(String, &'b str, Option<Flaw>)> {
    let received = received(&source(settings), post(body));
    let events = received.events.into_iter();
    events.map(|it| (it.id, &body[it.body], it.flaw)).collect()
}

#[test]
fn delivery_becomes_an_event_with_its_id_and_type() {
    let source = source(
        "id = 'json:/id'
        event_type = 'header:x-type'
        answer = { status = 202, content_type = 'text/plain', body = 'ok' }",
    );
    let body = r#" {"id": "evt_1"} "#;
    let sent = Sent {
        headers: &[("X-Type", b"charge.paid")],
        ..post(body)
    };
    let received = received(&source, sent);
    assert_eq!(received.events.len(), 1);
    let event = &received.events[0];
    assert_eq!((event.id.as_str(), event.flaw), ("evt_1", None));
    assert_eq!(event.event_type.as_deref(), Some("charge.paid"));
    assert_eq!(event.body, 0..body.len());
    assert_eq!((event.guard, event.confirm_url.as_deref()), (None, None));
    let answer = received.answer;
    assert_eq!((answer.status, answer.body.as_slice()), (202, &b"ok"[..]));
    assert_eq!(answer.headers, [("content-type", "text/plain".to_owned())]);
    assert_eq!(received.verified.secret_index, 0);
}

#[test]
fn unsigned_delivery_is_refused() {
    let source = source("");
    let refusal = refused(post("{}").to(&source));
    assert!(matches!(
        refusal.reason,
        RefusalReason::Unverified(Unverified::Missing { .. })
    ));
    let answer = refusal.answer;
    assert_eq!((answer.status, answer.headers.len()), (401, 0));
    let wrong = Sent {
        headers: &[("x-sig", b"00")],
        ..post("{}")
    };
    refused(wrong.to(&source));
}

#[test]
fn other_methods_are_refused() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "post", ""] {
        let sent = Sent {
            method,
            ..post("{}")
        };
        let refusal = refused(sent.signed_to(&source("")));
        assert_eq!(refusal.reason, RefusalReason::Method, "{method}");
    }
    let sent = Sent {
        method: "PUT",
        ..post("{}")
    };
    received(&source("methods = ['POST', 'PUT']"), sent);
}

#[test]
fn password_is_asked_for() {
    let secrets = Secrets::of(["user:a long password"]);
    let basic = try_source("scheme.basic = {}", &secrets).unwrap();
    let refusal = refused(post("{}").to(&basic));
    let (name, value) = &refusal.answer.headers[0];
    assert_eq!(*name, "www-authenticate");
    assert!(value.starts_with("Basic "), "{value}");
}

#[test]
fn event_without_an_id_is_kept_under_its_hash() {
    let of = |id: String, body, flaw| vec![(id, body, Some(flaw))];
    let id = "id = 'json:/id'";
    assert_eq!(events(id, "{}"), of(sha256("{}"), "{}", Flaw::NoId));
    assert_eq!(events(id, "a=1"), of(sha256("a=1"), "a=1", Flaw::NotJson));
    let long = format!(r#"{{"id": "{}"}}"#, "x".repeat(600));
    assert_eq!(
        events(id, &long),
        of(sha256(&"x".repeat(600)), &long, Flaw::UnusableId)
    );
}

#[test]
fn each_element_is_an_event() {
    let settings = "split = '/events/*'\nid = 'json:/id'\nevent_type = 'json:/type'";
    let body = r#"{"meta": 1, "events": [ {"id": 1, "type": "a"} , {"id": "2"},{"id": 1}, null, {"id":"\u0000"}]}"#;
    assert_eq!(
        events(settings, body),
        [
            ("1".to_owned(), r#"{"id": 1, "type": "a"}"#, None),
            ("2".to_owned(), r#"{"id": "2"}"#, None),
            ("1".to_owned(), r#"{"id": 1}"#, None),
            (sha256("null"), "null", Some(Flaw::NoId)),
            (sha256("\0"), r#"{"id":"\u0000"}"#, Some(Flaw::UnusableId)),
        ]
    );
    let received = received(&source(settings), post(body));
    let types: Vec<_> = received
        .events
        .into_iter()
        .map(|it| it.event_type)
        .collect();
    assert_eq!(types, [Some("a".to_owned()), None, None, None, None]);
}

#[test]
fn body_without_elements_is_one_event() {
    let settings = "split = '/events/*'\nid = 'json:/id'";
    for (body, flaw) in [
        (r#" {"id": "x"} "#, Flaw::NotSplit),
        (r#" {"events": []} "#, Flaw::NotSplit),
        (r#" {"events": {"a": 1}} "#, Flaw::NotSplit),
        ("[]", Flaw::NotSplit),
        ("", Flaw::NotJson),
        ("{", Flaw::NotJson),
    ] {
        let id = if body.contains('x') {
            "x".to_owned()
        } else {
            sha256(body)
        };
        assert_eq!(events(settings, body), [(id, body, Some(flaw))]);
    }
}

#[test]
fn nested_arrays_are_split_and_nothing_beside_is_lost() {
    let settings = "split = '/entry/*/changes/*/value/messages/*'\nid = 'json:/id'";
    let body = r#"{"entry": [
        {"changes": [{"value": {"messages": [{"id": "a"}, {"id": "b"}]}}, {"value": {"statuses": [1]}}]},
        {"id": "e", "changes": []},
        {"changes": [{"value": {"messages": [{"id": "c"}]}}]}
    ]}"#;
    let status = r#"{"value": {"statuses": [1]}}"#;
    let not_split = Some(Flaw::NotSplit);
    assert_eq!(
        events(settings, body),
        [
            ("a".to_owned(), r#"{"id": "a"}"#, None),
            ("b".to_owned(), r#"{"id": "b"}"#, None),
            (sha256(status), status, not_split),
            ("e".to_owned(), r#"{"id": "e", "changes": []}"#, not_split),
            ("c".to_owned(), r#"{"id": "c"}"#, None),
        ]
    );
}

#[test]
fn too_many_elements_are_one_event() {
    let settings = "split = '/*'\nid = 'json:'";
    let body = |count: usize| format!("[{}]", vec!["7"; count].join(","));
    assert_eq!(events(settings, &body(MAX_EVENTS)).len(), MAX_EVENTS);
    let all = body(MAX_EVENTS + 1);
    let found = events(settings, &all);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].1.len(), found[0].2),
        (all.len(), Some(Flaw::NotSplit))
    );
}

#[test]
fn guard_is_of_the_body_and_of_the_type_where_that_counts() {
    let by = |rule: &str| {
        let rules = "id = 'header:x-id'\nevent_type = 'header:x-type'";
        source(&format!("{rules}\nguard = '{rule}'"))
    };
    let guard = |source: &Source, id: &[u8], event_type: &[u8], body: &str| {
        let sent = Sent {
            headers: &[("x-id", id), ("x-type", event_type)],
            ..post(body)
        };
        received(source, sent).events[0].guard
    };
    let (body, both) = (by("body"), by("body_and_type"));
    for source in [&body, &both] {
        let one = guard(source, b"1", b"a", "{}");
        assert!(one.is_some());
        assert_eq!(guard(source, b"2", b"a", "{}"), one);
        assert_eq!(
            guard(source, b"1", b"b", "{}") == one,
            std::ptr::eq(source, &body)
        );
        assert_ne!(guard(source, b"1", b"a", "{ }"), one);
        assert_ne!(guard(source, b"1", b"a{", "}"), one);
    }
    assert_eq!(guard(&by("none"), b"1", b"a", "{}"), None);
}

#[test]
fn headers_that_the_rules_name_are_kept() {
    let source = source(
        "id = ['header:x-id', 'json:/a']
        event_type = 'header:x-type'
        keep_headers = ['X-More', 'x-id']",
    );
    let long = vec![b'x'; MAX_KEPT_HEADER_BYTES];
    let kept = |headers: &[(&str, &[u8])]| -> Vec<(String, Vec<u8>)> {
        let request = Request {
            method: "POST",
            target: "/",
            headers,
            body: b"",
        };
        let kept = source.kept_headers(&request).into_iter();
        kept.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let all = kept(&[
        ("x-MORE", b"1"),
        ("x-sig", b"2"),
        ("X-Id", b"\xff"),
        ("Content-Type", b"text/plain"),
        ("x-more", b"3"),
        ("x-type", b"t"),
    ]);
    let expected: [(&str, &[u8]); 5] = [
        ("content-type", b"text/plain"),
        ("x-id", b"\xff"),
        ("x-type", b"t"),
        ("x-more", b"1"),
        ("x-more", b"3"),
    ];
    assert_eq!(
        all,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(kept(&[("x-more", &long), ("x-id", b"1")]).len(), 1);
    assert_eq!(kept(&[("x-more", &b"1"[..]); 100]).len(), MAX_KEPT_HEADERS);
}

#[test]
fn message_id_that_the_scheme_signs_is_the_id() {
    let source = source(
        r#"
        id = "signed"
        [scheme.hmac]
        signed = "{id}.{body}"
        message_id = "header:x-id"
        signature = { at = "header:x-sig" }
        "#,
    );
    let key = MacKey::new(Default::default(), SECRET.as_bytes());
    let signature = hex::encode(key.tag([&b"msg_1.{}"[..]]).as_bytes());
    let request = Request {
        method: "POST",
        target: "/",
        headers: &[("x-id", b"msg_1"), ("x-sig", signature.as_bytes())],
        body: b"{}",
    };
    let Outcome::Received(received) = source.receive(&request, now()) else {
        panic!("it is signed");
    };
    assert_eq!(received.events[0].id, "msg_1");
}

#[test]
fn hash_leaves_out_what_is_ignored() {
    let settings = "split = '/*'\ncompare = { ignore = ['/attempt'] }";
    let id = |body| events(settings, body)[0].0.clone();
    let first = id(r#"[{"a": 1, "attempt": 1}]"#);
    assert_eq!(id(r#"[{"attempt": 2, "a": 1}]"#), first);
    assert_ne!(id(r#"[{"a": 2, "attempt": 1}]"#), first);
    let none = |body| events("compare = 'none'", body)[0].0.clone();
    assert_ne!(none("1"), none("2"));
}
