//! Nodes: they start, crash, stop and stall.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use webhook_core::{Inbox, Payload, Worker, WorkerBuilder};

use super::World;
use crate::handlers::Script;
use crate::history::{Fact, Life, Part};
use crate::payload::{Alpha, Beta};
use crate::time::ticks;
use crate::wire::Faulty;

/// A node, which has one life after another.
pub(super) enum Node {
    Down {
        until: u64,
    },
    Up {
        life: Life,
        inbox: Inbox,
        workers: Vec<Worker>,
    },
    Stopping {
        life: Life,
        inbox: Inbox,
        stopping: JoinHandle<()>,
    },
}

impl World {
    pub(super) fn start(&mut self, number: usize) {
        self.lives += 1;
        let life = Life(self.lives);
        self.history.write(Fact::Started { node: number, life });
        let store = Faulty::new(Arc::clone(&self.wire), life, Part::Inbox);
        self.nodes[number] = Node::Up {
            life,
            inbox: Inbox::new(Arc::new(store), self.plan.inbox.clone()),
            workers: self.workers(life),
        };
    }

    /// Starts the workers of a node: one for each kind, or one for both.
    fn workers(&self, life: Life) -> Vec<Worker> {
        let none = Worker::builder;
        if self.plan.shared_worker {
            let both = self.handle::<Beta>(self.handle::<Alpha>(none(), life, 0), life, 1);
            return vec![self.start_worker(both, life)];
        }
        let alpha = self.handle::<Alpha>(none(), life, 0);
        let beta = self.handle::<Beta>(none(), life, 1);
        vec![
            self.start_worker(alpha, life),
            self.start_worker(beta, life),
        ]
    }

    fn start_worker(&self, worker: WorkerBuilder, life: Life) -> Worker {
        let part = Part::Worker(worker.kinds().cloned().collect());
        worker.start(Arc::new(Faulty::new(Arc::clone(&self.wire), life, part)))
    }

    fn handle<P: Payload>(
        &self,
        worker: WorkerBuilder,
        life: Life,
        number: usize,
    ) -> WorkerBuilder {
        let script = Script {
            wire: Arc::clone(&self.wire),
            history: self.history.clone(),
            life,
            kind: webhook_core::payload::kind_of::<P>(),
            seed: self.seed,
            badly: self.plan.faults.handlers,
        };
        worker.handle::<P>(self.plan.workers[number].clone(), script)
    }

    /// Picks the inbox of a node that runs or is stopping, if there is one.
    pub(super) fn any_inbox(&mut self) -> Option<(Life, Inbox)> {
        let inboxes = self.nodes.iter().filter_map(|node| match node {
            Node::Down { .. } => None,
            Node::Up { life, inbox, .. } | Node::Stopping { life, inbox, .. } => {
                Some((*life, inbox.clone()))
            }
        });
        let mut inboxes: Vec<_> = inboxes.collect();
        if inboxes.is_empty() {
            return None;
        }
        let any = self.dice.index(inboxes.len());
        Some(inboxes.swap_remove(any))
    }

    pub(super) async fn crash_any(&mut self) {
        let lives = self.lives_now();
        if !lives.is_empty() {
            let (_, life) = lives[self.dice.index(lives.len())];
            self.crash(life).await;
        }
    }

    /// Ends a life at once. Its pending calls may still have an effect; later ones do not.
    pub(super) async fn crash(&mut self, life: Life) {
        let lives = self.lives_now();
        let Some((number, _)) = lives.into_iter().find(|(_, it)| *it == life) else {
            return;
        };
        self.history.write(Fact::Crashed { life });
        self.wire.bury(life);
        self.abandon(life).await;
        self.hang_up(life);
        let down = if self.calm {
            0
        } else {
            self.dice.within(0..=20)
        };
        let until = self.tick + 1 + down;
        let dead = std::mem::replace(&mut self.nodes[number], Node::Down { until });
        if let Node::Stopping { stopping, .. } = &dead {
            stopping.abort();
        }
    }

    /// Shuts a node down, or drops its parts without waiting for them.
    pub(super) fn stop_any(&mut self) {
        let up = self.nodes.iter().enumerate();
        let up = up.filter(|(_, node)| matches!(node, Node::Up { .. }));
        let up: Vec<usize> = up.map(|(number, _)| number).collect();
        if up.is_empty() {
            return;
        }
        let number = up[self.dice.index(up.len())];
        let until = self.tick + self.dice.within(1..=10);
        let node = std::mem::replace(&mut self.nodes[number], Node::Down { until });
        let Node::Up {
            life,
            inbox,
            workers,
        } = node
        else {
            return;
        };
        let drain = ticks(self.dice.pick(&[0, 1, 10]));
        if self.dice.chance(0.2) {
            // The node is dropped here. Its tasks release their leases at once.
            let drain = Duration::ZERO;
            self.history.write(Fact::Stopping { life, drain });
            return;
        }
        self.history.write(Fact::Stopping { life, drain });
        let history = self.history.clone();
        let closing = inbox.clone();
        let stopping = tokio::spawn(async move {
            closing.close().await;
            join_all(workers.into_iter().map(|worker| worker.shutdown(drain))).await;
            history.write(Fact::Stopped { life });
        });
        self.nodes[number] = Node::Stopping {
            life,
            inbox,
            stopping,
        };
    }

    /// Stalls the calls of a node, while its clock goes on.
    pub(super) fn stall_any(&mut self) {
        let lives = self.lives_now();
        if lives.is_empty() {
            return;
        }
        let (_, life) = lives[self.dice.index(lives.len())];
        let stalled = self.dice.within(1..=60);
        self.history.write(Fact::Stalled {
            life,
            ticks: stalled,
        });
        self.stalled.insert(life, self.tick + stalled);
    }

    /// Records new and dropped calls, notices nodes that have stopped, and crashes nodes whose
    /// handlers ask for it.
    pub(super) async fn take_notice(&mut self) {
        for call in self.calls.dropped() {
            self.history.write(Fact::Dropped { call });
        }
        for parked in self.wire.arrivals() {
            self.history.write(Fact::Called {
                call: parked.id.clone(),
                what: parked.call.clone(),
            });
            self.calls.admit(parked);
        }
        for life in self.wire.doomed() {
            self.crash(life).await;
            self.quiesce().await;
        }
        for node in &mut self.nodes {
            if matches!(node, Node::Stopping { stopping, .. } if stopping.is_finished()) {
                *node = Node::Down {
                    until: self.tick + 1,
                };
            }
        }
        self.collect();
    }

    fn lives_now(&self) -> Vec<(usize, Life)> {
        let lives = self.nodes.iter().enumerate();
        let lives = lives.filter_map(|(number, node)| match node {
            Node::Down { .. } => None,
            Node::Up { life, .. } | Node::Stopping { life, .. } => Some((number, *life)),
        });
        lives.collect()
    }
}
