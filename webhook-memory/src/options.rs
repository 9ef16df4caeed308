//! The limits of a store.

/// The limits of a [`MemoryStore`](crate::MemoryStore). Beside events, it keeps the latest 10,000 audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// The largest number of events in the store, including settled events. Default: 1,000,000.
    pub capacity: usize,
    /// The largest total size of the events in the store, in bytes, including settled events. Default: 1 GiB.
    ///
    /// An event counts as 500 bytes plus its body, its headers, its reason and twice its key. Each conflicting
    /// body (at most [`MAX_CONFLICT_BODIES`](webhook_core::MAX_CONFLICT_BODIES) of at most
    /// [`MAX_CONFLICT_BODY_BYTES`](webhook_core::MAX_CONFLICT_BODY_BYTES)) and each reason of a failed attempt
    /// (at most [`MAX_FAILED_ATTEMPTS`](webhook_core::MAX_FAILED_ATTEMPTS)) with its details (at most
    /// [`MAX_DETAILS_BYTES`](webhook_core::MAX_DETAILS_BYTES)) counts as its length plus 100 bytes. A conflict
    /// needs room like a new event. Only reasons and details may exceed this limit, since an attempt that
    /// ended must be settled; batches are then refused until there is room again.
    pub max_bytes: usize,
    /// What happens to a batch that would exceed one of the limits. Default: [`WhenFull::Refuse`].
    pub when_full: WhenFull,
}

impl MemoryOptions {
    /// Sets [`capacity`](field@Self::capacity).
    #[must_use]
    pub fn with_capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// Sets [`max_bytes`](field@Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`when_full`](field@Self::when_full).
    #[must_use]
    pub fn with_when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            max_bytes: 1 << 30,
            when_full: WhenFull::default(),
        }
    }
}

/// What a [`MemoryStore`](crate::MemoryStore) does with a batch of events that would exceed its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Returns [`StoreError::Full`](webhook_core::StoreError::Full) and stores nothing, until an operator
    /// prunes. No key is ever forgotten.
    #[default]
    Refuse,
    /// Evicts as many processed events as necessary, of all kinds, the earliest settled first. Their keys are
    /// free again, as after [`Admin::prune`](webhook_core::Admin::prune), so a redelivery of such an event is
    /// processed again. If evicting all of them does not make enough room, the store returns
    /// [`StoreError::Full`](webhook_core::StoreError::Full): PROCESSING and FAILED events are never evicted.
    EvictProcessed,
}
