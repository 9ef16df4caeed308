//! Builds the request of an event.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};
use webhook_core::{Headers, Key, Kind, RawEvent, TraceParent};

use crate::destination::Destination;

/// The largest size of the headers of a request, in bytes, unless those of the sender and of the
/// destination are larger alone. Many servers refuse more.
const MAX_REQUEST_HEADERS_BYTES: usize = 8 * 1024;

/// The bytes of an event's id that are part of `webhook-id`.
const ID_BYTES: usize = 20;

/// What is percent-encoded in values of headers: everything but visible ASCII, and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

const USER_AGENT_VALUE: &str = concat!("webhook-forward/", env!("CARGO_PKG_VERSION"));

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const SOURCE: HeaderName = HeaderName::from_static("inbox-source");
const KEY: HeaderName = HeaderName::from_static("inbox-key");
const TYPE: HeaderName = HeaderName::from_static("inbox-type");
const RECEIVED_AT: HeaderName = HeaderName::from_static("inbox-received-at");
const ATTEMPT: HeaderName = HeaderName::from_static("inbox-attempt");
const TRIGGER: HeaderName = HeaderName::from_static("inbox-trigger");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers that are left out, the longest first, if the headers are too large.
const OPTIONAL: [HeaderName; 6] = [SOURCE, KEY, TYPE, RECEIVED_AT, ATTEMPT, TRIGGER];

/// Why a request is made: the value of its header `inbox-trigger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// The event is due, and this is its first attempt, or the first one after a requeue.
    Schedule,
    /// An earlier attempt failed.
    Retry,
    /// An operator sends a copy of an event.
    Replay,
    /// Somebody tests the destination.
    Test,
}

impl Trigger {
    /// Returns the trigger as text, such as `retry`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Retry => "retry",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }

    /// The trigger of an attempt, as far as its number tells.
    pub(crate) fn of_attempt(event: &RawEvent) -> Self {
        match event.attempt().number() {
            1 => Self::Schedule,
            _ => Self::Retry,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the id of an event for receivers: `evt_` and 40 hexadecimal digits. It depends on the kind and
/// the key only, so every attempt has it, also after a requeue, and in another store.
pub fn webhook_id(kind: &Kind, key: &Key) -> String {
    let digest = Sha256::new()
        .chain_update(kind.as_str())
        .chain_update([0])
        .chain_update(key.as_str())
        .finalize();
    format!("evt_{}", hex::encode(&digest[..ID_BYTES]))
}

/// Builds the request that forwards `event` at the time `now`.
pub(crate) fn build(
    destination: &Destination,
    event: &RawEvent,
    trigger: Trigger,
    now: SystemTime,
) -> Request<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    if event.body.is_empty() {
        // hyper leaves it out then, and some servers answer a POST without it with 411.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    pass(&mut headers, &event.headers, &CONTENT_TYPE);
    for name in &destination.pass_headers {
        pass(&mut headers, &event.headers, name);
    }
    destination.put_headers(&mut headers);

    let id = webhook_id(&event.kind, &event.key);
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = destination.keys.sign(&id, timestamp, &event.body);
    let event_type = event.event_type.as_ref();
    let attempt = format!("{}/{}", event.attempt(), event.max_attempts);
    let own = [
        (WEBHOOK_ID, Some(id)),
        (WEBHOOK_TIMESTAMP, Some(timestamp.to_string())),
        (WEBHOOK_SIGNATURE, signature),
        (SOURCE, Some(event.kind.as_str().to_owned())),
        (KEY, Some(encoded(event.key.as_str()))),
        (TYPE, event_type.map(|it| encoded(it.as_str()))),
        (RECEIVED_AT, rfc3339(event.accepted_at)),
        (ATTEMPT, Some(attempt)),
        (TRIGGER, Some(trigger.as_str().to_owned())),
        (TRACEPARENT, traceparent(&event.headers)),
    ];
    for (name, value) in own {
        // All of them are visible ASCII.
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    limit(&mut headers);

    let mut request = Request::new(event.body.clone());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = destination.url.clone();
    *request.headers_mut() = headers;
    request
}

/// Passes all values of a header of the sender.
fn pass(headers: &mut HeaderMap, stored: &Headers, name: &HeaderName) {
    headers.remove(name);
    for value in stored.get_all(name.as_str()) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
}

/// Leaves out optional headers while there are too many bytes, the longest first.
fn limit(headers: &mut HeaderMap) {
    let size = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 4;
    let bytes = |headers: &HeaderMap| -> usize {
        let sizes = headers.iter().map(|(name, value)| size(name, value));
        sizes.sum()
    };
    while bytes(headers) > MAX_REQUEST_HEADERS_BYTES {
        let optional = OPTIONAL
            .into_iter()
            .filter_map(|name| Some((headers.get(&name)?.len(), name)));
        let Some((_, longest)) = optional.max_by_key(|(length, _)| *length) else {
            return;
        };
        headers.remove(longest);
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// In UTC, with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(format!("{time:.3}"))
}

/// Returns the stored `traceparent` if it is valid.
fn traceparent(headers: &Headers) -> Option<String> {
    let text = headers.get_str("traceparent")?;
    TraceParent::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use webhook_core::EventType;

    use super::*;
    use crate::signing::SigningKeys;

    const KIND: Kind = Kind::from_static("stripe");

    fn key(key: &str) -> Key {
        Key::new(key).unwrap()
    }

    fn event_type(text: &str) -> EventType {
        EventType::new(text).unwrap()
    }

    fn destination() -> Destination {
        Destination::new("http://user.test/hooks?a=b".parse().unwrap())
    }

    fn event(headers: &[(&str, &str)]) -> RawEvent {
        RawEvent::raw(KIND, &b"\xff\0{}"[..])
            .with_key(key("evt 1"))
            .with_headers(Headers::try_from_iter(headers.iter().copied()).unwrap())
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn headers(destination: &Destination, event: &RawEvent) -> Vec<(String, String)> {
        let request = build(
            destination,
            event,
            Trigger::of_attempt(event),
            at(1_700_000_000_000),
        );
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers().iter();
        headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    fn value(destination: &Destination, event: &RawEvent, name: &str) -> Option<String> {
        let headers = headers(destination, event);
        headers
            .into_iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn the_request_is_built_and_not_copied() {
        let keys: SigningKeys = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let destination = destination().with_keys(keys.clone());
        let event = event(&[
            ("Content-Type", "application/json; charset=utf-8"),
            ("Authorization", "Basic c2VjcmV0"),
            ("Cookie", "a=b"),
            ("Stripe-Signature", "t=1,v1=00"),
        ])
        .with_event_type(event_type("charge failed"))
        .with_accepted_at(at(1_699_999_999_012))
        .of_attempts(13)
        .on_attempt(3);
        let request = build(&destination, &event, Trigger::Retry, at(1_700_000_000_999));
        assert_eq!(
            (request.method(), request.uri()),
            (&Method::POST, &destination.url)
        );
        assert_eq!(request.body(), &event.body);
        let id = webhook_id(&KIND, &event.key);
        let signature = keys.sign(&id, 1_700_000_000, &event.body).unwrap();
        let mut built = headers(&destination, &event);
        built.sort();
        let expected = [
            ("content-type", "application/json; charset=utf-8"),
            ("inbox-attempt", "3/13"),
            ("inbox-key", "evt%201"),
            ("inbox-received-at", "2023-11-14T22:13:19.012Z"),
            ("inbox-source", "stripe"),
            ("inbox-trigger", "retry"),
            ("inbox-type", "charge%20failed"),
            ("user-agent", USER_AGENT_VALUE),
            ("webhook-id", &id),
            ("webhook-signature", &signature),
            ("webhook-timestamp", "1700000000"),
        ];
        assert_eq!(
            built,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn named_headers_are_passed_and_static_ones_replace_them() {
        let event = event(&[
            ("X-Tag", "1"),
            ("x-tag", "2"),
            ("Authorization", "of the sender"),
            ("content-type", "text/plain"),
        ]);
        let names = ["x-tag", "authorization", "content-type", "x-none"];
        let passing = destination().with_pass_headers(names.map(HeaderName::from_static));
        let mut passed: Vec<_> = headers(&passing, &event)
            .into_iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, value)| value)
            .collect();
        passed.sort();
        assert_eq!(passed, ["1", "2", "of the sender", "text/plain"]);
        let bearer = (
            http::header::AUTHORIZATION,
            HeaderValue::from_static("Bearer own"),
        );
        let agent = (USER_AGENT, HeaderValue::from_static("mine"));
        let adding = passing.with_headers([bearer, agent]);
        assert_eq!(
            value(&adding, &event, "authorization").unwrap(),
            "Bearer own"
        );
        assert_eq!(value(&adding, &event, "user-agent").unwrap(), "mine");
    }

    #[test]
    fn an_unsigned_request_has_no_signature() {
        assert_eq!(
            value(&destination(), &event(&[]), "webhook-signature"),
            None
        );
        assert!(value(&destination(), &event(&[]), "webhook-id").is_some());
    }

    /// Receivers store ids, so a release that made other ids would deliver events again.
    #[test]
    fn ids_never_change() {
        let id = webhook_id(&KIND, &key("evt_1"));
        assert_eq!(id, "evt_a614a71e404480d5e8d3f202d01788f37a00b8c6");
        assert_ne!(id, webhook_id(&KIND, &key("evt_2")));
        assert_ne!(id, webhook_id(&Kind::from_static("stripe2"), &key("evt_1")));
    }

    #[test]
    fn the_trigger_follows_from_the_attempt() {
        for (attempt, trigger) in [(1, "schedule"), (2, "retry"), (13, "retry")] {
            let event = event(&[]).of_attempts(13).on_attempt(attempt);
            assert_eq!(
                value(&destination(), &event, "inbox-trigger").unwrap(),
                trigger
            );
        }
    }

    #[test]
    fn only_valid_trace_contexts_are_passed() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let later = format!("cc{}-what-follows", &valid[2..]);
        for text in [valid, &later] {
            let passed = value(
                &destination(),
                &event(&[("Traceparent", text)]),
                "traceparent",
            );
            assert_eq!(passed.as_deref(), Some(text));
        }
        for text in ["", &valid.to_uppercase(), &format!("ff{}", &valid[2..])] {
            let passed = value(
                &destination(),
                &event(&[("traceparent", text)]),
                "traceparent",
            );
            assert_eq!(passed, None, "{text}");
        }
    }

    #[test]
    fn the_longest_optional_header_gives_way_to_large_headers() {
        let long = "é".repeat(256);
        let event = |bytes: usize| {
            let value = "x".repeat(bytes);
            event(&[("x-large", value.as_str())]).with_key(key(&long))
        };
        let passing = destination().with_pass_headers([HeaderName::from_static("x-large")]);
        assert!(value(&passing, &event(6_000), "inbox-key").is_some());
        let left_out = event(7_000);
        assert_eq!(value(&passing, &left_out, "inbox-key"), None);
        assert!(value(&passing, &left_out, "inbox-received-at").is_some());
        let typed = left_out.with_event_type(event_type(&"é".repeat(200)));
        assert_eq!(value(&passing, &typed, "inbox-type"), None);
        // The attempt is made however large they are.
        let largest = headers(&passing, &event(16_000));
        assert!(largest.iter().all(|(name, _)| !name.starts_with("inbox-")));
        assert!(largest.iter().any(|(name, _)| name == "webhook-id"));
    }

    proptest! {
        #[test]
        fn any_key_and_type_is_a_header_and_can_be_read_back(text in "\\PC{1,100}") {
            let (Ok(key), Ok(event_type)) = (Key::new(&*text), EventType::new(&*text)) else {
                return Ok(());
            };
            let event = event(&[]).with_key(key).with_event_type(event_type);
            for name in ["inbox-key", "inbox-type"] {
                let sent = value(&destination(), &event, name).unwrap();
                prop_assert!(sent.bytes().all(|byte| byte.is_ascii_graphic()));
                let read = percent_encoding::percent_decode_str(&sent).decode_utf8().unwrap();
                prop_assert_eq!(&*read, &text);
            }
        }
    }
}
