//! Sends requests over many connections, as fast as answers come or at a constant rate.
//!
//! It shares the processor with what it measures, so it does as little as possible per request:
//! no allocation, one write, one read.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::client::Client;
use crate::recording::Recording;
use crate::request::{Choice, Destination, Keys, Requests};

/// How long connecting may take, and how long the last answers may take, until they count as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shortest interval at which the pacer looks at the clock; a wake-up costs microseconds.
const TICK: Duration = Duration::from_micros(250);

/// Which requests to send, and how.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// Connections are spread evenly over these.
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) destination: Destination,
    pub(crate) choice: Choice,
    /// The sizes of the bodies, drawn evenly.
    pub(crate) sizes: Vec<usize>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) threads: NonZeroUsize,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection sends its next request when the last one is answered.
    Closed,
    /// A constant number per second, whether they are answered or not. The latency of a request
    /// that has to wait for a connection counts from when it was due.
    Open(f64),
}

/// A run that has started.
#[derive(Debug)]
pub(crate) struct Generator {
    threads: Vec<thread::JoinHandle<anyhow::Result<()>>>,
}

impl Generator {
    /// Connects, and sends requests until `until`.
    pub(crate) fn start(
        traffic: &Traffic,
        recording: &Arc<Recording>,
        until: Instant,
    ) -> anyhow::Result<Self> {
        let arrivals = match traffic.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(Arc::new(Arrivals::new(rate, until))),
        };
        let count = traffic.threads.get().min(traffic.connections);
        let mut threads = Vec::with_capacity(count + 1);
        for index in 0..count {
            let connections: Vec<Connection> = (index..traffic.connections)
                .step_by(count)
                .map(|number| Connection::new(traffic, number, recording, &arrivals, until))
                .collect();
            let thread = thread::Builder::new().name(format!("generator-{index}"));
            threads.push(thread.spawn(move || send_all(connections, until + PATIENCE))?);
        }
        if let Some(arrivals) = arrivals {
            let thread = thread::Builder::new().name("pacer".to_owned());
            threads.push(thread.spawn(move || {
                arrivals.release();
                Ok(())
            })?);
        }
        Ok(Self { threads })
    }

    /// Waits until every request has been answered. Blocks.
    pub(crate) fn join(self) -> anyhow::Result<()> {
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("generator panicked"))??;
        }
        Ok(())
    }
}

fn send_all(connections: Vec<Connection>, deadline: Instant) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn(connection.run());
        }
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        timeout_at(deadline.into(), all).await.with_context(|| {
            format!("requests were still unanswered {PATIENCE:?} after the last was sent")
        })?
    })
}

struct Connection {
    target: SocketAddr,
    requests: Requests,
    keys: Arc<Keys>,
    recording: Arc<Recording>,
    arrivals: Option<Arc<Arrivals>>,
    until: Instant,
}

impl Connection {
    fn new(
        traffic: &Traffic,
        number: usize,
        recording: &Arc<Recording>,
        arrivals: &Option<Arc<Arrivals>>,
        until: Instant,
    ) -> Self {
        let target = traffic.targets[number % traffic.targets.len()];
        let host = target.to_string();
        Self {
            target,
            requests: Requests::new(
                &host,
                traffic.destination,
                &traffic.sizes,
                traffic.choice,
                number as u64,
            ),
            keys: Arc::clone(&traffic.keys),
            recording: Arc::clone(recording),
            arrivals: arrivals.clone(),
            until,
        }
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let mut client = self.connect().await?;
        let mut now = Instant::now();
        loop {
            let intended = match &self.arrivals {
                None if now < self.until => now,
                None => return Ok(()),
                Some(arrivals) => match arrivals.next().await {
                    Some(intended) => intended,
                    None => return Ok(()),
                },
            };
            let answer = client.ask(self.requests.next(&self.keys)).await;
            now = Instant::now();
            match answer {
                Ok(answer) => self.recording.answered(intended, now, answer),
                Err(error) => {
                    self.recording.failed(&error);
                    client = self.connect().await?;
                    now = Instant::now();
                }
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        let target = self.target;
        timeout(PATIENCE, Client::connect(target))
            .await
            .map_err(anyhow::Error::from)
            .and_then(|connected| Ok(connected?))
            .with_context(|| format!("failed to connect to {target}"))
    }
}

/// Requests that are due to be sent, one every so often; whichever connection is free takes the
/// next.
#[derive(Debug)]
struct Arrivals {
    start: Instant,
    rate: f64,
    total: u64,
    due: AtomicU64,
    taken: AtomicU64,
    news: Notify,
}

impl Arrivals {
    fn new(rate: f64, until: Instant) -> Self {
        let start = Instant::now();
        let seconds = until.saturating_duration_since(start).as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of requests that fit into a run"
        )]
        let total = (rate * seconds).max(0.0) as u64;
        Self {
            start,
            rate,
            total,
            due: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            news: Notify::new(),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of requests that fit into a run"
    )]
    fn intended(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Waits until the next request is due, and returns when that was; `None` after the last.
    async fn next(&self) -> Option<Instant> {
        loop {
            let due = self.due.load(Ordering::Acquire);
            let taken = self
                .taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                    (taken < due).then_some(taken + 1)
                });
            match taken {
                Ok(number) => {
                    // Permits do not add up, so the connection that is woken wakes the next one.
                    if number + 1 < due {
                        self.news.notify_one();
                    }
                    return Some(self.intended(number));
                }
                Err(taken) if taken >= self.total => {
                    self.news.notify_one();
                    return None;
                }
                Err(_) => self.news.notified().await,
            }
        }
    }

    /// Makes requests due as time passes, until the last one is. Blocks.
    fn release(&self) {
        let mut number = 0;
        while number < self.total {
            let wait = self
                .intended(number)
                .saturating_duration_since(Instant::now());
            thread::sleep(wait.max(TICK));
            let now = Instant::now();
            while number < self.total && self.intended(number) <= now {
                number += 1;
            }
            self.due.store(number, Ordering::Release);
            self.news.notify_one();
        }
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn arrivals_come_at_their_rate_and_end() {
        let until = Instant::now() + Duration::from_millis(200);
        let arrivals = Arc::new(Arrivals::new(1000.0, until));
        let pacer = {
            let arrivals = Arc::clone(&arrivals);
            thread::spawn(move || arrivals.release())
        };
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let arrivals = Arc::clone(&arrivals);
            tasks.spawn(async move {
                let mut count = 0;
                while let Some(intended) = arrivals.next().await {
                    assert!(intended <= Instant::now());
                    count += 1;
                }
                count
            });
        }
        let total: u64 = tasks.join_all().await.into_iter().sum();
        pacer.join().unwrap();
        assert_eq!(total, arrivals.total);
        assert!((150..=200).contains(&total), "{total}");
    }
}
