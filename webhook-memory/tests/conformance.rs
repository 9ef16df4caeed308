//! The conformance suite, in paused time and in real time on several threads.

use std::sync::Arc;

use webhook_core::conformance::{Backend, Subject};
use webhook_memory::MemoryStore;

struct Memory(Arc<MemoryStore>);

impl Subject for Memory {
    async fn set_up() -> Self {
        Self(Arc::default())
    }

    fn backend(&self) -> Backend {
        Backend::new(self.0.clone())
    }

    async fn clean_up(self) {}
}

mod paused_time {
    webhook_core::conformance!(super::Memory, start_paused = true);
}

mod real_time {
    webhook_core::conformance!(super::Memory, flavor = "multi_thread", worker_threads = 4);
}
