//! The conformance suite on a store from outside, as its author would run it.

#[expect(dead_code, reason = "what runs it as a program is of no use here")]
#[path = "../third_party_store.rs"]
mod third_party_store;

use std::sync::Arc;

use third_party_store::MapStore;
use webhook_core::conformance::{Backend, Subject};

impl Subject for MapStore {
    async fn set_up() -> Self {
        Self::new()
    }

    fn backend(&self) -> Backend {
        Backend::new(Arc::new(self.clone()))
    }

    async fn clean_up(self) {}
}

webhook_core::conformance!(MapStore, flavor = "multi_thread", worker_threads = 4);
