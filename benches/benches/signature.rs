//! The cost of verifying a signature over a body of 1 KiB, and of checking the head of a request before its body.
//!
//! Compare it with the processor time of an accepted request, which `load scale` prints.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput};
use webhook_sources::{Outgoing, Request, Secrets, Verification, VerificationOptions, preset};

const BODY: [u8; 1024] = [b'x'; 1024];

/// Any 32 bytes are a private key.
const PRIVATE_KEY: &str = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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
