//! From a body to an envelope: parsing, validation, fingerprint.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use webhook_core::{Envelope, Headers};
use webhook_server::transaction::Transaction;

use crate::delivery;

pub(crate) fn decode_and_seal(criterion: &mut Criterion) {
    let body = delivery::body();
    let transaction = Transaction::from_json(&body).expect("it is a transaction");

    let mut group = criterion.benchmark_group("payload");
    group
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Transaction::from_json(black_box(&body)));
    });
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| black_box(&transaction).fingerprint());
    });
    group.bench_function("seal", |bencher| {
        bencher.iter(|| Envelope::of::<Transaction>(black_box(body.clone()), Headers::new()));
    });
    group.finish();
}
