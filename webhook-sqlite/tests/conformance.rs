//! The conformance suite.

use std::sync::Arc;

use tempfile::TempDir;
use webhook_core::conformance::{Backend, Subject};
use webhook_sqlite::SqliteStore;

struct File {
    store: Arc<SqliteStore>,
    _folder: TempDir,
}

impl Subject for File {
    async fn set_up() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let store = SqliteStore::open(folder.path().join("webhook.db"));
        Self {
            store: Arc::new(store.await.expect("the file can be created")),
            _folder: folder,
        }
    }

    fn backend(&self) -> Backend {
        Backend::new(self.store.clone())
            .with_transfer(Some(self.store.clone()))
            .with_partition(Some(self.store.clone()))
    }

    async fn clean_up(self) {}
}

webhook_core::conformance!(File, flavor = "multi_thread", worker_threads = 2);
webhook_core::conformance_transfer!(File, flavor = "multi_thread", worker_threads = 2);
webhook_core::conformance_partition!(File, flavor = "multi_thread", worker_threads = 2);
