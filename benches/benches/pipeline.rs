//! The whole way: bodies in at one end, through parsing and group commit, to handlers at the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use webhook_core::{Event, HandlerError, Inbox, InboxOptions, Worker, WorkerOptions};
use webhook_server::transaction::Transaction;

use crate::subject::{Backend, Subjects};
use crate::{RUNTIME, delivery};

/// How many deliveries are sent at once.
const CALLERS: [usize; 3] = [1, 64, 256];

/// How long the drain of an idle worker may take.
const DRAIN: Duration = Duration::from_secs(10);

/// From the delivery to its answer. The event is durable then, and not yet due.
pub(crate) fn accept(criterion: &mut Criterion) {
    measure(criterion, Way::Accept);
}

/// From the delivery to the end of its handler, in the same process.
pub(crate) fn accept_to_processed(criterion: &mut Criterion) {
    measure(criterion, Way::AcceptToProcessed);
}

#[derive(Clone, Copy)]
enum Way {
    Accept,
    AcceptToProcessed,
}

fn measure(criterion: &mut Criterion, way: Way) {
    let name = match way {
        Way::Accept => "pipeline-accept",
        Way::AcceptToProcessed => "pipeline-accept-to-processed",
    };
    for backend in Backend::ALL {
        let mut group = criterion.benchmark_group(format!("{name}/{backend}"));
        group
            .sampling_mode(SamplingMode::Flat)
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        let mut subjects = Subjects::of(backend);
        for callers in CALLERS {
            group.throughput(Throughput::Elements(callers as u64));
            group.bench_function(BenchmarkId::from_parameter(callers), |bencher| {
                bencher.iter_custom(|rounds| {
                    RUNTIME.block_on(time(&mut subjects, way, rounds, callers))
                });
            });
        }
        RUNTIME.block_on(subjects.clean_up());
        group.finish();
    }
}

/// Measures how long the callers take to make `rounds` deliveries each, one after the other.
async fn time(subjects: &mut Subjects, way: Way, rounds: u64, callers: usize) -> Duration {
    let rounds = usize::try_from(rounds).unwrap_or(usize::MAX);
    let subject = subjects.next(rounds * callers).await;
    let options = InboxOptions::default()
        .with_delay(match way {
            Way::Accept => Duration::from_secs(30),
            Way::AcceptToProcessed => Duration::ZERO,
        })
        .with_accept_timeout(Duration::from_secs(30));
    let inbox = Inbox::new(subject.store.clone(), options);
    let processed = Arc::new(Semaphore::new(0));
    let worker = matches!(way, Way::AcceptToProcessed).then(|| {
        let processed = Arc::clone(&processed);
        let handler = move |_: Event<Transaction>| {
            processed.add_permits(1);
            async { Ok::<_, HandlerError>(()) }
        };
        Worker::start(subject.scheduler.clone(), WorkerOptions::default(), handler)
    });
    let bodies: Vec<_> = (0..callers).map(|_| delivery::bodies(rounds)).collect();

    let started = Instant::now();
    let deliveries = bodies
        .into_iter()
        .map(|bodies| tokio::spawn(deliver(inbox.clone(), bodies)));
    for delivered in join_all(deliveries).await {
        delivered.expect("no caller panics");
    }
    if worker.is_some() {
        let all = u32::try_from(rounds * callers).expect("a bench does not process billions");
        let all = processed.acquire_many(all).await;
        all.expect("the semaphore is never closed").forget();
    }
    let elapsed = started.elapsed();

    inbox.close().await;
    if let Some(worker) = worker {
        worker.shutdown(DRAIN).await;
    }
    elapsed
}

async fn deliver(inbox: Inbox, bodies: Vec<Bytes>) {
    for body in bodies {
        inbox.receive::<Transaction>(body).await.expect("receive");
    }
}
