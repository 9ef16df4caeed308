//! The state of one connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// One connection, shared by its task and [`Connections`](super::Connections).
pub(in crate::http) struct Peer {
    addr: Option<IpAddr>,
    /// The address or network whose limit it counts towards; `None` for trusted proxies.
    pub(super) client: Option<u128>,
    /// Whether it has sent a delivery with a valid signature.
    is_verified: AtomicBool,
    /// Since when it waits for its client, in milliseconds after `started`; [`NOT_WAITING`] while the
    /// server works.
    waiting_since: AtomicU64,
    phase: AtomicU8,
    phase_since: AtomicU64,
    started: Instant,
    order: AtomicU8,
    leaves_bytes_unread: AtomicBool,
    task: AtomicWaker,
}

const NOT_WAITING: u64 = u64::MAX;

/// What a connection must do. An order is only ever replaced by a more urgent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Order {
    /// Go on serving.
    Serve = 0,
    /// End after the request under way.
    Finish = 1,
    /// End now.
    Abort = 2,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Phase {
    /// Receiving the head of a request.
    Head = 0,
    /// Waiting for the next request.
    Idle = 1,
    /// Receiving a body, or waiting for the server.
    Busy = 2,
    /// Waiting for the first request, or receiving its head.
    First = 3,
}

impl Peer {
    pub(super) fn new(addr: Option<IpAddr>, client: Option<u128>, started: Instant) -> Self {
        let now = millis(started.elapsed());
        Self {
            addr,
            client,
            is_verified: AtomicBool::new(false),
            waiting_since: AtomicU64::new(now),
            phase: AtomicU8::new(Phase::First as u8),
            phase_since: AtomicU64::new(now),
            started,
            order: AtomicU8::new(Order::Serve as u8),
            leaves_bytes_unread: AtomicBool::new(false),
            task: AtomicWaker::new(),
        }
    }

    /// Since when it waits for its client, in milliseconds; a time beyond all others while the server
    /// works.
    pub(super) fn waiting_since(&self) -> u64 {
        self.waiting_since.load(Ordering::Relaxed)
    }

    pub(super) fn has_verified(&self) -> bool {
        self.is_verified.load(Ordering::Relaxed)
    }

    /// The address of the other end; `None` if it is no socket.
    pub(in crate::http) const fn addr(&self) -> Option<IpAddr> {
        self.addr
    }

    /// Notes that the client has to act now: to send, or to read its answer.
    pub(in crate::http) fn waits_for_client(&self) {
        let now = millis(self.started.elapsed());
        self.waiting_since.store(now, Ordering::Relaxed);
    }

    /// Notes that the server has to act now.
    pub(in crate::http) fn waits_for_server(&self) {
        self.waiting_since.store(NOT_WAITING, Ordering::Relaxed);
    }

    /// Notes that `phase` begins.
    pub(in crate::http) fn begins(&self, phase: Phase) {
        let now = millis(self.started.elapsed());
        self.phase_since.store(now, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Notes that bytes arrived. On an idle connection they begin the head of the next request.
    pub(in crate::http) fn receives_bytes(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.begins(Phase::Head);
        }
    }

    /// Whether no request has arrived yet.
    pub(in crate::http) fn awaits_first_request(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::First as u8
    }

    /// When the connection must be closed if nothing happens until then. `head` limits the head of a
    /// request, and `idle` the wait for the next one.
    pub(in crate::http) fn closes_at(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let limit = match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Busy as u8 => return None,
            phase if phase == Phase::Idle as u8 => idle,
            _ => head,
        };
        let since = Duration::from_millis(self.phase_since.load(Ordering::Relaxed));
        self.started.checked_add(since)?.checked_add(limit)
    }

    /// Notes that the connection has sent a delivery with a valid signature.
    pub(in crate::http) fn note_verified(&self) {
        self.is_verified.store(true, Ordering::Relaxed);
    }

    /// Notes that an answer is sent before its request was read to the end.
    pub(in crate::http) fn leaves_bytes_unread(&self) {
        self.leaves_bytes_unread.store(true, Ordering::Relaxed);
    }

    /// Whether the client may still be sending while the connection is closed. It is not if the
    /// connection is idle and closed because the server stops.
    pub(in crate::http) fn may_be_sending(&self) -> bool {
        self.leaves_bytes_unread.load(Ordering::Relaxed)
            || self.order.load(Ordering::Relaxed) == Order::Serve as u8
    }

    /// The current order. The next one wakes the task of `context`.
    pub(in crate::http) fn poll_order(&self, context: &Context<'_>) -> Order {
        let waker: &Waker = context.waker();
        self.task.register(waker);
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Finish,
            _ => Order::Abort,
        }
    }

    /// Gives `order`, unless a more urgent one was given.
    pub(super) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Release);
        self.task.wake();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("waiting_since_ms", &self.waiting_since)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// `duration` in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NOT_WAITING - 1)
}

#[cfg(test)]
impl Peer {
    pub(super) fn current_order(&self) -> u8 {
        self.order.load(Ordering::Relaxed)
    }
}
