//! Logs, once for each kind, that a pipeline accepts events for which it has no handler.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::event::Kind;
use crate::panics::logging;

/// The largest number of kinds that are logged: an app may create any number of kinds.
const MAX_LOGGED: usize = 100;

/// The kinds that have a handler, and the kinds that were logged already.
pub(crate) struct Unhandled {
    handled: HashSet<Kind>,
    logged: Mutex<HashSet<Kind>>,
}

impl Unhandled {
    pub(crate) fn except<'k>(handled: impl Iterator<Item = &'k Kind>) -> Self {
        Self {
            handled: handled.cloned().collect(),
            logged: Mutex::default(),
        }
    }

    /// Logs that `kind` has no handler, if it has none and this was not logged before.
    pub(super) fn accepting(&self, kind: &Kind) {
        if !self.handled.contains(kind) && self.is_new(kind) {
            logging(|| {
                warn!(
                    %kind,
                    "this process has no handler for events of this kind: they wait for one that has"
                );
            });
        }
    }

    fn is_new(&self, kind: &Kind) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < MAX_LOGGED && logged.insert(kind.clone())
    }
}
