//! [`Partitions`]: whether each partition answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{Gauge, gauge};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use webhook_core::{Partition, with_causes};

use crate::metrics::PARTITION_UP;

/// How often each partition is pinged.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a partition may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The partitions of an inbox.
#[derive(Clone)]
pub(crate) struct Partitions(Vec<Arc<dyn Partition>>);

impl Partitions {
    pub(super) const fn new(partitions: Vec<Arc<dyn Partition>>) -> Self {
        Self(partitions)
    }

    /// Pings each partition now. Answer *i* is why partition *i* does not answer.
    pub(crate) async fn ping(&self) -> Vec<Option<String>> {
        join_all(self.0.iter().map(|partition| ping(&**partition))).await
    }
}

async fn ping(partition: &dyn Partition) -> Option<String> {
    match timeout(PING_TIMEOUT, partition.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(with_causes(&error)),
        Err(_) => Some(format!("no answer within {PING_TIMEOUT:?}")),
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Partitions").field(&self.0.len()).finish()
    }
}

/// Pings each partition again and again, until it is dropped. The log tells when one stops to answer, and when it
/// answers again.
#[derive(Debug)]
pub(crate) struct Health {
    answers: Arc<[AtomicBool]>,
    watching: AbortOnDropHandle<()>,
}

impl Health {
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    pub(crate) fn watch(partitions: Partitions) -> Self {
        let answers: Arc<[_]> = partitions.0.iter().map(|_| AtomicBool::new(true)).collect();
        let gauges: Vec<_> = (0..partitions.0.len())
            .map(|index| gauge!(PARTITION_UP, "partition" => index.to_string()))
            .collect();
        let watching = watch(partitions, Arc::clone(&answers), gauges);
        Self {
            answers,
            watching: AbortOnDropHandle::new(tokio::spawn(watching)),
        }
    }

    /// Ends the pings, before the partitions are closed.
    pub(crate) fn stop(&self) {
        self.watching.abort();
    }

    /// What operators should know: a warning for each partition that does not answer.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let count = self.answers.len();
        let away = (0..).zip(self.answers.iter());
        let away = away.filter(|(_, answers)| !answers.load(Ordering::Relaxed));
        away.map(|(index, _)| {
            format!(
                "partition {index} of {count} does not answer: its events wait, and deliveries of its keys get 503 \
                 until it does"
            )
        })
        .collect()
    }
}

async fn watch(partitions: Partitions, answers: Arc<[AtomicBool]>, gauges: Vec<Gauge>) {
    let count = gauges.len();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let problems = partitions.ping().await;
        for (index, (problem, gauge)) in problems.into_iter().zip(&gauges).enumerate() {
            let is_up = problem.is_none();
            gauge.set(f64::from(u8::from(is_up)));
            let was_up = answers[index].swap(is_up, Ordering::Relaxed);
            match problem {
                Some(error) if was_up => warn!(
                    partition = index,
                    count,
                    error,
                    "a partition does not answer; deliveries of its keys get 503 until it does"
                ),
                None if !was_up => info!(partition = index, count, "a partition answers again"),
                _ => {}
            }
        }
    }
}
