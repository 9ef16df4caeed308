//! Tests of wake-ups by this process and by others, and of their cost.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::time::Duration;

use inbox::{DEADLINE, Inbox, delivery, event, kind, until};
use sqlx::{PgConnection, Row};
use tokio::time::timeout;
use webhook_core::{
    Admin, EventRef, Key, MadeDue, Outcome, Reason, RunningLeases, Scheduler, Settled, Settlement,
    Store,
};
use webhook_postgres::{POLL_INTERVAL, POOLED_POLL_INTERVAL, PgStore, sqlx};

/// Counts the listening sessions, by the last statement of each.
async fn listeners(connection: &mut PgConnection) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    sqlx::query(sql).fetch_one(connection).await.unwrap().get(0)
}

async fn is_ready(store: &PgStore, within: Duration) -> bool {
    timeout(within, store.wait_for_work(&[kind()]))
        .await
        .is_ok()
}

/// Claims until nothing is due, and until the listener is ready and no wake-up is pending.
async fn listening(inbox: &Inbox, store: &PgStore) {
    let mut connection = inbox.database.connection().await;
    until("the listener", async || {
        is_ready(store, Duration::from_millis(50)).await;
        listeners(&mut connection).await == 1
    })
    .await;
    until("quiet", async || {
        inbox::claim_up_to(store, 100).await;
        !is_ready(store, Duration::from_millis(200)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_accepted_elsewhere_wake_a_worker() {
    let inbox = Inbox::direct().await;
    let worker = PgStore::connect(inbox.database.url()).await.unwrap();
    listening(&inbox, &worker).await;
    inbox.accept("a").await;
    assert!(is_ready(&worker, DEADLINE).await);

    // Releases and retries wake it, too.
    for outcome in [
        Outcome::Release,
        Outcome::Retry {
            after: Duration::from_millis(5),
            reason: Reason::new("later"),
        },
    ] {
        let lease = inbox::claim_up_to(&worker, 1).await.events[0].lease;
        assert!(inbox::claim_up_to(&worker, 1).await.events.is_empty());
        until("quiet", async || {
            !is_ready(&worker, Duration::from_millis(200)).await
        })
        .await;
        let settlement = Settlement::new(lease, outcome);
        let settled = inbox.store.settle(&[settlement]).await.unwrap();
        assert_eq!(settled, [Settled::Applied]);
        assert!(is_ready(&worker, DEADLINE).await);
    }
    worker.close().await;
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_makes_an_event_due_wakes_workers_before_it_ends() {
    let inbox = Inbox::direct().await;
    let worker = PgStore::connect(inbox.database.url()).await.unwrap();
    listening(&inbox, &worker).await;
    for key in ["a", "b", "c"] {
        let mut far = event(key);
        far.delay = Duration::from_secs(3_600);
        inbox.store.accept(&[far]).await.unwrap();
        until("quiet", async || {
            inbox::claim_up_to(&worker, 1).await;
            !is_ready(&worker, Duration::from_millis(200)).await
        })
        .await;
        let command = PgStore::connect(inbox.database.url()).await.unwrap();
        let reference = EventRef {
            kind: kind(),
            key: Key::new(key).unwrap(),
        };
        let made_due = command.make_due(&[reference], RunningLeases::Keep).await;
        assert_eq!(made_due.unwrap(), [MadeDue::Applied]);
        command.close().await;
        assert!(is_ready(&worker, DEADLINE).await);
        assert_eq!(inbox::claim_up_to(&worker, 1).await.events.len(), 1);
    }
    worker.close().await;
    inbox.close().await;
}

/// Events that fall due after the next poll cause no notification.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_due_after_the_polling_interval_are_not_notified() {
    let inbox = Inbox::direct().await;
    let worker = PgStore::connect(inbox.database.url()).await.unwrap();
    listening(&inbox, &worker).await;
    let mut listener = sqlx::postgres::PgListener::connect(inbox.database.url())
        .await
        .unwrap();
    listener.listen("webhook").await.unwrap();
    let far = delivery("far", "content", POLL_INTERVAL);
    inbox.store.accept(&[far]).await.unwrap();
    let near = delivery(
        "near",
        "content",
        POLL_INTERVAL - Duration::from_millis(500),
    );
    inbox.store.accept(&[near]).await.unwrap();
    // There is one notification, for the nearer event, although it was accepted later.
    let notification = timeout(DEADLINE, listener.recv()).await.unwrap().unwrap();
    let due_in_ms: u128 = notification
        .payload()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(due_in_ms < POLL_INTERVAL.as_millis(), "{notification:?}");
    assert!(is_ready(&worker, DEADLINE).await);
    let more = timeout(Duration::from_millis(300), listener.recv()).await;
    assert!(more.is_err(), "{more:?}");
    drop(listener);
    worker.close().await;
    inbox.close().await;
}

/// 300 accepts cause only a few notifications.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_are_rate_limited() {
    let inbox = Inbox::direct().await;
    let mut listener = sqlx::postgres::PgListener::connect(inbox.database.url())
        .await
        .unwrap();
    listener.listen("webhook").await.unwrap();
    let started = std::time::Instant::now();
    for number in 0..300 {
        inbox.accept(&format!("a-{number}")).await;
    }
    let took = started.elapsed();
    let mut notifications = 0;
    let limit = took.as_millis() / 20 + 2;
    while notifications <= limit
        && timeout(Duration::from_millis(500), listener.recv())
            .await
            .is_ok()
    {
        notifications += 1;
    }
    assert!(
        notifications >= 1 && notifications <= limit,
        "{notifications} in {took:?}"
    );
    drop(listener);
    inbox.close().await;
}

/// Only a process that waits for work has a listening connection.
#[tokio::test]
async fn a_process_that_only_accepts_does_not_listen() {
    let inbox = Inbox::direct().await;
    inbox.accept("a").await;
    let mut connection = inbox.database.connection().await;
    assert_eq!(listeners(&mut connection).await, 0);
    assert!(!is_ready(&inbox.store, Duration::from_millis(1)).await);
    until("the listener", async || {
        listeners(&mut connection).await == 1
    })
    .await;
    inbox.store.close().await;
    until("its end", async || listeners(&mut connection).await == 0).await;
    drop(connection);
    inbox.database.drop_database().await;
}

/// A listener reconnects after its connection died, and wakes its workers for what it may have
/// missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_comes_back() {
    let inbox = Inbox::direct().await;
    let worker = PgStore::connect(inbox.database.url()).await.unwrap();
    listening(&inbox, &worker).await;
    let mut connection = inbox.database.connection().await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    assert!(is_ready(&worker, DEADLINE).await);
    listening(&inbox, &worker).await;
    inbox.accept("a").await;
    assert!(is_ready(&worker, DEADLINE).await);
    drop(connection);
    worker.close().await;
    inbox.close().await;
}

/// Through a pooler a worker polls every second, and learns at once what its own process accepts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_a_worker_polls() {
    let inbox = Inbox::pooled().await;
    let started = std::time::Instant::now();
    assert!(is_ready(&inbox.store, DEADLINE).await);
    assert!(started.elapsed() >= POOLED_POLL_INTERVAL);
    inbox::claim_up_to(&inbox.store, 1).await;
    inbox.accept("a").await;
    let woken = timeout(
        POOLED_POLL_INTERVAL / 2,
        inbox.store.wait_for_work(&[kind()]),
    )
    .await;
    assert!(woken.is_ok());
    let mut connection = inbox.database.connection().await;
    assert_eq!(listeners(&mut connection).await, 0);
    drop(connection);
    inbox.close().await;
}

/// An idle node sends no queries between its polls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_costs_no_queries() {
    let inbox = Inbox::direct().await;
    listening(&inbox, &inbox.store.clone()).await;
    let mut connection = inbox.database.connection().await;
    let mut commits = async || -> i64 {
        sqlx::raw_sql("SELECT pg_stat_force_next_flush()")
            .execute(&mut connection)
            .await
            .unwrap();
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND state_change > clock_timestamp() - interval '2 s'";
        sqlx::query(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap()
            .get(0)
    };
    assert!(!is_ready(&inbox.store, Duration::from_secs(3)).await);
    assert_eq!(
        commits().await,
        0,
        "no session did anything in the last two seconds"
    );
    drop(connection);
    inbox.close().await;
}

/// Events that were accepted in the app's transaction wake workers if they are announced after the
/// commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notify_wakes_workers_for_events_of_the_app() {
    let inbox = Inbox::direct().await;
    let worker = PgStore::connect(inbox.database.url()).await.unwrap();
    listening(&inbox, &worker).await;
    let mut app = inbox.database.connection().await;
    let events = [event("a")];
    inbox.store.accept_all_in(&mut app, &events).await.unwrap();
    inbox.store.notify(&events);
    assert!(is_ready(&worker, DEADLINE).await);
    drop(app);
    worker.close().await;
    inbox.close().await;
}
