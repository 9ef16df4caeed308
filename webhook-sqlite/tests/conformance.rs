//! The conformance suite, over one file and over two that are one inbox.

use std::sync::Arc;

use tempfile::TempDir;
use webhook_core::conformance::{self, Backend, Subject};
use webhook_core::{Partition, PartitionOptions, Partitioned};
use webhook_sqlite::{SqliteError, SqliteOptions, SqliteStore};

/// Opens a file that writes keys to its index early, so that few events are enough.
async fn open(folder: &TempDir, name: &str) -> Result<SqliteStore, SqliteError> {
    let options = SqliteOptions::new(folder.path().join(name)).with_recent_keys(2);
    SqliteStore::open_with(options).await
}

struct File {
    store: Arc<SqliteStore>,
    _folder: TempDir,
}

impl Subject for File {
    async fn set_up() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let store = open(&folder, "webhook.db");
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

/// One inbox over two files.
struct Files {
    store: Arc<Partitioned>,
    _folder: TempDir,
}

impl Subject for Files {
    async fn set_up() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let mut files: Vec<Arc<dyn Partition>> = Vec::new();
        for name in ["0.db", "1.db"] {
            let store = open(&folder, name).await;
            files.push(Arc::new(store.expect("the file can be created")));
        }
        let options = PartitionOptions::default().with_whole_kinds(conformance::whole_kinds());
        let store = Partitioned::open(files, options).await;
        Self {
            store: Arc::new(store.expect("the files are new")),
            _folder: folder,
        }
    }

    fn backend(&self) -> Backend {
        Backend::new(self.store.clone()).with_transfer(Some(self.store.clone()))
    }

    async fn clean_up(self) {}
}

mod partitions {
    webhook_core::conformance!(super::Files, flavor = "multi_thread", worker_threads = 2);
    webhook_core::conformance_transfer!(super::Files, flavor = "multi_thread", worker_threads = 2);
}
