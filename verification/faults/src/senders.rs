//! Senders that create a steady load: they deliver each event to one node after the other until it
//! is acknowledged. Some senders give up instead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testkit::http::Reply;
use testkit::wait::{Limit, PATIENCE};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::behaviour::Behaviour;
use crate::book::{Book, Content, body};
use crate::http::{Client, Failure, post};

/// The number of senders.
const SENDERS: usize = 24;

/// The pause before a node that refused or was unavailable is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// One event in this many is never sent again after a delivery without an acknowledgement.
const GIVES_UP: u64 = 3;

/// One acknowledged event in this many is delivered once more, and one is sent with different
/// content.
const REPEATED: u64 = 20;
const CONTESTED: u64 = 50;

/// A running load. Dropping it ends the load.
#[derive(Debug)]
pub(crate) struct Senders {
    load: Arc<Load>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Load {
    book: Arc<Book>,
    nodes: Mutex<Vec<SocketAddr>>,
    rate: f64,
    began: Instant,
    first: u64,
    mix: Mix,
    next: AtomicU64,
    stop: CancellationToken,
}

/// Returns the behaviour of event `number` of a load.
pub(crate) type Mix = fn(number: u64) -> Behaviour;

impl Senders {
    /// Starts to deliver `rate` events a second to `nodes`, or fewer if they cannot keep up. The
    /// numbers of the events begin with `first`.
    pub(crate) fn start(
        book: Arc<Book>,
        nodes: Vec<SocketAddr>,
        rate: f64,
        first: u64,
        mix: Mix,
    ) -> Self {
        let load = Arc::new(Load {
            book,
            nodes: Mutex::new(nodes),
            rate,
            began: Instant::now(),
            first,
            mix,
            next: AtomicU64::new(0),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        for sender in 0..SENDERS {
            tasks.spawn(Sender::new(Arc::clone(&load), sender).run());
        }
        Self { load, tasks }
    }

    /// Adds a node to deliver to.
    pub(crate) fn add(&self, node: SocketAddr) {
        self.load.nodes().push(node);
    }

    /// Stops delivering to this node. Deliveries that have started may end.
    pub(crate) fn remove(&self, node: SocketAddr) {
        self.load.nodes().retain(|known| *known != node);
    }

    /// Lets every sender finish its current delivery.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.load.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.load.stop.cancel();
    }
}

impl Load {
    /// Returns the next event's number when it is time to send it.
    async fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_secs_f64(seconds(number) / self.rate);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = sleep_until(self.began + after) => Some(self.first + number),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        // The addresses are valid even if another thread panicked.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the node whose turn it is.
    fn node(&self, turn: usize) -> SocketAddr {
        let nodes = self.nodes();
        nodes[turn % nodes.len()]
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run sends 2^52 events")]
const fn seconds(number: u64) -> f64 {
    number as f64
}

struct Sender {
    load: Arc<Load>,
    /// The number of the node that is asked next.
    turn: usize,
    /// One connection to each node that has been asked.
    clients: HashMap<SocketAddr, Client>,
}

impl Sender {
    fn new(load: Arc<Load>, turn: usize) -> Self {
        Self {
            load,
            turn,
            clients: HashMap::new(),
        }
    }

    async fn run(mut self) {
        while let Some(number) = self.load.next().await {
            self.turn += 1;
            let key = (self.load.mix)(number).key(number);
            let gives_up = number % GIVES_UP == 0;
            if !self.deliver(&key, Content::Own, gives_up).await {
                continue;
            }
            if number % REPEATED == 0 {
                self.deliver(&key, Content::Own, true).await;
            }
            if number % CONTESTED == 0 {
                self.deliver(&key, Content::Other, true).await;
            }
        }
    }

    /// Delivers an event until it is acknowledged, the run is over, or the sender gives up; returns
    /// whether it is acknowledged.
    async fn deliver(&mut self, key: &str, content: Content, gives_up: bool) -> bool {
        let request = post(&body(key, content));
        loop {
            if let Some(answer) = self.ask(&request).await {
                if self.load.book.note(key, content, &answer) {
                    return true;
                }
                if gives_up {
                    return false;
                }
            }
            if self.load.stop.is_cancelled() {
                return false;
            }
            self.turn += 1;
            sleep(PAUSE).await;
        }
    }

    /// Asks the node whose turn it is; returns `None` if it does not listen.
    async fn ask(&mut self, request: &[u8]) -> Option<Result<Reply, Failure>> {
        let node = self.load.node(self.turn);
        let mut client = match self.clients.remove(&node) {
            Some(client) if client.is_open() => client,
            _ => Client::connect(node).await?,
        };
        let answer = client.ask(request).await;
        if matches!(&answer, Ok(answer) if !answer.is_last()) {
            self.clients.insert(node, client);
        }
        Some(answer)
    }
}

/// A load of all behaviours that do no harm: most handlers succeed.
pub(crate) const fn mixed(number: u64) -> Behaviour {
    match number % 100 {
        17 => Behaviour::Long,
        _ => brief(number),
    }
}

/// The same load without handlers that take long.
pub(crate) const fn brief(number: u64) -> Behaviour {
    match number % 100 {
        31 | 62 => Behaviour::Once,
        83 => Behaviour::Reject,
        rest if rest % 5 == 4 => Behaviour::Booked,
        _ => Behaviour::Well,
    }
}

/// A load of one behaviour.
pub(crate) const fn well(_: u64) -> Behaviour {
    Behaviour::Well
}

/// Delivers one event to one node until it is acknowledged.
pub(crate) async fn deliver_to(node: SocketAddr, book: &Book, key: &str) -> anyhow::Result<()> {
    deliver_content_to(node, book, key, Content::Own).await
}

/// Does the same with this content.
pub(crate) async fn deliver_content_to(
    node: SocketAddr,
    book: &Book,
    key: &str,
    content: Content,
) -> anyhow::Result<()> {
    let request = post(&body(key, content));
    let limit = Limit::of(PATIENCE);
    loop {
        if let Some(mut client) = Client::connect(node).await {
            let answer = client.ask(&request).await;
            if book.note(key, content, &answer) {
                return Ok(());
            }
        }
        sleep(PAUSE).await;
        limit.pause(|| format!("{node} accepts {key}")).await?;
    }
}

/// Returns the key of an event with `behaviour`, distinct from those of a load.
pub(crate) fn key(behaviour: Behaviour, number: u64) -> String {
    behaviour.key(9_000_000 + number)
}
