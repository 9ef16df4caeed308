//! The criterion benches: what each step costs, on each backend.
//!
//! ```text
//! scripts/with-postgres cargo bench -p benches               # all of them: four minutes
//! cargo bench -p benches --bench inbox -- 'payload|signature|metrics|memory|sqlite'   # those that need no server
//! ```
//!
//! Names are operation/backend/…; figures are times per batch or round, and elements (events) per
//! second. Setting up (fresh keys, events to claim, leases to settle) is never in them.

use std::sync::LazyLock;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

mod delivery;
mod metrics;
mod payload;
mod pipeline;
mod signature;
mod store;
mod subject;

/// The number of cores of the machines whose figures are compared.
const WORKER_THREADS: usize = 2;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .expect("a runtime starts")
});

/// How often criterion resamples. Ten samples allow no narrower intervals, and its default takes
/// longer than the measurement.
const RESAMPLES: usize = 10_000;

criterion_group!(
    name = benches;
    config = Criterion::default().nresamples(RESAMPLES);
    targets =
        payload::decode_and_seal,
        signature::verify,
        signature::receive,
        metrics::record_and_scrape,
        store::accept,
        store::claim,
        store::settle,
        pipeline::accept,
        pipeline::accept_to_processed,
);
criterion_main!(benches);
