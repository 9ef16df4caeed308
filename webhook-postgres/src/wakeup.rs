//! Wakes workers when an event falls due earlier than they expect.
//!
//! Workers of this process are woken directly, those of other processes by NOTIFY. A task sends NOTIFY after
//! the commit, since inside a transaction it takes a lock that all commits wait for, and only for events that
//! fall due before those workers would poll. Through a transaction-mode pooler there is no LISTEN, and workers
//! poll more often instead.

mod listen;
mod notify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use webhook_core::Kind;
use webhook_core::wakeup::{self, Claiming};

use crate::options::Pooler;
use crate::session::{Database, Link};
use notify::Outbox;

/// How often workers claim without being woken. An event that falls due later than this needs no
/// notification.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How often workers claim through a transaction-mode pooler, which passes no notifications on: an idle worker
/// runs one query in this time.
pub const POOLED_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long closing a store waits until its last notifications are sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Wakeups {
    local: Arc<wakeup::Wakeups>,
    database: Database,
    outbox: Arc<Outbox>,
    tasks: Mutex<Tasks>,
}

/// Background tasks, which start when they are first needed.
#[derive(Default)]
struct Tasks {
    sending: Option<JoinHandle<()>>,
    listening: Option<JoinHandle<()>>,
    stopped: bool,
}

impl Wakeups {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            local: Arc::default(),
            database,
            outbox: Arc::new(Outbox::new()),
            tasks: Mutex::default(),
        }
    }

    pub(crate) fn pooler(&self) -> Pooler {
        match self.database.link() {
            Some(Link::Direct) => Pooler::None,
            Some(Link::Pooled) => Pooler::Transaction,
            None => Pooler::Detect,
        }
    }

    /// Wakes workers for committed events: their kinds, and how soon they fall due.
    pub(crate) fn due<'e>(&self, events: impl Iterator<Item = (&'e Kind, Duration)>) {
        let mut soonest: HashMap<&Kind, Duration> = HashMap::new();
        for (kind, due_in) in events {
            let known = soonest.entry(kind).or_insert(due_in);
            *known = due_in.min(*known);
        }
        let now = Instant::now();
        let mut sent = false;
        for (kind, due_in) in soonest {
            // A worker does not sleep so long that an instant cannot hold it.
            let Some(due) = now.checked_add(due_in) else {
                continue;
            };
            self.local.due(kind, due);
            if self.database.link() == Some(Link::Direct) && due_in < POLL_INTERVAL {
                self.outbox.put(kind, due);
                sent = true;
            }
        }
        if sent {
            self.start_sending();
        }
    }

    /// Wakes workers for `kind`, which was resumed.
    pub(crate) fn resumed(&self, kind: &Kind) {
        self.local.resumed(kind);
        if self.database.link() == Some(Link::Direct) {
            self.outbox.put_resumed(kind);
            self.start_sending();
        }
    }

    /// Records that a claim of `kind` begins. Its answer sets what workers expect.
    pub(crate) fn claiming(&self, kind: &Kind) -> Claiming {
        self.local.claiming(kind)
    }

    /// Completes when a worker should claim some of `kinds` earlier than it expects, and returns their places.
    pub(crate) async fn wait(&self, kinds: &[Kind]) -> Vec<usize> {
        let woken = wakeup::any(kinds.iter().map(|kind| self.local.woken(kind)));
        match self.database.link() {
            Some(Link::Direct) => {
                self.start_listening();
                woken.await
            }
            // After the interval, the worker claims all kinds.
            Some(Link::Pooled) | None => {
                let woken = timeout(POOLED_POLL_INTERVAL, woken).await;
                woken.unwrap_or_else(|_| (0..kinds.len()).collect())
            }
        }
    }

    /// Sends the pending notifications, so that a process that ends at once, such as a command, still wakes the
    /// workers of other processes.
    pub(crate) async fn flush(&self) {
        let sent = notify::send_once(&self.outbox, &self.database);
        if timeout(FLUSH_TIMEOUT, sent).await.is_err() {
            tracing::debug!("closed before other processes were notified, their workers poll");
        }
    }

    /// Stops the background tasks for good.
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
