//! The backends that are measured. Each bench gets a fresh one.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use testkit::folder::Folder;
use webhook_core::{Claim, ClaimedEvent, Scheduler, Store, payload};
use webhook_memory::{MemoryOptions, MemoryStore};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;
use webhook_server::transaction::Transaction;
use webhook_sqlite::SqliteStore;

/// How many events are accepted in one call while a measurement is prepared.
const SET_UP_BATCH: usize = 1024;

/// A kind of backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Sqlite,
    Postgres,
}

impl Backend {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Sqlite, Self::Postgres];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// A backend that is replaced by a fresh one now and then, so that its size does not distort the
/// figures.
pub(crate) struct Subjects {
    backend: Backend,
    current: Option<Subject>,
    held: usize,
}

/// A backend is replaced after this number of events.
const REPLACE: usize = 500_000;

impl Subjects {
    pub(crate) fn of(backend: Backend) -> Self {
        Self {
            backend,
            current: None,
            held: 0,
        }
    }

    /// Returns a backend that has room for `more` events. It stays the same for some time, so that
    /// the cost of its first statements is not measured again and again.
    pub(crate) async fn next(&mut self, more: usize) -> Subject {
        if self.held > REPLACE {
            self.clean_up().await;
        }
        self.held += more;
        match &self.current {
            Some(subject) => subject.clone(),
            None => {
                let subject = Subject::set_up(self.backend).await;
                self.current.insert(subject).clone()
            }
        }
    }

    /// Every subject that was handed out must have been dropped.
    pub(crate) async fn clean_up(&mut self) {
        self.held = 0;
        if let Some(subject) = self.current.take() {
            subject.clean_up().await;
        }
    }
}

/// A backend in use. Clones share their events.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    opened: Arc<Opened>,
}

/// The storage that is closed and removed in the end.
enum Opened {
    Memory,
    Sqlite(SqliteStore, Folder),
    Postgres(PgStore, Box<TestDatabase>),
}

impl Subject {
    async fn set_up(backend: Backend) -> Self {
        match backend {
            Backend::Memory => Self::of(
                MemoryStore::new(
                    MemoryOptions::default()
                        .with_capacity(usize::MAX)
                        .with_max_bytes(usize::MAX),
                ),
                Opened::Memory,
            ),
            Backend::Sqlite => {
                // Beside the build, which is on a disk. The system's folder for temporary files may
                // be in memory, where a commit costs nothing.
                let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
                let folder = Folder::create(parent, "bench", None).expect("make a folder");
                let store = SqliteStore::open(folder.path().join("webhook.db"));
                let store = store.await.expect("open");
                Self::of(store.clone(), Opened::Sqlite(store, folder))
            }
            Backend::Postgres => {
                assert!(
                    std::env::var_os("TEST_DATABASE_URL").is_some(),
                    "TEST_DATABASE_URL is not set: run scripts/with-postgres cargo bench -p benches"
                );
                let database = TestDatabase::create().await;
                let store = PgStore::connect(database.url()).await.expect("connect");
                store.migrate().await.expect("migrate");
                Self::of(store.clone(), Opened::Postgres(store, Box::new(database)))
            }
        }
    }

    fn of(store: impl Store + Scheduler + 'static, opened: Opened) -> Self {
        let store = Arc::new(store);
        Self {
            store: store.clone(),
            scheduler: store,
            opened: Arc::new(opened),
        }
    }

    async fn clean_up(self) {
        let Self {
            store,
            scheduler,
            opened,
        } = self;
        drop((store, scheduler));
        match Arc::into_inner(opened) {
            Some(Opened::Sqlite(store, folder)) => {
                store.close().await;
                drop(folder);
            }
            Some(Opened::Postgres(store, database)) => {
                store.close().await;
                database.drop_database().await;
            }
            Some(Opened::Memory) | None => {}
        }
    }

    /// Accepts `count` events, all due.
    pub(crate) async fn accept(&self, count: usize) {
        let events = crate::delivery::events(count);
        for batch in events.chunks(SET_UP_BATCH) {
            self.store.accept(batch).await.expect("accept");
        }
    }

    /// Claims up to `limit` events.
    pub(crate) async fn claim(&self, limit: usize) -> Vec<ClaimedEvent> {
        let claim = Claim::new(
            payload::kind_of::<Transaction>(),
            NonZeroUsize::new(limit).expect("something is claimed"),
            Duration::from_secs(3600),
            NonZeroU32::MAX,
        );
        self.scheduler
            .claim(std::slice::from_ref(&claim))
            .await
            .expect("claim")
            .remove(0)
            .events
    }
}
