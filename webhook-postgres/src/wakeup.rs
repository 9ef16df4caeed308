//! Wakes workers for events that fall due earlier than they expect.
//!
//! Workers of this process are woken directly. Those of others are told by NOTIFY: sent after the
//! commit and by a task of its own, since NOTIFY inside a transaction takes a lock that all
//! commits wait for, and only for what falls due before they would look by themselves. Through a
//! pooler there is no LISTEN, and workers look more often instead.

mod listen;
mod local;
mod notify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use webhook_core::{Kind, wakeup};

use crate::options::Pooler;
use crate::session::{Database, Link};
use local::{Expecting, Local};
use notify::Outbox;

/// How often workers look by themselves when nobody wakes them: what falls due later than that
/// needs no notification.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The same through a pooler, which passes no notifications on: one query in two seconds when
/// idle.
pub const POOLED_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long closing a store waits for its last notifications.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Wakeups {
    local: Arc<Local>,
    link: Link,
    database: Database,
    outbox: Arc<Outbox>,
    tasks: Mutex<Tasks>,
}

/// What runs in the background, once it is needed.
#[derive(Default)]
struct Tasks {
    sending: Option<JoinHandle<()>>,
    listening: Option<JoinHandle<()>>,
    stopped: bool,
}

impl Wakeups {
    pub(crate) fn new(database: Database, link: Link) -> Self {
        Self {
            local: Arc::default(),
            link,
            database,
            outbox: Arc::new(Outbox::new()),
            tasks: Mutex::default(),
        }
    }

    pub(crate) fn pooler(&self) -> Pooler {
        match self.link {
            Link::Direct => Pooler::None,
            Link::Pooled => Pooler::Transaction,
        }
    }

    /// Tells of committed events, by kind and how soon they fall due.
    pub(crate) fn due<'e>(&self, events: impl Iterator<Item = (&'e Kind, Duration)>) {
        let mut soonest: HashMap<&Kind, Duration> = HashMap::new();
        for (kind, due_in) in events {
            let known = soonest.entry(kind).or_insert(due_in);
            *known = due_in.min(*known);
        }
        let now = Instant::now();
        let mut sent = false;
        for (kind, due_in) in soonest {
            // Beyond what an instant can hold is beyond what a worker sleeps.
            let Some(due) = now.checked_add(due_in) else {
                continue;
            };
            self.local.due(kind, due);
            if self.link == Link::Direct && due_in < POLL_INTERVAL {
                self.outbox.put(kind, due);
                sent = true;
            }
        }
        if sent {
            self.start_sending();
        }
    }

    /// Tells that `kind` is no longer paused.
    pub(crate) fn resumed(&self, kind: &Kind) {
        self.local.resumed(kind);
        if self.link == Link::Direct {
            self.outbox.put_resumed(kind);
            self.start_sending();
        }
    }

    /// Notes that a claim of `kind` begins, whose answer is what workers will expect.
    pub(crate) fn expect(&self, kind: &Kind) -> Expecting {
        self.local.expect(kind)
    }

    /// Completes when a worker should look at some of `kinds`, earlier than it expects to, with their
    /// places.
    pub(crate) async fn wait(&self, kinds: &[Kind]) -> Vec<usize> {
        let woken = wakeup::any(kinds.iter().map(|kind| self.local.woken(kind)));
        match self.link {
            Link::Direct => {
                self.start_listening();
                woken.await
            }
            // When the time is over, it is time to look at all of them.
            Link::Pooled => {
                let woken = timeout(POOLED_POLL_INTERVAL, woken).await;
                woken.unwrap_or_else(|_| (0..kinds.len()).collect())
            }
        }
    }

    /// Sends the notifications that wait, so that a process that ends at once, as a command does,
    /// still wakes the workers of others.
    pub(crate) async fn flush(&self) {
        let sent = notify::send_once(&self.outbox, &self.database);
        if timeout(FLUSH_TIMEOUT, sent).await.is_err() {
            tracing::debug!("workers elsewhere could not be notified in time");
        }
    }

    /// Ends what runs in the background, for good.
    pub(crate) fn stop(&self) {
        let mut tasks = self.tasks();
        tasks.stopped = true;
        for task in [tasks.sending.take(), tasks.listening.take()]
            .into_iter()
            .flatten()
        {
            task.abort();
        }
    }

    fn start_sending(&self) {
        let mut tasks = self.tasks();
        if tasks.sending.is_none() && !tasks.stopped {
            let sending = notify::send(self.outbox.clone(), self.database.clone());
            tasks.sending = Some(tokio::spawn(sending));
        }
    }

    fn start_listening(&self) {
        let mut tasks = self.tasks();
        if tasks.listening.is_none() && !tasks.stopped {
            let options = self.database.connect_options();
            let channel = self.database.schema().channel();
            let (local, sender) = (self.local.clone(), self.outbox.sender());
            let listening = listen::listen(options, channel, local, sender);
            tasks.listening = Some(tokio::spawn(listening));
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wakeups {
    fn drop(&mut self) {
        self.stop();
    }
}
