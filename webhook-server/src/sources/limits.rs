//! The limits of one source, for deliveries that are verified. Requests of others use up none of them.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use crate::config::SourceConfig;

/// How many long bodies of a source are verified at the same time.
const MAX_VERIFICATIONS: usize = 1;

/// How many refused requests of a source are looked at in a second. Others have no hint, only the reason: looking
/// for one takes several verifications, which a flood must not cause.
const DIAGNOSES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");

/// The limits of a source.
#[derive(Debug)]
pub(crate) struct Limits {
    rate: Option<DefaultDirectRateLimiter>,
    deliveries: Semaphore,
    bytes: Semaphore,
    max_bytes: usize,
    /// Limits how many long bodies are verified at a time.
    pub(crate) verifications: Arc<Semaphore>,
    diagnoses: DefaultDirectRateLimiter,
}

/// The share of a delivery in the limits of its source, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    _delivery: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverLimit {
    /// `requests_per_second`.
    Rate,
    /// `max_queued`.
    Deliveries,
    /// `max_queued_bytes`.
    Bytes,
    /// `max_stored`.
    Stored,
}

impl OverLimit {
    /// The key of the limit in the configuration.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Rate => "requests_per_second",
            Self::Deliveries => "max_queued",
            Self::Bytes => "max_queued_bytes",
            Self::Stored => "max_stored",
        }
    }
}

impl Limits {
    pub(super) fn new(config: &SourceConfig) -> Self {
        let max_bytes = config.max_queued_bytes.clamp(1, Semaphore::MAX_PERMITS);
        let max_bytes = max_bytes.min(u32::MAX as usize);
        let rate = config.requests_per_second;
        Self {
            rate: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            deliveries: Semaphore::new(config.max_queued.clamp(1, Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new(max_bytes),
            max_bytes,
            verifications: Arc::new(Semaphore::new(MAX_VERIFICATIONS)),
            diagnoses: RateLimiter::direct(Quota::per_second(DIAGNOSES_PER_SECOND)),
        }
    }

    /// Admits a delivery with a body of `bytes`, which waits for the store until the result is dropped.
    pub(super) fn admit(&self, bytes: usize) -> Result<Admitted<'_>, OverLimit> {
        // First, since a delivery that is not admitted must not count towards the rate.
        let over = |limit| move |_: TryAcquireError| limit;
        let delivery = self.deliveries.try_acquire();
        let delivery = delivery.map_err(over(OverLimit::Deliveries))?;
        let share = u32::try_from(bytes.clamp(1, self.max_bytes)).unwrap_or(u32::MAX);
        let bytes = self.bytes.try_acquire_many(share);
        let bytes = bytes.map_err(over(OverLimit::Bytes))?;
        if let Some(rate) = &self.rate {
            rate.check().map_err(|_| OverLimit::Rate)?;
        }
        Ok(Admitted {
            _delivery: delivery,
            _bytes: bytes,
        })
    }

    /// Whether one more refused request may be looked at now.
    pub(super) fn may_diagnose(&self) -> bool {
        self.diagnoses.check().is_ok()
    }
}
