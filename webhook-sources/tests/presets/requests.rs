//! Deliveries of each sender are accepted, and altered ones are refused.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use webhook_sources::{Outcome, Outgoing, Request, preset};

use crate::fixture::{self, Fixture};

/// The presets that check how old a signature is.
const TIMED: &[&str] = &[
    "calendly",
    "cashfree",
    "hubspot",
    "linear",
    "paddle",
    "polar",
    "slack",
    "standard-webhooks",
    "stripe",
    "svix",
    "webflow",
    "zendesk",
    "zoom",
];

/// The presets whose keys are fetched: the unit tests of these schemes make the keys, and use the presets.
const FETCHED: &[&str] = &["paypal", "plaid", "pubsub", "sns"];

#[test]
fn each_preset_has_a_request() {
    let requests = fixture::all().into_iter().map(|it| it.preset);
    let fetched = FETCHED.iter().map(|name| (*name).to_owned());
    let with_request: BTreeSet<String> = requests.chain(fetched).collect();
    let known: BTreeSet<String> = preset::names().map(str::to_owned).collect();
    assert_eq!(with_request, known);
}

#[test]
fn requests_of_the_senders_are_accepted() {
    for fixture in fixture::all() {
        let outcome = fixture.received();
        let (status, body) = match &outcome {
            Outcome::Received(received) => {
                let ids = received.events.iter().map(|event| Some(event.id.clone()));
                for (expected, id) in fixture.ids.iter().flatten().zip(ids.clone()) {
                    assert!(
                        expected.is_none() || *expected == id,
                        "{id:?} of {fixture:#?}"
                    );
                }
                if let Some(expected) = &fixture.ids {
                    assert_eq!(expected.len(), received.events.len(), "{fixture:#?}");
                }
                let types = received.events.iter().map(|event| event.event_type.clone());
                if let Some(expected) = &fixture.event_types {
                    assert!(
                        types.eq(expected.iter().cloned()),
                        "{outcome:?} of {fixture:#?}"
                    );
                }
                (received.answer.status, &received.answer.body)
            }
            Outcome::Handshake(answer) => {
                assert_eq!(fixture.ids.as_deref(), Some([].as_slice()), "{fixture:#?}");
                (answer.status, &answer.body)
            }
            other => panic!("{other:?} of {fixture:#?}"),
        };
        if let Some((expected, text)) = &fixture.answer {
            assert_eq!(*expected, status, "{fixture:#?}");
            assert_eq!(value(text.as_bytes()), value(body), "{fixture:#?}");
        }
    }
}

/// The body of an answer: JSON is compared without regard to the order of members.
fn value(body: &[u8]) -> Value {
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    serde_json::from_slice(body).unwrap_or_else(|_| text())
}

#[test]
fn heads_of_genuine_requests_pass() {
    for fixture in fixture::all() {
        let headers = fixture.header_pairs();
        let head = Request {
            body: b"",
            ..fixture.request(&headers)
        };
        let source = fixture.source().unwrap();
        assert_eq!(
            source.check_head(&head, fixture.now()),
            Ok(()),
            "{fixture:#?}"
        );
    }
}

#[test]
fn computed_requests_have_no_flaw() {
    for fixture in fixture::computed() {
        if let Outcome::Received(received) = fixture.received() {
            let flaws = received.events.iter().filter_map(|event| event.flaw);
            assert_eq!(flaws.count(), 0, "{fixture:#?}");
        }
    }
}

/// Adyen signs one item. The computed request has another one after it, which is not signed.
#[test]
fn what_adyen_does_not_sign_is_left_out() {
    let adyen = fixture::computed()
        .into_iter()
        .find(|it| it.preset == "adyen")
        .unwrap();
    let Outcome::Received(received) = adyen.received() else {
        panic!("{adyen:#?}");
    };
    assert!(adyen.body.contains("unsigned"));
    for event in received.events {
        assert!(!adyen.body[event.body].contains("unsigned"));
    }
}

fn assert_refused(fixture: &Fixture, why: &str) {
    let outcome = fixture.received();
    let Outcome::Refused(refusal) = outcome else {
        panic!("{why}: {outcome:?} of {fixture:#?}");
    };
    let spec = &preset::get(&fixture.preset).unwrap().spec;
    assert_eq!(refusal.answer.status, spec.refused_status, "{fixture:#?}");
}

#[test]
fn altered_bodies_are_refused() {
    let mut altered_bodies = 0;
    for mut fixture in fixture::all() {
        if let Some(body) = fixture.altered_body.take() {
            assert_ne!(body, fixture.body, "{fixture:#?}");
            fixture.body = body;
            assert_refused(&fixture, "an altered body");
            altered_bodies += 1;
        }
    }
    assert!(altered_bodies > 80, "{altered_bodies}");
}

#[test]
fn requests_without_their_headers_are_refused() {
    for mut fixture in fixture::all() {
        fixture.headers.clear();
        match fixture.preset.as_str() {
            // Their proof is in the body or the query.
            "adyen" | "braintree" | "mailgun" | "msgraph" | "payu" => {}
            "cloudevents" if fixture.received_in_query() => {}
            _ => assert_refused(&fixture, "no headers"),
        }
    }
}

impl Fixture {
    fn received_in_query(&self) -> bool {
        let headers = self.header_pairs();
        !self.request(&headers).query().is_empty()
    }

    /// The same request for a receiver with other secrets, each of which differs in one character.
    fn with_other_secrets(mut self) -> Self {
        for secret in self.secrets.values_mut().flatten() {
            let at = secret.len() - 2;
            let other = if secret[at..].starts_with('0') {
                "1"
            } else {
                "0"
            };
            secret.replace_range(at..=at, other);
        }
        self
    }
}

#[test]
fn requests_with_another_secret_are_refused() {
    for fixture in fixture::all() {
        let other = fixture.with_other_secrets();
        // What was a public key may be none any more.
        if other.source().is_ok() {
            assert_refused(&other, "another secret");
        }
    }
}

#[test]
fn old_and_future_times_are_refused() {
    let hour = Duration::from_secs(3_600);
    for fixture in fixture::all() {
        let signs_time = TIMED.contains(&fixture.preset.as_str())
            || fixture.secrets.contains_key("signing_token");
        for now in [fixture.now() + hour, fixture.now() - hour] {
            let is_refused = matches!(fixture.received_at(now), Outcome::Refused(_));
            assert_eq!(is_refused, signs_time, "{fixture:#?}");
        }
    }
}

/// A request that a preset signed.
struct Sent {
    headers: Vec<(String, String)>,
    target: String,
    body: Vec<u8>,
}

/// The request of `fixture` without these headers, signed by the preset.
fn signed(fixture: &Fixture, without: &[String]) -> Option<Sent> {
    let source = fixture.source().unwrap();
    let pairs = fixture.header_pairs();
    let headers: Vec<_> = pairs
        .into_iter()
        .filter(|(name, _)| !without.iter().any(|it| it.eq_ignore_ascii_case(name)))
        .collect();
    let message_id = fixture
        .headers
        .iter()
        .find(|(name, _)| name.ends_with("-id"));
    let outgoing = Outgoing {
        request: fixture.request(&headers),
        message_id: message_id.map(|(_, id)| id.as_str()),
    };
    let signed = source.sign(&outgoing, fixture.now()).ok()?;
    let others = headers.iter().map(|(name, value)| {
        (
            (*name).to_owned(),
            String::from_utf8_lossy(value).into_owned(),
        )
    });
    Some(Sent {
        headers: others.chain(signed.headers).collect(),
        target: signed.target,
        body: signed.body,
    })
}

/// The names of the headers that the preset adds to a request.
fn added(fixture: &Fixture) -> Vec<String> {
    let names = fixture.headers.iter().map(|(name, _)| name.clone());
    let all: Vec<String> = names.collect();
    let headers = signed(fixture, &all).map_or_else(Vec::new, |sent| sent.headers);
    headers.into_iter().map(|(name, _)| name).collect()
}

/// What the preset signs is what the sender's SDK signs or accepts, to the byte.
#[test]
fn presets_sign_as_the_sdks_do() {
    let mut compared = 0;
    for fixture in fixture::sdk() {
        // Twilio signs JSON in another way than forms, and the preset signs forms.
        if fixture.preset == "twilio" && fixture.body.starts_with('{') {
            continue;
        }
        let added = added(&fixture);
        let Some(sent) = signed(&fixture, &added) else {
            continue;
        };
        for (name, value) in sent.headers.iter().filter(|(name, _)| added.contains(name)) {
            let named = |known: &str| known.eq_ignore_ascii_case(name);
            let mut of_sdk = fixture.headers.iter().filter(|(known, _)| named(known));
            let is_same = of_sdk.any(|(_, it)| it.contains(value.as_str()));
            assert!(is_same, "{name}: {value} of {fixture:#?}");
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

/// What the preset signs, the preset accepts.
#[test]
fn presets_accept_what_they_sign() {
    let mut accepted = 0;
    for fixture in fixture::all() {
        let added = added(&fixture);
        let Some(sent) = signed(&fixture, &added) else {
            continue;
        };
        let headers = sent.headers.iter();
        let headers: Vec<(&str, &[u8])> = headers
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let pairs = fixture.header_pairs();
        let request = Request {
            target: &sent.target,
            headers: &headers,
            body: &sent.body,
            ..fixture.request(&pairs)
        };
        let outcome = fixture.source().unwrap().receive(&request, fixture.now());
        assert!(
            !matches!(outcome, Outcome::Refused(_)),
            "{outcome:?} of {fixture:#?}"
        );
        accepted += 1;
    }
    assert!(accepted > 70, "{accepted}");
}
