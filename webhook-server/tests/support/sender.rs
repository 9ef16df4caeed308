//! A sender that retries each delivery until it is acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Client, Reply, post};
use super::{in_time, transaction};

/// The state that all senders share.
struct Sending {
    nodes: Vec<SocketAddr>,
    count: u32,
    next: AtomicU32,
    acknowledged: AtomicU32,
    duplicates: AtomicU32,
}

/// Running senders.
pub(crate) struct Deliveries {
    sending: Arc<Sending>,
    senders: JoinSet<()>,
}

/// The id of event number `number`.
pub(crate) fn id(number: u32) -> String {
    format!("tx-{number:05}")
}

/// Delivers `count` events to `nodes`, each event again and again until it is acknowledged, to the
/// next node where one does not answer.
pub(crate) fn deliver(nodes: Vec<SocketAddr>, count: u32, connections: usize) -> Deliveries {
    let sending = Arc::new(Sending {
        nodes,
        count,
        next: AtomicU32::new(0),
        acknowledged: AtomicU32::new(0),
        duplicates: AtomicU32::new(0),
    });
    let mut senders = JoinSet::new();
    for number in 0..connections {
        senders.spawn(send(Arc::clone(&sending), number));
    }
    Deliveries { sending, senders }
}

impl Deliveries {
    /// How many events are acknowledged by now.
    pub(crate) fn acknowledged(&self) -> u32 {
        self.sending.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until all are acknowledged; how many of them as duplicates of what went unanswered.
    pub(crate) async fn finish(self) -> u32 {
        self.senders.join_all().await;
        self.sending.duplicates.load(Ordering::Relaxed)
    }
}

async fn send(sending: Arc<Sending>, connection: usize) {
    let mut node = connection;
    let mut client = None;
    loop {
        let number = sending.next.fetch_add(1, Ordering::Relaxed);
        if number >= sending.count {
            return;
        }
        let request = post(transaction(&id(number)));
        in_time("the delivery is acknowledged", async {
            loop {
                let addr = sending.nodes[node % sending.nodes.len()];
                match ask(&mut client, addr, &request).await {
                    Some(reply) if reply.status == 503 => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Some(reply) => {
                        if reply.json()["status"] == "DUPLICATE" {
                            sending.duplicates.fetch_add(1, Ordering::Relaxed);
                        } else {
                            reply.acknowledged("ACCEPTED");
                        }
                        break;
                    }
                    None => {
                        client = None;
                        node += 1;
                    }
                }
            }
        })
        .await;
        sending.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(client: &mut Option<Client>, addr: SocketAddr, request: &[u8]) -> Option<Reply> {
    if client.is_none() {
        *client = Client::try_connect(addr).await.ok();
    }
    let client = client.as_mut()?;
    client.send_some(request).await;
    client.try_reply().await
}
