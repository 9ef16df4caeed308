//! Helpers of these tests: a migrated store, events and claims.

#![allow(
    dead_code,
    unused_imports,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and not the same one; a test may unwrap"
)]

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

pub(crate) use testkit::wait::{PATIENCE as DEADLINE, until};
use webhook_core::{
    Accepted, Claim, Claimed, ClaimedEvent, Envelope, EventRecord, EventRef, Fingerprint, Key,
    Kind, NewEvent, Scheduler, State, Store,
};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;

pub(crate) struct Inbox {
    pub(crate) database: TestDatabase,
    pub(crate) store: PgStore,
}

impl Inbox {
    pub(crate) async fn direct() -> Self {
        let database = TestDatabase::create().await;
        let url = database.url().to_owned();
        Self::over(database, &url).await
    }

    pub(crate) async fn pooled() -> Self {
        let database = TestDatabase::create().await;
        let url = database.pooler_url().to_owned();
        Self::over(database, &url).await
    }

    async fn over(database: TestDatabase, url: &str) -> Self {
        let store = PgStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        Self { database, store }
    }

    pub(crate) async fn close(self) {
        self.store.close().await;
        self.database.drop_database().await;
    }

    pub(crate) async fn accept(&self, key: &str) {
        Self::accept_by(&self.store, key).await;
    }

    pub(crate) async fn accept_by(store: &PgStore, key: &str) {
        let answers = store.accept(&[event(key)]).await.unwrap();
        assert_eq!(answers, [Accepted::New]);
    }

    pub(crate) async fn claim_one(&self) -> ClaimedEvent {
        let mut claimed = claim_up_to(&self.store, 1).await;
        assert_eq!(claimed.events.len(), 1);
        claimed.events.remove(0)
    }

    pub(crate) async fn record(&self, key: &str) -> Option<EventRecord> {
        let mut found = self.store.find(&[reference(key)]).await.unwrap();
        found.remove(0)
    }

    pub(crate) async fn state(&self, key: &str) -> Option<State> {
        self.record(key).await.map(|record| record.state)
    }
}

pub(crate) fn kind() -> Kind {
    Kind::new("test").unwrap()
}

pub(crate) fn event(key: &str) -> NewEvent {
    delivery(key, "content", Duration::ZERO)
}

pub(crate) fn delivery(key: &str, body: &str, delay: Duration) -> NewEvent {
    NewEvent::new(
        Envelope::new(
            kind(),
            Key::new(key).unwrap(),
            Fingerprint::of([body]),
            body.to_owned().into(),
        ),
        delay,
    )
}

pub(crate) fn reference(key: &str) -> EventRef {
    EventRef {
        kind: kind(),
        key: Key::new(key).unwrap(),
    }
}

/// Claims up to `limit` events of the usual kind.
pub(crate) async fn claim_up_to(store: &PgStore, limit: usize) -> Claimed {
    let mut claimed = store.claim(&[claim(limit)]).await.unwrap();
    claimed.remove(0)
}

pub(crate) fn claim(limit: usize) -> Claim {
    Claim::new(
        kind(),
        NonZeroUsize::new(limit).unwrap(),
        Duration::from_secs(120),
        NonZeroU32::new(10).unwrap(),
    )
}
