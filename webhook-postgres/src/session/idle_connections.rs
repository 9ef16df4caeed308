//! Idle connections: kept between two statements without going back to the pool.
//!
//! sqlx pings every connection that goes back: one more round trip for each statement, and while
//! it is under way the next statement takes another connection, whose caches are cold.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Checkout;

/// After this long a connection goes back in any case: the pool closes connections that are too old.
const MAX_LENT: Duration = Duration::from_secs(30);

/// A connection that was idle for longer goes back to the pool: there are more than are needed.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// The idle connections of one pool.
#[derive(Default)]
pub(crate) struct IdleConnections {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The most recently used one is last.
    idle: Vec<Idle>,
    /// How many callers wait for the pool to give them a connection.
    waiting: usize,
}

struct Idle {
    checkout: Checkout,
    since: Instant,
}

/// A caller that waits for the pool: meanwhile, connections that become free go back to the pool.
pub(crate) struct Waiting<'a>(&'a IdleConnections);

impl IdleConnections {
    /// Takes the most recently used connection. If there is none, the caller must ask the pool.
    pub(crate) fn take(&self) -> Result<Checkout, Waiting<'_>> {
        let mut state = self.lock();
        if let Some(idle) = state.idle.pop() {
            return Ok(idle.checkout);
        }
        state.waiting += 1;
        Err(Waiting(self))
    }

    /// Keeps a connection for the next statement, unless `closing` says that there will be none.
    pub(crate) fn keep(&self, checkout: Checkout, closing: impl FnOnce() -> bool) {
        let mut surplus = Vec::new();
        let mut state = self.lock();
        // Asked under the lock: a store that closes gives the idle connections back after closing began.
        if state.waiting > 0 || checkout.lent.elapsed() > MAX_LENT || closing() {
            surplus.push(checkout);
        } else {
            let since = Instant::now();
            state.idle.push(Idle { checkout, since });
            let is_surplus = |idle: &Idle| idle.since + MAX_IDLE < since;
            let count = state.idle.iter().take_while(|it| is_surplus(it)).count();
            surplus.extend(state.idle.drain(..count).map(|idle| idle.checkout));
        }
        drop(state);
        drop(surplus);
    }

    /// How many connections are kept.
    pub(crate) fn len(&self) -> usize {
        self.lock().idle.len()
    }

    /// Gives all connections back to the pool.
    pub(crate) fn give_back(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        drop(idle);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl fmt::Debug for IdleConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleConnections").finish_non_exhaustive()
    }
}
