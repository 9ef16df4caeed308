//! Helpers of these tests: a file, events, claims, and a connection beside the store.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use webhook_core::{
    Claim, Claimed, Envelope, EventRef, Fingerprint, Key, Kind, NewEvent, Scheduler,
};
use webhook_sqlite::{SqliteStore, sqlx};

pub(crate) const KIND: Kind = Kind::from_static("order");

pub(crate) fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("webhook.db");
    (folder, file)
}

pub(crate) fn event(key: &str) -> NewEvent {
    let key = Key::new(key).unwrap();
    let envelope = Envelope::new(
        KIND,
        key,
        Fingerprint::of(["content"]),
        Bytes::from_static(b"body"),
    );
    NewEvent::new(envelope, Duration::ZERO)
}

pub(crate) fn name(key: &str) -> EventRef {
    EventRef {
        kind: KIND,
        key: Key::new(key).unwrap(),
    }
}

pub(crate) async fn claim(store: &SqliteStore, limit: usize) -> Claimed {
    let limit = NonZeroUsize::new(limit).unwrap();
    let claim = Claim::new(
        KIND,
        limit,
        Duration::from_secs(60),
        NonZeroU32::new(3).unwrap(),
    );
    store.claim(&[claim]).await.unwrap().remove(0)
}

pub(crate) async fn plain(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    options.connect().await.unwrap()
}
