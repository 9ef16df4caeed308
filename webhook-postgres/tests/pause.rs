//! Tests of pauses: they outlive the process that made them, and only a resume wakes the workers of
//! a paused kind.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::time::Duration;

use inbox::{DEADLINE, Inbox, kind, until};
use tokio::time::timeout;
use webhook_core::{Admin, Claimed, Scheduler};
use webhook_postgres::{POOLED_POLL_INTERVAL, PgStore};

async fn claimed(store: &PgStore) -> Claimed {
    inbox::claim_up_to(store, 10).await
}

async fn is_ready(store: &PgStore, within: Duration) -> bool {
    timeout(within, store.wait_for_work(&[kind()]))
        .await
        .is_ok()
}

async fn a_pause_outlives_its_store(inbox: Inbox, url: &str) {
    inbox.accept("a").await;
    let store = PgStore::connect(url).await.unwrap();
    assert!(store.pause(&kind()).await.unwrap());
    store.close().await;
    let store = PgStore::connect(url).await.unwrap();
    assert_eq!(store.paused().await.unwrap(), [kind()]);
    assert_eq!(claimed(&store).await, Claimed::default());
    assert_eq!(claimed(&inbox.store).await, Claimed::default());
    store.migrate().await.unwrap();
    assert!(!store.pause(&kind()).await.unwrap());
    assert!(store.resume(&kind()).await.unwrap());
    assert_eq!(claimed(&inbox.store).await.events.len(), 1);
    store.close().await;
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_for_every_process_and_outlives_them() {
    let inbox = Inbox::direct().await;
    let url = inbox.database.url().to_owned();
    a_pause_outlives_its_store(inbox, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_for_every_process_through_a_pooler() {
    let inbox = Inbox::pooled().await;
    let url = inbox.database.pooler_url().to_owned();
    a_pause_outlives_its_store(inbox, &url).await;
}

/// Otherwise each delivery of a paused kind would cause its workers to claim in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_resume_wakes_workers_of_a_paused_kind() {
    let inbox = Inbox::direct().await;
    let worker = PgStore::connect(inbox.database.url()).await.unwrap();
    assert!(inbox.store.pause(&kind()).await.unwrap());
    // The first wait starts the listener, which wakes the worker once when it is ready.
    until("quiet", async || {
        assert_eq!(claimed(&worker).await, Claimed::default());
        !is_ready(&worker, Duration::from_millis(500)).await
    })
    .await;
    // This holds for events that are accepted elsewhere and for those accepted here.
    inbox.accept("elsewhere").await;
    Inbox::accept_by(&worker, "here").await;
    assert!(!is_ready(&worker, Duration::from_millis(300)).await);
    // A command whose process ends at once still wakes it.
    let command = PgStore::connect(inbox.database.url()).await.unwrap();
    assert!(command.resume(&kind()).await.unwrap());
    command.close().await;
    assert!(is_ready(&worker, DEADLINE).await);
    assert_eq!(claimed(&worker).await.events.len(), 2);
    // After the resume, deliveries wake it again.
    assert!(claimed(&worker).await.next_due.is_some());
    inbox.accept("later").await;
    assert!(is_ready(&worker, DEADLINE).await);
    worker.close().await;
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_a_resume_is_found_by_polling() {
    let inbox = Inbox::pooled().await;
    let worker = PgStore::connect(inbox.database.pooler_url()).await.unwrap();
    inbox.accept("a").await;
    assert!(inbox.store.pause(&kind()).await.unwrap());
    assert_eq!(claimed(&worker).await, Claimed::default());
    assert!(!is_ready(&worker, POOLED_POLL_INTERVAL / 4).await);
    assert!(inbox.store.resume(&kind()).await.unwrap());
    assert!(is_ready(&worker, DEADLINE).await);
    assert_eq!(claimed(&worker).await.events.len(), 1);
    worker.close().await;
    inbox.close().await;
}
