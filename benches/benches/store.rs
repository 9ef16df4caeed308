//! The operations of a backend, by batch size and by number of concurrent callers.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use futures_util::future::join_all;
use webhook_core::{ClaimedEvent, NewEvent, Outcome, Settlement};

use crate::subject::{Backend, Subject, Subjects};
use crate::{RUNTIME, delivery};

/// The number of callers, and the number of events in each of their batches.
const LOADS: [(usize, usize); 8] = [
    (1, 1),
    (1, 16),
    (1, 64),
    (1, 256),
    (1, 1024),
    (4, 64),
    (16, 64),
    (64, 64),
];

/// The most events that are prepared at a time.
const READY: usize = 16_384;

pub(crate) fn accept(criterion: &mut Criterion) {
    measure(criterion, Operation::Accept);
}

pub(crate) fn claim(criterion: &mut Criterion) {
    measure(criterion, Operation::Claim);
}

pub(crate) fn settle(criterion: &mut Criterion) {
    measure(criterion, Operation::Settle);
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Accept,
    Claim,
    Settle,
}

/// One prepared call of an operation.
enum Call {
    Accept(Vec<NewEvent>),
    Claim(usize),
    Settle(Vec<Settlement>),
}

fn measure(criterion: &mut Criterion, operation: Operation) {
    for backend in Backend::ALL {
        let name = format!("{operation:?}/{backend}").to_lowercase();
        let mut group = criterion.benchmark_group(name);
        group
            .sampling_mode(SamplingMode::Flat)
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(match backend {
                Backend::Memory => Duration::from_secs(1),
                Backend::Sqlite | Backend::Postgres => Duration::from_millis(1500),
            });
        let mut subjects = Subjects::of(backend);
        for (callers, batch) in LOADS {
            group.throughput(Throughput::Elements((callers * batch) as u64));
            let id = BenchmarkId::from_parameter(format!("{callers}x{batch}"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| {
                    RUNTIME.block_on(time(&mut subjects, operation, rounds, callers, batch))
                });
            });
        }
        RUNTIME.block_on(subjects.clean_up());
        group.finish();
    }
}

/// Measures `rounds` rounds; in each, every caller makes one call.
async fn time(
    subjects: &mut Subjects,
    operation: Operation,
    rounds: u64,
    callers: usize,
    batch: usize,
) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = usize::try_from(rounds).unwrap_or(usize::MAX);
    while left > 0 {
        let rounds = left.min((READY / (callers * batch)).max(1));
        left -= rounds;
        let subject = subjects.next(rounds * callers * batch).await;
        let mut ready = Vec::new();
        for _ in 0..callers {
            ready.push(operation.make_ready(&subject, rounds, batch).await);
        }
        let started = Instant::now();
        let callers_at_work = ready.into_iter().map(|calls| {
            let subject = subject.clone();
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                for call in calls {
                    claimed.push(call.make(&subject).await);
                }
                claimed
            })
        });
        let claimed = join_all(callers_at_work).await;
        elapsed += started.elapsed();

        // Leases that stay behind would change what the next rounds measure.
        for claimed in claimed
            .into_iter()
            .flat_map(|it| it.expect("no caller panics"))
        {
            let settlements = processed(claimed);
            subject
                .scheduler
                .settle(&settlements)
                .await
                .expect("settle");
        }
    }
    elapsed
}

impl Operation {
    /// Prepares the calls of one caller.
    async fn make_ready(self, subject: &Subject, rounds: usize, batch: usize) -> Vec<Call> {
        if !matches!(self, Self::Accept) {
            subject.accept(rounds * batch).await;
        }
        let mut calls = Vec::new();
        for _ in 0..rounds {
            calls.push(match self {
                Self::Accept => Call::Accept(delivery::events(batch)),
                Self::Claim => Call::Claim(batch),
                Self::Settle => Call::Settle(processed(subject.claim(batch).await)),
            });
        }
        calls
    }
}

impl Call {
    /// Makes the call, and returns what it claimed.
    async fn make(self, subject: &Subject) -> Vec<ClaimedEvent> {
        match self {
            Self::Accept(events) => {
                subject.store.accept(&events).await.expect("accept");
            }
            Self::Claim(limit) => return subject.claim(limit).await,
            Self::Settle(settlements) => {
                subject
                    .scheduler
                    .settle(&settlements)
                    .await
                    .expect("settle");
            }
        }
        Vec::new()
    }
}

fn processed(claimed: Vec<ClaimedEvent>) -> Vec<Settlement> {
    let settlements = claimed
        .into_iter()
        .map(|claimed| Settlement::new(claimed.lease, Outcome::Processed));
    settlements.collect()
}
