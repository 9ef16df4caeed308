//! The cost of verifying a signature over a body of 1 KiB.
//!
//! Compare it with the processor time of an accepted request, which `load scale` prints.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput};
use webhook_sources::signature::{
    BodyHmac, BodyHmacScheme, Delivery, Signer, StandardWebhooks, Stripe, Verifier,
};

const BODY: [u8; 1024] = [b'x'; 1024];

/// Any 32 bytes are a private key.
const PRIVATE_KEY: &str = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signature");
    group
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    let mut bench = |name: &str, headers: Vec<(String, String)>, verifier: &dyn Verifier| {
        let header = |name: &str| {
            let values = headers.iter().filter(|(known, _)| known == name);
            values.map(|(_, value)| value.as_bytes()).collect()
        };
        let now = SystemTime::now();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let delivery = Delivery::new(&header, black_box(&BODY), now);
                verifier.verify(&delivery).expect("it is signed");
            });
        });
    };
    const VALID: &str = "the secrets are valid";
    let standard = StandardWebhooks::new([SECRET]).expect(VALID);
    bench("standard-webhooks v1", signed(&standard), &standard);
    let private = StandardWebhooks::new([PRIVATE_KEY]).expect(VALID);
    bench("standard-webhooks v1a", signed(&private), &private);
    let stripe = Stripe::new([SECRET]).expect(VALID);
    bench("stripe", signed(&stripe), &stripe);
    let github = BodyHmac::new(BodyHmacScheme::github(), [SECRET]).expect(VALID);
    bench("github", signed(&github), &github);
    group.finish();
}

fn signed(signer: &dyn Signer) -> Vec<(String, String)> {
    signer
        .sign("msg_1", SystemTime::now(), &BODY)
        .expect("there is a key to sign with")
}
