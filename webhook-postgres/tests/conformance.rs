//! Runs the conformance suite directly on the server, through a transaction-mode pooler in a schema with
//! another name, and over three schemas that are one inbox.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::sync::Arc;

use webhook_core::conformance::{self, Backend, Subject};
use webhook_core::{Partition, PartitionOptions, Partitioned};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgOptions, PgStore, Schema};

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

mod partitions {
    use std::sync::Weak;

    use tokio::sync::Mutex;

    use super::*;

    const SCHEMAS: [&str; 3] = ["webhook_0", "webhook_1", "webhook_2"];

    /// A database with three empty inboxes, for as long as a case uses it. With copies of it, all cases took 68 s on
    /// a busy machine, and 98 s when each migrated three schemas.
    static EMPTY: Mutex<Weak<TestDatabase>> = Mutex::const_new(Weak::new());

    /// One inbox over three schemas.
    struct Schemas {
        database: TestDatabase,
        schemas: Vec<PgStore>,
        store: Arc<Partitioned>,
        _empty: Arc<TestDatabase>,
    }

    async fn connect(database: &TestDatabase, schema: &str) -> PgStore {
        let mut options: PgOptions = database.url().parse().unwrap();
        options.schema = Schema::new(schema).unwrap();
        PgStore::connect_with(options).await.unwrap()
    }

    async fn empty() -> Arc<TestDatabase> {
        let mut empty = EMPTY.lock().await;
        if let Some(database) = empty.upgrade() {
            return database;
        }
        let database = Arc::new(TestDatabase::create().await);
        for schema in SCHEMAS {
            let store = connect(&database, schema).await;
            store.migrate().await.unwrap();
            store.close().await;
        }
        *empty = Arc::downgrade(&database);
        database
    }

    impl Subject for Schemas {
        async fn set_up() -> Self {
            let empty = empty().await;
            let database = empty.copy().await;
            let mut schemas = Vec::new();
            for schema in SCHEMAS {
                schemas.push(connect(&database, schema).await);
            }
            let partitions = schemas
                .iter()
                .map(|store| -> Arc<dyn Partition> { Arc::new(store.clone()) });
            let options = PartitionOptions::default().with_whole_kinds(conformance::whole_kinds());
            let store = Partitioned::open(partitions.collect(), options).await;
            Self {
                database,
                schemas,
                store: Arc::new(store.unwrap()),
                _empty: empty,
            }
        }

        fn backend(&self) -> Backend {
            Backend::new(self.store.clone()).with_transfer(Some(self.store.clone()))
        }

        async fn clean_up(self) {
            for store in self.schemas {
                store.close().await;
            }
            self.database.drop_database().await;
        }
    }

    webhook_core::conformance!(Schemas, flavor = "multi_thread", worker_threads = 2);
    webhook_core::conformance_transfer!(Schemas, flavor = "multi_thread", worker_threads = 2);
}
