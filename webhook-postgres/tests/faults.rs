//! Tests of faults: dead connections, waiting statements, and callers that give up.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use inbox::{DEADLINE, Inbox, claim, delivery, event, reference, until};
use sqlx::{Connection, PgConnection, Row};
use testkit::proxy::{Network, Proxy};
use webhook_core::{Accepted, Admin, Outcome, Scheduler, Settled, Settlement, Store, StoreError};
use webhook_postgres::{PgOptions, PgStore, sqlx};

/// Ends all other sessions of the database, as a restart of the server does.
async fn end_sessions(connection: &mut PgConnection) {
    let sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn sessions(connection: &mut PgConnection, condition: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    );
    let row = sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .unwrap();
    row.get(0)
}

/// A call that is dropped at any point leaves no transaction open, of which the next statement would be a part.
#[tokio::test]
async fn calls_that_are_dropped_leave_no_transaction_open() {
    let inbox = Inbox::direct().await;
    let mut onlooker = inbox.database.connection().await;
    let kinds = [event("any").envelope.kind];
    for polls in 1..40 {
        let mut sampling = std::pin::pin!(inbox.store.sample(&kinds, NonZeroUsize::MIN));
        for _ in 0..polls {
            let is_over = std::future::poll_fn(|context| {
                std::task::Poll::Ready(sampling.as_mut().poll(context).is_ready())
            });
            if is_over.await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let accepted = inbox.store.accept(&[event("after")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New]);
    let open = "state LIKE 'idle in transaction%'";
    let settled = async {
        while sessions(&mut onlooker, open).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Sessions that are idle in a transaction are ended after 20 s.
    tokio::time::timeout(Duration::from_secs(10), settled)
        .await
        .expect("a transaction is open");
    inbox.close().await;
}

/// All connections of the pool die at once. No caller gets an error.
async fn survives_dead_connections(inbox: Inbox) {
    let mut onlooker = inbox.database.connection().await;
    for round in 0..3 {
        // The concurrent calls open several connections.
        let accepting: Vec<_> = (0..6)
            .map(|number| {
                let store = inbox.store.clone();
                let event = event(&format!("a-{round}-{number}"));
                tokio::spawn(async move { store.accept(&[event]).await })
            })
            .collect();
        for accepted in accepting {
            assert_eq!(accepted.await.unwrap().unwrap(), [Accepted::New]);
        }
        end_sessions(&mut onlooker).await;
        let asking: Vec<_> = (0..6)
            .map(|number| {
                let store = inbox.store.clone();
                let reference = reference(&format!("a-{round}-{number}"));
                tokio::spawn(async move { store.find(&[reference]).await })
            })
            .collect();
        for found in asking {
            assert!(found.await.unwrap().unwrap()[0].is_some());
        }
        let claimed = inbox::claim_up_to(&inbox.store, 6).await;
        end_sessions(&mut onlooker).await;
        let settlements: Vec<_> = claimed
            .events
            .iter()
            .map(|event| Settlement::new(event.lease, Outcome::Processed))
            .collect();
        let settled = inbox.store.settle(&settlements).await.unwrap();
        assert_eq!(settled, [Settled::Applied; 6]);
    }
    drop(onlooker);
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_are_replaced() {
    survives_dead_connections(Inbox::direct().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_behind_a_pooler_are_replaced() {
    survives_dead_connections(Inbox::pooled().await).await;
}

/// Events that were lost together get leases with different ends when they are taken over, so that
/// a second loss does not return them together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_lost_together_are_not_lost_together_again() {
    const EVENTS: usize = 20;
    let inbox = Inbox::direct().await;
    let events: Vec<_> = (0..EVENTS).map(|it| event(&format!("a-{it}"))).collect();
    inbox.store.accept(&events).await.unwrap();
    let briefly = claim(EVENTS).with_lease(Duration::from_millis(1));
    let claimed = inbox
        .store
        .claim(std::slice::from_ref(&briefly))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(claimed.events.len(), EVENTS);
    let mut taken_over = 0;
    let lease = claim(EVENTS).lease;
    until("every event is taken over", async || {
        let claimed = inbox::claim_up_to(&inbox.store, EVENTS).await;
        taken_over += claimed.events.len();
        taken_over == EVENTS
    })
    .await;
    let mut onlooker = inbox.database.connection().await;
    let sql = "SELECT count(DISTINCT leased_until),
                      extract(epoch FROM min(leased_until) - now())::double precision,
                      extract(epoch FROM max(leased_until) - now())::double precision
               FROM webhook.queue";
    let row = sqlx::raw_sql(sql).fetch_one(&mut onlooker).await.unwrap();
    let (ends, first, last): (i64, f64, f64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(usize::try_from(ends).unwrap(), EVENTS);
    let lease = lease.as_secs_f64();
    assert!(first > lease - DEADLINE.as_secs_f64() && last < 2.0 * lease + 1.0);
    drop(onlooker);
    inbox.close().await;
}

/// Locks a key with an insert that is not committed.
async fn hold(connection: &mut PgConnection, key: &str) {
    sqlx::query(
        "INSERT INTO webhook.events (kind, key, fingerprint, body, accepted_at, due_at)
         VALUES ('test', $1, sha256(''), '', now(), now())",
    )
    .bind(key)
    .execute(connection)
    .await
    .unwrap();
}

/// A caller that gives up during a statement leaves no connection, lock or partial event behind.
async fn survives_callers_that_go_away(inbox: Inbox, url: &str) {
    let mut options: PgOptions = url.parse().unwrap();
    options.max_connections = 2;
    let store = PgStore::connect_with(options).await.unwrap();
    let mut holder = inbox.database.connection().await;
    let mut onlooker = inbox.database.connection().await;
    for round in 0..4 {
        let key = format!("held-{round}");
        let mut transaction = holder.begin().await.unwrap();
        hold(&mut transaction, &key).await;
        let (giving_up, held) = (store.clone(), event(&key));
        let caller = tokio::spawn(async move { giving_up.accept(&[held]).await });
        until("the caller waits for the lock", async || {
            sessions(&mut onlooker, "wait_event_type = 'Lock'").await == 1
        })
        .await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        // Meanwhile the other connection serves calls.
        let free = event(&format!("free-{round}"));
        assert_eq!(store.accept(&[free]).await.unwrap(), [Accepted::New]);
        transaction.rollback().await.unwrap();
        until("nothing is held", async || {
            sessions(&mut onlooker, "state <> 'idle' OR wait_event_type = 'Lock'").await == 0
        })
        .await;
        // The abandoned event may have been accepted or not; its present state is certain.
        let again = store.accept(&[event(&key)]).await.unwrap();
        assert!(
            matches!(again[..], [Accepted::New | Accepted::Duplicate]),
            "{again:?}"
        );
    }
    // Both connections are available again.
    let both = tokio::join!(store.ping(), store.ping());
    both.0.unwrap();
    both.1.unwrap();
    assert!(sessions(&mut onlooker, "true").await <= 8);
    store.close().await;
    drop((holder, onlooker));
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_may_be_dropped() {
    let inbox = Inbox::direct().await;
    let url = inbox.database.url().to_owned();
    survives_callers_that_go_away(inbox, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_may_be_dropped_through_a_pooler() {
    let inbox = Inbox::pooled().await;
    let url = inbox.database.pooler_url().to_owned();
    survives_callers_that_go_away(inbox, &url).await;
}

/// The server cancels a statement that waits too long, and the store works as before.
async fn gives_up_in_time(inbox: Inbox, url: &str) {
    let mut options: PgOptions = url.parse().unwrap();
    options.statement_timeout = Duration::from_millis(300);
    let store = PgStore::connect_with(options).await.unwrap();
    let mut holder = inbox.database.connection().await;
    let mut transaction = holder.begin().await.unwrap();
    hold(&mut transaction, "held").await;
    let started = Instant::now();
    let error = store.accept(&[event("held")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < DEADLINE);
    transaction.rollback().await.unwrap();
    assert_eq!(
        store.accept(&[event("held")]).await.unwrap(),
        [Accepted::New]
    );
    store.close().await;
    drop(holder);
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_have_a_limit() {
    let inbox = Inbox::direct().await;
    let url = inbox.database.url().to_owned();
    gives_up_in_time(inbox, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_have_a_limit_through_a_pooler() {
    let inbox = Inbox::pooled().await;
    let url = inbox.database.pooler_url().to_owned();
    gives_up_in_time(inbox, &url).await;
}

/// A call on a pool without a free connection fails within its time limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_connection_has_a_limit() {
    let inbox = Inbox::direct().await;
    let mut options: PgOptions = inbox.database.url().parse().unwrap();
    options.max_connections = 1;
    options.acquire_timeout = Duration::from_millis(500);
    let store = PgStore::connect_with(options).await.unwrap();
    let mut holder = inbox.database.connection().await;
    let mut transaction = holder.begin().await.unwrap();
    hold(&mut transaction, "held").await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.accept(&[event("held")]).await }
    });
    let mut onlooker = inbox.database.connection().await;
    until("the only connection is in use", async || {
        sessions(&mut onlooker, "wait_event_type = 'Lock'").await == 1
    })
    .await;
    let error = store.accept(&[event("other")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    // The probe has its own connection.
    store.ping().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), [Accepted::Conflict]);
    store.ping().await.unwrap();
    store.close().await;
    drop((holder, onlooker));
    inbox.close().await;
}

/// Few connections serve many callers: no caller waits while a connection is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_connections_serve_many_callers() {
    let inbox = Inbox::direct().await;
    for connections in [1, 2, 3] {
        let mut options: PgOptions = inbox.database.url().parse().unwrap();
        options.max_connections = connections;
        options.acquire_timeout = DEADLINE;
        let store = PgStore::connect_with(options).await.unwrap();
        let callers: Vec<_> = (0..16)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..40 {
                        store.find(&[reference("nobody")]).await.unwrap();
                    }
                })
            })
            .collect();
        for caller in callers {
            tokio::time::timeout(DEADLINE, caller)
                .await
                .unwrap()
                .unwrap();
        }
        store.close().await;
    }
    inbox.close().await;
}

/// Consecutive statements use the same connection, and closing the store leaves none open.
#[tokio::test]
async fn one_connection_serves_one_caller_until_the_end() {
    let inbox = Inbox::direct().await;
    let store = PgStore::connect(inbox.database.url()).await.unwrap();
    let mut onlooker = inbox.database.connection().await;
    let before = sessions(&mut onlooker, "true").await;
    for _ in 0..20 {
        store.find(&[reference("nobody")]).await.unwrap();
    }
    assert_eq!(sessions(&mut onlooker, "true").await, before + 1);
    store.close().await;
    until("the connection is closed", async || {
        sessions(&mut onlooker, "true").await == before
    })
    .await;
    drop(onlooker);
    inbox.close().await;
}

/// The network drops everything for a while. Callers get an answer within their time limits, and
/// the store recovers without help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_survived() {
    let inbox = Inbox::direct().await;
    let options: PgOptions = inbox.database.url().parse().unwrap();
    let (host, port) = (options.connection.get_host(), options.connection.get_port());
    let proxy = Proxy::start(host, port, Network::Up);
    let addr = proxy.addr();
    let mut options = options;
    options.connection = options.connection.host("127.0.0.1").port(addr.port());
    options.max_connections = 2;
    options.acquire_timeout = Duration::from_secs(1);
    options.statement_timeout = Duration::from_millis(500);
    let store = PgStore::connect_with(options).await.unwrap();
    store.accept(&[event("before")]).await.unwrap();
    proxy.set(Network::Stalled);
    let asked: Vec<_> = (0..4)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.accept(&[event(&format!("during-{number}"))]).await })
        })
        .collect();
    let started = Instant::now();
    for answered in asked {
        let error = answered.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    assert!(started.elapsed() < DEADLINE / 2);
    proxy.set(Network::Up);
    until("the store is back", async || store.ping().await.is_ok()).await;
    // Both connections of the pool are in use.
    let events = [[event("after-1")], [event("after-2")]];
    let both = tokio::join!(store.accept(&events[0]), store.accept(&events[1]));
    assert_eq!(both.0.unwrap(), [Accepted::New]);
    assert_eq!(both.1.unwrap(), [Accepted::New]);
    store.close().await;
    inbox.close().await;
}

/// Data that the database can never store is refused, and nothing of its batch is stored.
#[tokio::test]
async fn refused_data_and_outages_are_different_errors() {
    let inbox = Inbox::direct().await;
    let mut connection = inbox.database.connection().await;
    sqlx::raw_sql("ALTER TABLE webhook.events ADD CHECK (body <> 'poison')")
        .execute(&mut connection)
        .await
        .unwrap();
    let poison = delivery("b", "poison", Duration::ZERO);
    let error = inbox.store.accept(&[event("a"), poison]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    let found = inbox
        .store
        .find(&[reference("a"), reference("b")])
        .await
        .unwrap();
    assert_eq!(found, [None, None]);
    drop(connection);
    inbox.close().await;
}

/// A statement that deadlocks with a transaction of another client runs again instead of failing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocked_statements_run_again() {
    let inbox = Inbox::direct().await;
    let mut options: PgOptions = inbox.database.url().parse().unwrap();
    options.statement_timeout = DEADLINE;
    // The server resolves the deadlock by ending the store's statement, which has waited longer.
    options.connection = options.connection.options([("deadlock_timeout", "100ms")]);
    let store = PgStore::connect_with(options).await.unwrap();
    let mut app = inbox.database.connection().await;
    sqlx::raw_sql("SET deadlock_timeout = '1h'")
        .execute(&mut app)
        .await
        .unwrap();
    let mut onlooker = inbox.database.connection().await;
    let mut transaction = app.begin().await.unwrap();
    hold(&mut transaction, "b").await;
    let accepting = tokio::spawn({
        let store = store.clone();
        async move { store.accept(&[event("a"), event("b")]).await }
    });
    until("the batch holds a and waits for b", async || {
        sessions(&mut onlooker, "wait_event_type = 'Lock'").await == 1
    })
    .await;
    // The transaction waits for `a` until the batch is cancelled; then it holds both locks.
    hold(&mut transaction, "a").await;
    transaction.rollback().await.unwrap();
    assert_eq!(accepting.await.unwrap().unwrap(), [Accepted::New; 2]);
    store.close().await;
    drop((app, onlooker));
    inbox.close().await;
}
