//! Who may deliver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use hyper::HeaderMap;
use webhook_core::signature::{Delivery, Verifier};

use super::problem::Problem;

/// Lets through what its sender has signed; everything, where there is no verifier.
///
/// The verifier can be replaced at any time: a request is judged by the one that it finds.
#[derive(Debug, Default)]
pub struct Gate {
    verifier: RwLock<Option<Arc<dyn Verifier>>>,
    refused: AtomicU64,
}

impl Gate {
    /// A gate with this verifier.
    pub fn new(verifier: Option<Arc<dyn Verifier>>) -> Self {
        Self {
            verifier: RwLock::new(verifier),
            refused: AtomicU64::new(0),
        }
    }

    /// Judges by `verifier` from now on.
    pub fn replace(&self, verifier: Option<Arc<dyn Verifier>>) {
        *self
            .verifier
            .write()
            .unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    /// How many deliveries were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let verifier = self.verifier.read().unwrap_or_else(PoisonError::into_inner);
        let Some(verifier) = verifier.clone() else {
            return Ok(());
        };
        let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let delivery = Delivery::new(&header, body, SystemTime::now());
        verifier.verify(&delivery).map_err(|reason| {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // The sender is told nothing of the reason; flooding the log must not be so easy either.
            if refused.is_power_of_two() {
                tracing::warn!(%reason, refused, "deliveries refused: not signed by their sender");
            } else {
                tracing::debug!(%reason, refused, "delivery refused: not signed by its sender");
            }
            Problem::unauthorized()
        })
    }
}
