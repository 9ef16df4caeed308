//! Runs the conformance suite directly on the server, and through a transaction-mode pooler in a
//! schema with another name.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::sync::Arc;

use webhook_core::conformance::{Backend, Subject};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;

/// A store on a database of its own.
struct Own {
    database: TestDatabase,
    store: PgStore,
}

impl Own {
    async fn over(database: TestDatabase, url: &str) -> Self {
        let store = PgStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        Self { database, store }
    }

    fn backend(&self) -> Backend {
        let store = Arc::new(self.store.clone());
        Backend::new(store.clone())
            .with_transfer(Some(store.clone()))
            .with_partition(Some(store))
    }

    async fn clean_up(self) {
        self.store.close().await;
        self.database.drop_database().await;
    }
}

mod direct {
    use super::*;

    struct Direct(Own);

    impl Subject for Direct {
        async fn set_up() -> Self {
            let database = TestDatabase::create().await;
            let url = database.url().to_owned();
            Self(Own::over(database, &url).await)
        }

        fn backend(&self) -> Backend {
            self.0.backend()
        }

        async fn clean_up(self) {
            self.0.clean_up().await;
        }
    }

    webhook_core::conformance!(Direct, flavor = "multi_thread", worker_threads = 2);
    webhook_core::conformance_transfer!(Direct, flavor = "multi_thread", worker_threads = 2);
    webhook_core::conformance_partition!(Direct, flavor = "multi_thread", worker_threads = 2);
}

mod pooled {
    use super::*;

    struct Pooled(Own);

    impl Subject for Pooled {
        async fn set_up() -> Self {
            let database = TestDatabase::create().await;
            // The name is a reserved word of SQL.
            let url = database.pooler_url();
            let separator = if url.contains('?') { '&' } else { '?' };
            let url = format!("{url}{separator}schema=user");
            Self(Own::over(database, &url).await)
        }

        fn backend(&self) -> Backend {
            self.0.backend()
        }

        async fn clean_up(self) {
            self.0.clean_up().await;
        }
    }

    webhook_core::conformance!(Pooled, flavor = "multi_thread", worker_threads = 2);
    webhook_core::conformance_transfer!(Pooled, flavor = "multi_thread", worker_threads = 2);
    webhook_core::conformance_partition!(Pooled, flavor = "multi_thread", worker_threads = 2);
}
