//! Tests of draining a backlog: a claim begins where the last one found events, but must not miss
//! an event before that place.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::collections::HashMap;
use std::time::Duration;

use inbox::{DEADLINE, Inbox, claim, event, until};
use sqlx::Connection;
use webhook_core::{ClaimedEvent, Outcome, Scheduler, Settled, Settlement, Store};
use webhook_postgres::{PgStore, sqlx};

/// With this many events, claims no longer begin at the start of the index.
const BACKLOG: usize = 12_000;

async fn fill(inbox: &Inbox, name: &str) {
    let events: Vec<_> = (0..BACKLOG)
        .map(|number| event(&format!("{name}-{number}")))
        .collect();
    for batch in events.chunks(1000) {
        inbox.store.accept(batch).await.unwrap();
    }
}

async fn settle(store: &PgStore, claimed: &[ClaimedEvent]) {
    let settlements: Vec<_> = claimed
        .iter()
        .map(|event| Settlement::new(event.lease, Outcome::Processed))
        .collect();
    let settled = store.settle(&settlements).await.unwrap();
    assert!(settled.iter().all(|settled| *settled == Settled::Applied));
}

/// An old transaction keeps every settled entry in the index. Events that appear among them during
/// the drain must be found: an event whose transaction began earlier and committed late, an expired
/// lease of another process, and a released lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_backlog_leaves_no_rows() {
    let inbox = Inbox::direct().await;
    let mut old = inbox.database.connection().await;
    let mut old = old
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .unwrap();
    sqlx::raw_sql("SELECT txid_current()")
        .execute(&mut *old)
        .await
        .unwrap();

    let mut app = inbox.database.connection().await;
    let mut late = app.begin().await.unwrap();
    inbox
        .store
        .accept_all_in(&mut late, &[event("late")])
        .await
        .unwrap();
    inbox.accept("crashed").await;
    let elsewhere = PgStore::connect(inbox.database.url()).await.unwrap();
    let mut brief = claim(1);
    brief.lease = Duration::from_millis(700);
    assert_eq!(
        elsewhere
            .claim(std::slice::from_ref(&brief))
            .await
            .unwrap()
            .remove(0)
            .events
            .len(),
        1
    );
    inbox.accept("handed-back").await;
    let handed_back = inbox.claim_one().await.lease;
    fill(&inbox, "a").await;

    let mut attempts: HashMap<String, u32> = HashMap::new();
    let mut drained = 0;
    let mut late = Some(late);
    let mut handed_back = Some(handed_back);
    until("all are processed", async || {
        loop {
            let claimed = inbox::claim_up_to(&inbox.store, 100).await;
            settle(&inbox.store, &claimed.events).await;
            drained += claimed.events.len();
            for event in &claimed.events {
                let attempt = event.lease.attempt.number();
                attempts.insert(event.key.as_str().to_owned(), attempt);
            }
            if drained > BACKLOG / 2
                && let Some(late) = late.take()
            {
                late.commit().await.unwrap();
                let lease = handed_back.take().unwrap();
                let release = Settlement::new(lease, Outcome::Release);
                let released = inbox.store.settle(&[release]).await.unwrap();
                assert_eq!(released, [Settled::Applied]);
            }
            if claimed.events.is_empty() {
                return attempts.len() == BACKLOG + 3;
            }
        }
    })
    .await;
    assert_eq!(drained, BACKLOG + 3, "each of them once");
    assert_eq!(
        (
            attempts["late"],
            attempts["crashed"],
            attempts["handed-back"]
        ),
        (1, 2, 1)
    );
    // The queue also finds within moments that it is empty.
    until("nothing is to come", async || {
        inbox::claim_up_to(&inbox.store, 100)
            .await
            .next_due
            .is_none()
    })
    .await;
    old.rollback().await.unwrap();
    elsewhere.close().await;
    inbox.close().await;
}

/// Several workers drain together, and each event is claimed by one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_a_backlog() {
    let inbox = Inbox::direct().await;
    fill(&inbox, "a").await;
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let store = inbox.store.clone();
            tokio::spawn(async move {
                let mut drained = 0;
                loop {
                    let claimed = inbox::claim_up_to(&store, 64).await;
                    settle(&store, &claimed.events).await;
                    drained += claimed.events.len();
                    // Zero means that more events are due, or may be.
                    match claimed.next_due {
                        None => return drained,
                        Some(wait) => tokio::time::sleep(wait.min(Duration::from_millis(50))).await,
                    }
                }
            })
        })
        .collect();
    let mut drained = 0;
    for worker in workers {
        drained += tokio::time::timeout(DEADLINE, worker)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(drained, BACKLOG);
    inbox.close().await;
}
