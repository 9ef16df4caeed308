//! Connections that pass from one statement to the next without going back to the pool.
//!
//! sqlx pings every connection that goes back: one more round trip for each statement, and while
//! it is under way the next statement takes another connection, whose caches are cold.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Checkout;

/// After as long a connection goes back all the same: the pool closes those that are too old.
const MAX_LENT: Duration = Duration::from_secs(30);

/// What was not needed for as long is more than what is needed.
const MAX_UNUSED: Duration = Duration::from_secs(1);

/// Connections between two statements.
#[derive(Default)]
pub(crate) struct Spares {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one used last at the end.
    spares: Vec<Spare>,
    /// How many wait for the pool to give them a connection.
    waiting: usize,
}

struct Spare {
    checkout: Checkout,
    used: Instant,
}

/// Somebody who waits for the pool: what becomes free meanwhile must go through the pool.
pub(crate) struct Waiting<'a>(&'a Spares);

impl Spares {
    /// The connection that was used last; where there is none, the pool must be asked.
    pub(crate) fn take(&self) -> Result<Checkout, Waiting<'_>> {
        let mut state = self.lock();
        if let Some(spare) = state.spares.pop() {
            return Ok(spare.checkout);
        }
        state.waiting += 1;
        Err(Waiting(self))
    }

    /// Keeps a connection for the next statement; `closing` says that none will come.
    pub(crate) fn keep(&self, checkout: Checkout, closing: impl FnOnce() -> bool) {
        let mut surplus = Vec::new();
        let mut state = self.lock();
        // Asked under the lock: whoever closes empties the spares after that began.
        if state.waiting > 0 || checkout.lent.elapsed() > MAX_LENT || closing() {
            surplus.push(checkout);
        } else {
            let used = Instant::now();
            state.spares.push(Spare { checkout, used });
            let unused = |spare: &Spare| spare.used + MAX_UNUSED < used;
            let count = state.spares.iter().take_while(|it| unused(it)).count();
            surplus.extend(state.spares.drain(..count).map(|spare| spare.checkout));
        }
        drop(state);
        drop(surplus);
    }

    /// Gives all of them back to the pool.
    pub(crate) fn give_back(&self) {
        let spares = std::mem::take(&mut self.lock().spares);
        drop(spares);
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

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spares").finish_non_exhaustive()
    }
}
