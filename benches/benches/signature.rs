//! The cost of verifying a signature over a body of 1 KiB, of checking the head of a request before its body, and of
//! all that a source does with a delivery.
//!
//! Compare it with the processor time of an accepted request, which `load scale` prints.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput};
use webhook_sources::{
    Outcome, Outgoing, Request, Secrets, Source, SourceOptions, Verification, VerificationOptions,
    preset,
};

const BODY: [u8; 1024] = [b'x'; 1024];

/// Any 32 bytes are a private key.
const PRIVATE_KEY: &str = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A key of Adyen.
const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The headers that a request has besides its signature.
const OTHER_HEADERS: [(&str, &[u8]); 6] = [
    ("host", b"hooks.example.com"),
    ("user-agent", b"Sender/1.0"),
    ("accept", b"*/*"),
    ("content-type", b"application/json"),
    ("content-length", b"1024"),
    ("x-forwarded-for", b"192.0.2.7"),
];

pub(crate) fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signature");
    group
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    for (name, preset, secrets) in [
        (
            "standard-webhooks v1",
            "standard-webhooks",
            Secrets::of([SECRET]),
        ),
        (
            "standard-webhooks v1a",
            "standard-webhooks",
            Secrets::new().with("public_key", PRIVATE_KEY),
        ),
        ("stripe", "stripe", Secrets::of([SECRET])),
        ("github", "github", Secrets::of([SECRET])),
    ] {
        let scheme = &preset::get(preset).expect("it is a preset").spec.scheme;
        let verification = Verification::new(scheme, &secrets, VerificationOptions::default());
        let verification = verification.expect("the secrets are valid");
        let now = SystemTime::now();
        let unsigned = Request {
            method: "POST",
            target: "/webhooks",
            headers: &[],
            body: &BODY,
        };
        let outgoing = Outgoing {
            request: unsigned,
            message_id: Some("msg_1"),
        };
        let signed = verification.sign(&outgoing, now);
        let signed = signed.expect("there is a key to sign with").headers;
        let signed = signed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers: Vec<(&str, &[u8])> = OTHER_HEADERS.into_iter().chain(signed).collect();
        let request = Request {
            headers: &headers,
            ..unsigned
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verified = verification.verify(black_box(&request), now);
                verified.expect("it is signed")
            });
        });
        group.bench_function(format!("{name}, head"), |bencher| {
            bencher.iter(|| {
                let checked = verification.check_head(black_box(&request), now);
                checked.expect("it is signed");
            });
        });
    }
    group.finish();
}

/// An item as Adyen sends it, without its signature.
const ADYEN: &str = r#"{"additionalData": {}, "amount": {"currency": "EUR", "value": 1500},
    "eventCode": "AUTHORISATION", "eventDate": "2026-11-24T12:00:00+01:00",
    "merchantAccountCode": "TestMerchant", "merchantReference": "TestPayment-1407325143704",
    "operations": ["CANCEL", "CAPTURE", "REFUND"], "paymentMethod": "visa",
    "pspReference": "7914073381342284", "reason": "058747:1111:12/2030", "success": "true"}"#;

/// An event of most senders: its id and its type are beside its data.
const EVENT: &str =
    r#"{"id": "evt_1", "type": "charge.succeeded", "data": {"object": {"id": "ch_1"}}}"#;

pub(crate) fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signature");
    group
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    let adyen = format!(
        r#"{{"live": "false", "notificationItems": [{{"NotificationRequestItem": {ADYEN}}}]}}"#
    );
    for (preset, secret, body) in [
        ("adyen", HEX, adyen.as_str()),
        ("adyen-platform", HEX, EVENT),
        ("stripe", SECRET, EVENT),
    ] {
        let padding = " ".repeat(BODY.len().saturating_sub(body.len()));
        let body = body.replacen('{', &format!("{{{padding}"), 1);
        let spec = preset::get(preset).expect("it is a preset").spec.clone();
        let source = Source::new(spec, &Secrets::of([secret]), SourceOptions::default());
        let source = source.expect("the secret is valid");
        let now = SystemTime::now();
        let request = Request {
            method: "POST",
            target: "/webhooks",
            headers: &[],
            body: body.as_bytes(),
        };
        let outgoing = Outgoing {
            request,
            message_id: None,
        };
        let signed = source.sign(&outgoing, now);
        let signed = signed.expect("there is a key to sign with");
        let added = signed.headers.iter();
        let added = added.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers: Vec<(&str, &[u8])> = OTHER_HEADERS.into_iter().chain(added).collect();
        let request = Request {
            headers: &headers,
            body: &signed.body,
            ..request
        };
        group.bench_function(format!("{preset}, received"), |bencher| {
            bencher.iter(|| {
                let outcome = source.receive(black_box(&request), now);
                assert!(matches!(outcome, Outcome::Received(_)), "it is signed");
            });
        });
    }
    group.finish();
}
