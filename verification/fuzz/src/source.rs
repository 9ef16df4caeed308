//! Fuzzes sources: requests that are made up, and the same ones with a signature.

mod sources;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use webhook_sources::spec::Guard;
use webhook_sources::{
    Answer, Flaw, MAX_EVENTS, MAX_HANDSHAKE_VALUE_BYTES, MAX_ID_BYTES, MAX_KEPT_HEADER_BYTES,
    MAX_KEPT_HEADERS, Outcome, Outgoing, Received, RefusalReason, Request, Source,
};

use crate::lines::Lines;
use sources::SOURCES;

const METHODS: [&str; 8] = [
    "POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "post",
];

/// Checks that each request becomes events within its body, a bounded answer to a handshake, or a refusal;
/// and that what the sender signs is never refused.
///
/// The input begins with a byte that chooses the source, and one for the method. Text follows: the target on
/// a line, and header lines up to an empty one. The rest is the body.
pub fn source(input: &[u8]) {
    let Some((&[source, method], text)) = input.split_first_chunk() else {
        return;
    };
    let source = &SOURCES[usize::from(source) % SOURCES.len()];
    let mut lines = Lines::new(text);
    let target = String::from_utf8_lossy(lines.next_line()).into_owned();
    let made_up = lines.headers();
    let headers: Vec<(&str, &[u8])> = made_up
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let request = Request {
        method: METHODS[usize::from(method) % METHODS.len()],
        target: &target,
        headers: &headers,
        body: lines.rest(),
    };
    check(source, &request);
    check_signed(source, &request);
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Checks what `request` is received as.
fn check(source: &Source, request: &Request<'_>) -> Outcome {
    let outcome = source.receive(request, now());
    match &outcome {
        Outcome::Received(received) => check_received(source, request, received),
        Outcome::Handshake(answer) => check_handshake(answer),
        Outcome::Refused(refusal) => {
            let status = refusal.answer.status;
            let is_wrong_token = refusal.reason == RefusalReason::VerifyToken && status == 403;
            let is_without_key = refusal.missing_key().is_some() && status == 503;
            assert!(
                is_wrong_token || is_without_key || status == source.spec().refused_status,
                "{refusal:?}"
            );
            assert!(!refusal.reason.to_string().is_empty());
        }
        other => panic!("{other:?}"),
    }
    // The head alone must be refused only where the request is refused, and for the same reason.
    let head = Request {
        body: b"",
        ..*request
    };
    if let Err(refused) = source.check_head(&head, now()) {
        assert_eq!(outcome, Outcome::Refused(refused));
    }
    let kept = source.kept_headers(request);
    let bytes: usize = kept
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(kept.len() <= MAX_KEPT_HEADERS && bytes <= MAX_KEPT_HEADER_BYTES);
    outcome
}

fn check_received(source: &Source, request: &Request<'_>, received: &Received) {
    let events = &received.events;
    assert!((1..=MAX_EVENTS).contains(&events.len()));
    let mut last = 0;
    for event in events {
        assert!(last <= event.body.start && event.body.start <= event.body.end);
        last = event.body.end;
        assert!(is_name(&event.id), "{event:?}");
        assert!(event.event_type.as_deref().is_none_or(is_name), "{event:?}");
        assert_eq!(event.guard.is_some(), source.spec().guard != Guard::None);
        let url = event.confirm_url.as_deref();
        assert!(url.is_none_or(|url| url.to_ascii_lowercase().starts_with("https://")));
    }
    assert!(last <= request.body.len());
    let is_whole = events[0].body == (0..request.body.len());
    assert!(is_whole || source.spec().split.is_some());
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(request.body).is_ok();
    if source.spec().split.is_some() && !is_json && events[0].confirm_url.is_none() {
        assert_eq!(events[0].flaw, Some(Flaw::NotJson));
    }
}

/// Returns whether an id or the type of an event may be so.
fn is_name(name: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&name.len()) && !name.contains(char::is_control)
}

/// Checks that an answer is short, and that no browser takes it for a page.
fn check_handshake(answer: &Answer) {
    assert!((200..300).contains(&answer.status));
    // An escape makes six bytes of one.
    assert!(answer.body.len() <= 6 * MAX_HANDSHAKE_VALUE_BYTES + 1_000);
    let of = |wanted: &str| {
        let mut values = answer.headers.iter().filter(|(name, _)| *name == wanted);
        values.next().map(|(_, value)| value.as_str())
    };
    if !answer.body.is_empty() {
        assert!(matches!(
            of("content-type"),
            Some("text/plain" | "application/json")
        ));
        assert_eq!(of("x-content-type-options"), Some("nosniff"));
    }
    if of("content-type") == Some("application/json") && !answer.body.is_empty() {
        let json = serde_json::from_slice::<serde_json::Value>(&answer.body);
        assert!(json.is_ok(), "{answer:?}");
    }
    for (name, value) in &answer.headers {
        assert!(
            value.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{name}: {value}"
        );
    }
}

/// Checks that a delivery with a signature is received.
fn check_signed(source: &Source, request: &Request<'_>) {
    let outgoing = Outgoing {
        request: *request,
        message_id: Some("msg_1"),
    };
    // The body may have no place for a signature.
    let Ok(signed) = source.sign(&outgoing, now()) else {
        return;
    };
    let is_replaced = |known: &str| {
        let mut names = signed.headers.iter().map(|(name, _)| name);
        names.any(|name| name.eq_ignore_ascii_case(known))
    };
    let others = request
        .headers
        .iter()
        .filter(|(name, _)| !is_replaced(name));
    let added = signed
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers: Vec<(&str, &[u8])> = others.copied().chain(added).collect();
    let request = Request {
        method: request.method,
        target: &signed.target,
        headers: &headers,
        body: &signed.body,
    };
    let outcome = check(source, &request);
    let is_delivery = source.spec().methods.iter().any(|it| it == request.method);
    if let Outcome::Refused(refusal) = outcome {
        let is_handshake = matches!(
            refusal.reason,
            RefusalReason::VerifyToken
                | RefusalReason::HandshakeValue(_)
                | RefusalReason::Origin
                // What it signs is what a handshake signs.
                | RefusalReason::Challenge
        );
        assert!(
            is_handshake || !is_delivery,
            "{}: {request:?}",
            refusal.reason
        );
    }
}
