//! Tells, once for each kind, of events that no handler of their pipeline takes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::event::Kind;
use crate::panics::logging;

/// At most as many kinds are told of: an app may make kinds up without end.
const MAX_TOLD: usize = 100;

/// The kinds that a pipeline has handlers for, and those that it has told of.
pub(crate) struct Unhandled {
    handled: HashSet<Kind>,
    told: Mutex<HashSet<Kind>>,
}

impl Unhandled {
    pub(crate) fn but<'k>(handled: impl Iterator<Item = &'k Kind>) -> Self {
        Self {
            handled: handled.cloned().collect(),
            told: Mutex::default(),
        }
    }

    /// Logs that `kind` has no handler, where that is so and has not been logged.
    pub(super) fn accepting(&self, kind: &Kind) {
        if !self.handled.contains(kind) && self.is_news(kind) {
            logging(|| {
                warn!(
                    %kind,
                    "this process has no handler for events of this kind: they wait for one that has"
                );
            });
        }
    }

    fn is_news(&self, kind: &Kind) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MAX_TOLD && told.insert(kind.clone())
    }
}
