//! Runs the conformance suite in paused time, in real time on several threads, and through
//! pointers.

use std::sync::Arc;

use webhook_core::conformance::{Backend, Subject};
use webhook_memory::MemoryStore;

struct Memory(Arc<MemoryStore>);

impl Subject for Memory {
    async fn set_up() -> Self {
        Self(Arc::default())
    }

    fn backend(&self) -> Backend {
        Backend::new(self.0.clone()).with_partition(Some(self.0.clone()))
    }

    async fn clean_up(self) {}
}

/// Pointers to a backend implement its traits.
struct BehindPointers(Arc<MemoryStore>);

impl Subject for BehindPointers {
    async fn set_up() -> Self {
        Self(Arc::default())
    }

    fn backend(&self) -> Backend {
        let pointer = Arc::new(Box::new(self.0.clone()));
        Backend::new(pointer.clone()).with_partition(Some(pointer))
    }

    async fn clean_up(self) {}
}

mod behind_pointers {
    webhook_core::conformance!(super::BehindPointers, start_paused = true);
    webhook_core::conformance_partition!(super::BehindPointers, start_paused = true);
}

mod paused_time {
    webhook_core::conformance!(super::Memory, start_paused = true);
}

mod real_time {
    webhook_core::conformance!(super::Memory, flavor = "multi_thread", worker_threads = 4);
    webhook_core::conformance_partition!(
        super::Memory,
        flavor = "multi_thread",
        worker_threads = 4
    );
}
