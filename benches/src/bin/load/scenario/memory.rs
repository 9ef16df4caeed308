//! The whole pipeline without a database or a socket, which shows the cost of the code itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use webhook_core::{Accepted, Envelope, Event, HandlerError, Headers, InboxOptions, Pipeline};
use webhook_memory::{MemoryOptions, MemoryStore};
use webhook_server::transaction::Transaction;

use crate::bench::Bench;
use crate::report::{Run, Section};
use crate::request::{self, BODY_BYTES};

const CALLERS: usize = 256;

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let events = bench.scale.memory_events;
    bench.progress.begin("memory pipeline", 1);
    let watched = bench.watched(&[]);
    let before = watched.usage();
    let (accepted, processed) = spawn_blocking(move || pipeline(events)).await??;
    let shares = watched.usage().since(&before);
    let limit = spawn_blocking(move || hand_over(events)).await??;
    for (name, per_second) in [
        ("memory pipeline", accepted),
        ("memory pipeline, processed", processed),
        ("bodies read, handed to another task, and answered", limit),
    ] {
        let run = Run {
            shares: shares.clone(),
            ..Run::counted(name, per_second, float(events) / per_second)
        };
        bench.progress.say(&run.line());
        section.runs.push(run);
    }
    Ok(())
}

/// Accepts `events`, one per call, from many callers while they are processed. Returns how many
/// were accepted per second, and how many were processed per second.
fn pipeline(events: u64) -> anyhow::Result<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let rates = runtime.block_on(async {
        let processed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&processed);
        let store = MemoryStore::new(
            MemoryOptions::default()
                .with_capacity(usize::try_from(events)?)
                .with_max_bytes(usize::MAX),
        );
        let pipeline = Pipeline::builder(store)
            .inbox(InboxOptions::default().with_delay(Duration::ZERO))
            .handle(move |_: Event<Transaction>| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok::<(), HandlerError>(()) }
            })
            .start();

        let start = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS as u64 {
            let inbox = pipeline.inbox().clone();
            callers.spawn(async move {
                for key in (caller..events).step_by(CALLERS) {
                    let body = Bytes::from(request::body(key, BODY_BYTES));
                    let receipt = inbox.receive::<Transaction>(body).await?;
                    ensure!(receipt.accepted == Accepted::New, "{receipt:?}");
                }
                Ok(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        let accepted = start.elapsed();
        while processed.load(Ordering::Relaxed) < events {
            ensure!(
                start.elapsed() < Duration::from_mins(5),
                "not all were processed"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let processed = start.elapsed();
        pipeline.shutdown(Duration::from_secs(10)).await;
        anyhow::Ok((
            float(events) / accepted.as_secs_f64(),
            float(events) / processed.as_secs_f64(),
        ))
    })?;
    Ok(rates)
}

/// The limit of this machine: bodies are parsed as the inbox does, and handed to a task that only
/// answers the caller. Returns how many per second.
fn hand_over(events: u64) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (queue, mut queued) = mpsc::channel::<(Envelope, oneshot::Sender<()>)>(CALLERS);
        tokio::spawn(async move {
            while let Some((_, answer)) = queued.recv().await {
                let _ = answer.send(());
            }
        });
        let start = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS as u64 {
            let queue = queue.clone();
            callers.spawn(async move {
                for key in (caller..events).step_by(CALLERS) {
                    let body = Bytes::from(request::body(key, BODY_BYTES));
                    let envelope = Envelope::of::<Transaction>(body, Headers::new())?;
                    let (answer, answered) = oneshot::channel();
                    queue.send((envelope, answer)).await?;
                    answered.await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        Ok(float(events) / start.elapsed().as_secs_f64())
    })
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 events")]
fn float(events: u64) -> f64 {
    events as f64
}
