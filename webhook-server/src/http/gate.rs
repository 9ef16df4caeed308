//! Who may deliver, and who may read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use hyper::HeaderMap;
use webhook_core::signature::{Delivery, Verifier};

use super::problem::Problem;
use super::tokens::{self, Scope, TokenDigest};

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Knows who may deliver; without one, anybody may.
    pub senders: Option<Arc<dyn Verifier>>,
    /// Those who may read; `None` where anybody may.
    pub tokens: Option<Vec<TokenDigest>>,
}

/// Lets through what its rules allow.
///
/// They can be replaced at any time: a request is judged by those that it finds.
#[derive(Debug, Default)]
pub struct Gate {
    rules: RwLock<Arc<Rules>>,
    refused: AtomicU64,
}

impl Gate {
    /// A gate with these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            refused: AtomicU64::new(0),
        }
    }

    /// Judges by `rules` from now on.
    pub fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// How many requests were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn check_sender(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let Some(senders) = &self.rules().senders else {
            return Ok(());
        };
        let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let delivery = Delivery::new(&header, body, SystemTime::now());
        senders.verify(&delivery).map_err(|reason| {
            self.note_refusal("delivery", &reason);
            Problem::unsigned()
        })
    }

    pub(super) fn check_token(&self, headers: &HeaderMap, scope: Scope) -> Result<(), Problem> {
        match &self.rules().tokens {
            Some(known) if !tokens::allow(known, scope, headers) => {
                self.note_refusal(scope, &"no such token");
                Err(Problem::without_token())
            }
            _ => Ok(()),
        }
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }

    /// The client is told nothing of the reason; to flood the log must not be so easy either.
    fn note_refusal(&self, request: impl std::fmt::Display, reason: &dyn std::fmt::Display) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() {
            tracing::warn!(%request, %reason, refused, "requests refused: not by whom they should be");
        } else {
            tracing::debug!(%request, %reason, refused, "request refused");
        }
    }
}
