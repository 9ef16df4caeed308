//! Tests of accepting and settling in the app's own transaction.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use inbox::{DEADLINE, Inbox, delivery, event, until};
use sqlx::{Connection, PgConnection, Row};
use std::time::Duration;
use webhook_core::{
    Accepted, Error, EventRef, Extended, Fingerprint, Handled, HandlerError, Headers, Identity,
    InvalidPayload, Key, Kind, Outcome, Payload, Reason, Scheduler, Settled, Settlement, State,
    Store,
};
use webhook_postgres::sqlx;

async fn with_ledger(inbox: &Inbox) -> PgConnection {
    let mut connection = inbox.database.connection().await;
    sqlx::raw_sql("CREATE TABLE ledger (entry text PRIMARY KEY)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

async fn write(connection: &mut PgConnection, entry: &str) {
    sqlx::query("INSERT INTO ledger (entry) VALUES ($1)")
        .bind(entry)
        .execute(connection)
        .await
        .unwrap();
}

async fn entries(connection: &mut PgConnection) -> i64 {
    sqlx::query("SELECT count(*) FROM ledger")
        .fetch_one(connection)
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn an_event_is_durable_with_the_apps_transaction() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    let mut transaction = app.begin().await.unwrap();
    write(&mut transaction, "order").await;
    let events = [
        event("a"),
        event("a"),
        delivery("a", "other", Duration::ZERO),
    ];
    let answers = inbox.store.accept_all_in(&mut transaction, &events).await;
    assert_eq!(
        answers.unwrap(),
        [Accepted::New, Accepted::Duplicate, Accepted::Conflict]
    );
    assert_eq!(inbox.state("a").await, None);
    assert!(inbox::claim_up_to(&inbox.store, 1).await.events.is_empty());
    transaction.commit().await.unwrap();
    let record = inbox.record("a").await.unwrap();
    assert_eq!(
        (record.state, record.conflict_count),
        (State::Processing, 1)
    );
    assert_eq!(inbox.claim_one().await.key.as_str(), "a");
    inbox.close().await;
}

/// Two transactions of the app accept the same guard under different keys. The second one waits for the first, and is
/// not rolled back by what it finds then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_is_taken_meanwhile_leaves_the_transaction_as_it_was() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    let mut other = inbox.database.connection().await;
    let guarded = |key: &str| {
        let mut event = event(key);
        event.envelope.guard = Some(Fingerprint::of(["guard"]));
        event
    };
    let run = async |connection: &mut PgConnection, sql: &'static str| {
        sqlx::raw_sql(sql).execute(connection).await.unwrap();
    };
    run(&mut other, "BEGIN").await;
    let first = [guarded("first")];
    let first = inbox.store.accept_all_in(&mut other, &first).await;
    assert_eq!(first.unwrap(), [Accepted::New]);
    run(&mut app, "BEGIN").await;
    write(&mut app, "order").await;
    let (store, second) = (inbox.store.clone(), [event("unguarded"), guarded("second")]);
    let accepting = tokio::spawn(async move {
        let answers = store.accept_all_in(&mut app, &second).await;
        (app, answers.unwrap())
    });
    let mut onlooker = inbox.database.connection().await;
    until("the second transaction waits", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let row = sqlx::query(waiting).fetch_one(&mut onlooker).await.unwrap();
        row.get::<i64, _>(0) == 1
    })
    .await;
    run(&mut other, "COMMIT").await;
    let (mut app, answers) = accepting.await.unwrap();
    assert_eq!(answers, [Accepted::New, Accepted::Duplicate]);
    assert_eq!(inbox.state("unguarded").await, None, "it is not committed");
    run(&mut app, "COMMIT").await;
    assert_eq!(entries(&mut app).await, 1);
    assert_eq!(inbox.state("first").await, Some(State::Processing));
    assert_eq!(inbox.state("unguarded").await, Some(State::Processing));
    assert_eq!(inbox.state("second").await, None);
    inbox.close().await;
}

#[tokio::test]
async fn a_rollback_leaves_nothing_of_the_event() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    let mut transaction = app.begin().await.unwrap();
    inbox
        .store
        .accept_all_in(&mut transaction, &[event("a")])
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(inbox.state("a").await, None);
    inbox.accept("a").await;
    inbox.close().await;
}

/// The delay counts from the call, not from the start of a long transaction.
#[tokio::test]
async fn a_delay_counts_from_the_call() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    let mut transaction = app.begin().await.unwrap();
    write(&mut transaction, "order").await;
    sqlx::raw_sql("SELECT pg_sleep(1.5)")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let delayed = delivery("a", "content", Duration::from_secs(1));
    inbox
        .store
        .accept_all_in(&mut transaction, &[delayed])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let claimed = inbox::claim_up_to(&inbox.store, 1).await;
    // On a slow machine the second may have passed, but not more.
    match claimed.next_due {
        Some(_) if claimed.events.is_empty() => {}
        _ => assert!(claimed.events[0].lag < DEADLINE, "{claimed:?}"),
    }
    let record = inbox.record("a").await.unwrap();
    let begun: f64 =
        sqlx::query("SELECT extract(epoch FROM due_at - accepted_at)::float8 FROM webhook.events")
            .fetch_one(&mut app)
            .await
            .unwrap()
            .get(0);
    assert!((0.999..1.001).contains(&begun), "{begun} {record:?}");
    inbox.close().await;
}

/// A sender of an event that is in an open transaction waits for its end, and then gets the right
/// answer: new after a rollback, duplicate or conflict after a commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_wait_for_the_apps_decision() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    for (round, commit) in [(0, true), (1, false)] {
        let key = format!("a-{round}");
        let mut transaction = app.begin().await.unwrap();
        inbox
            .store
            .accept_all_in(&mut transaction, &[event(&key)])
            .await
            .unwrap();
        let (store, waiting) = (inbox.store.clone(), key.clone());
        let sender = tokio::spawn(async move {
            let other = delivery(&waiting, "other", Duration::ZERO);
            store.accept(&[other, event(&waiting), event("free")]).await
        });
        let mut onlooker = inbox.database.connection().await;
        until("the sender waits", async || {
            sqlx::query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
                .fetch_optional(&mut onlooker)
                .await
                .unwrap()
                .is_some()
        })
        .await;
        let expected = if commit {
            transaction.commit().await.unwrap();
            [Accepted::Conflict, Accepted::Duplicate]
        } else {
            transaction.rollback().await.unwrap();
            [Accepted::New, Accepted::Conflict]
        };
        assert_eq!(sender.await.unwrap().unwrap()[..2], expected);
        assert_eq!(inbox.record(&key).await.unwrap().conflict_count, 1);
    }
    inbox.close().await;
}

#[tokio::test]
async fn the_effect_and_the_settlement_commit_together() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    inbox.accept("a").await;
    let claimed = inbox.claim_one().await;
    let mut transaction = app.begin().await.unwrap();
    write(&mut transaction, "a").await;
    let settled = inbox
        .store
        .settle_processed_in(&mut transaction, claimed.lease)
        .await;
    assert_eq!(settled.unwrap(), Settled::Applied);
    assert_eq!(inbox.state("a").await, Some(State::Processing));
    transaction.commit().await.unwrap();
    assert_eq!(inbox.state("a").await, Some(State::Processed));
    assert_eq!(entries(&mut app).await, 1);
    // The worker's own settlement, after a handler that did not report its own, has no effect.
    let settlement = Settlement::new(claimed.lease, Outcome::Processed);
    let again = inbox.store.settle(&[settlement]).await.unwrap();
    assert_eq!(again, [Settled::LeaseLost]);
    inbox.close().await;
}

#[tokio::test]
async fn an_effect_is_settled_with_its_event_or_rolled_back() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    let pool = sqlx::PgPool::connect(inbox.database.url()).await.unwrap();
    inbox.accept("a").await;
    let mut brief = inbox::claim(1);
    brief.lease = Duration::from_millis(1);
    let lost = inbox
        .store
        .claim(std::slice::from_ref(&brief))
        .await
        .unwrap()
        .remove(0)
        .events
        .remove(0);
    let mut held = None;
    until("the lease runs out", async || {
        let claimed = inbox::claim_up_to(&inbox.store, 1).await;
        held = claimed.events.into_iter().next();
        held.is_some()
    })
    .await;
    let held = held.unwrap();
    let book = async |transaction: &mut PgConnection| {
        write(transaction, "a").await;
        Ok(())
    };
    let handled = inbox.store.settle_with(&pool, lost.lease, book).await;
    assert_eq!(handled, Err(HandlerError::retry("lease was lost")));
    assert_eq!(entries(&mut app).await, 0);
    let book_and_fail = async |transaction: &mut PgConnection| {
        write(transaction, "a").await;
        Err(HandlerError::reject("no such account"))
    };
    let handled = inbox
        .store
        .settle_with(&pool, held.lease, book_and_fail)
        .await;
    assert_eq!(handled, Err(HandlerError::reject("no such account")));
    assert_eq!(entries(&mut app).await, 0);
    assert_eq!(inbox.state("a").await, Some(State::Processing));
    let handled = inbox.store.settle_with(&pool, held.lease, book).await;
    assert_eq!(handled, Ok(Handled::Settled));
    assert_eq!(entries(&mut app).await, 1);
    assert_eq!(inbox.state("a").await, Some(State::Processed));
    pool.close().await;
    inbox.close().await;
}

/// The handler dies between its writes and its commit. Neither the writes nor the settlement
/// remain, and the next attempt does both.
#[tokio::test]
async fn a_crash_before_the_commit_leaves_neither() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    inbox.accept("a").await;
    let mut brief = inbox::claim(1);
    brief.lease = Duration::from_millis(50);
    let claimed = inbox
        .store
        .claim(std::slice::from_ref(&brief))
        .await
        .unwrap()
        .remove(0)
        .events
        .remove(0);
    let mut dying = inbox.database.connection().await;
    let pid: i32 = sqlx::query("SELECT pg_backend_pid()")
        .fetch_one(&mut dying)
        .await
        .unwrap()
        .get(0);
    let mut transaction = dying.begin().await.unwrap();
    write(&mut transaction, "a").await;
    let settled = inbox
        .store
        .settle_processed_in(&mut transaction, claimed.lease)
        .await;
    assert_eq!(settled.unwrap(), Settled::Applied);
    sqlx::query("SELECT pg_terminate_backend($1)")
        .bind(pid)
        .execute(&mut app)
        .await
        .unwrap();
    assert!(transaction.commit().await.is_err());

    assert_eq!(entries(&mut app).await, 0);
    let mut claimed = None;
    until("the lease runs out", async || {
        claimed = inbox::claim_up_to(&inbox.store, 1).await.events.pop();
        claimed.is_some()
    })
    .await;
    let claimed = claimed.unwrap();
    assert_eq!(claimed.lease.attempt.number(), 2);
    let mut transaction = app.begin().await.unwrap();
    write(&mut transaction, "a").await;
    let settled = inbox
        .store
        .settle_processed_in(&mut transaction, claimed.lease)
        .await;
    assert_eq!(settled.unwrap(), Settled::Applied);
    transaction.commit().await.unwrap();
    assert_eq!(entries(&mut app).await, 1);
    assert_eq!(inbox.state("a").await, Some(State::Processed));
    inbox.close().await;
}

/// A handler whose lease was lost comes too late, and its writes are rolled back.
#[tokio::test]
async fn a_stale_handler_rolls_its_writes_back() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    inbox.accept("a").await;
    let mut brief = inbox::claim(1);
    brief.lease = Duration::from_millis(1);
    let stale = inbox
        .store
        .claim(std::slice::from_ref(&brief))
        .await
        .unwrap()
        .remove(0)
        .events
        .remove(0);
    let mut taker = None;
    until("the lease runs out", async || {
        taker = inbox::claim_up_to(&inbox.store, 1).await.events.pop();
        taker.is_some()
    })
    .await;
    let mut transaction = app.begin().await.unwrap();
    write(&mut transaction, "by the stale one").await;
    let settled = inbox
        .store
        .settle_processed_in(&mut transaction, stale.lease)
        .await;
    assert_eq!(settled.unwrap(), Settled::LeaseLost);
    transaction.rollback().await.unwrap();
    assert_eq!(entries(&mut app).await, 0);

    let mut transaction = app.begin().await.unwrap();
    write(&mut transaction, "by the taker").await;
    let settlement = Settlement::new(
        taker.unwrap().lease,
        Outcome::Failed {
            reason: Reason::new("broken"),
        },
    );
    let settled = inbox
        .store
        .settle_in(&mut transaction, &[settlement])
        .await
        .unwrap();
    assert_eq!(settled, [Settled::Applied]);
    transaction.commit().await.unwrap();
    assert_eq!(inbox.state("a").await, Some(State::Failed));
    inbox.close().await;
}

/// While one handler holds its transaction open, the leases of all others are renewed, and nobody
/// else gets its event, even when its lease expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_does_not_block_others() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    inbox.store.accept(&[event("a"), event("b")]).await.unwrap();
    let mut brief = inbox::claim(2);
    brief.lease = Duration::from_millis(300);
    let claimed = inbox
        .store
        .claim(std::slice::from_ref(&brief))
        .await
        .unwrap()
        .remove(0)
        .events;
    let leases = [claimed[0].lease, claimed[1].lease];
    let mut transaction = app.begin().await.unwrap();
    let settled = inbox
        .store
        .settle_processed_in(&mut transaction, leases[0])
        .await;
    assert_eq!(settled.unwrap(), Settled::Applied);

    let renewing = inbox.store.extend(&leases, Duration::from_millis(300));
    let renewed = tokio::time::timeout(DEADLINE / 2, renewing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(renewed, [Extended::Renewed; 2]);
    // Claims neither wait for the transaction nor take its event.
    until("the other lease runs out", async || {
        let claimed = inbox::claim_up_to(&inbox.store, 2).await.events;
        assert!(
            claimed
                .iter()
                .all(|claimed| claimed.lease.event == leases[1].event)
        );
        !claimed.is_empty()
    })
    .await;
    transaction.commit().await.unwrap();
    let extended = inbox
        .store
        .extend(&leases, Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(extended, [Extended::LeaseLost; 2]);
    inbox.close().await;
}

/// The app's connection goes through a pooler, too.
#[tokio::test]
async fn effects_and_settlements_commit_together_through_a_pooler() {
    let inbox = Inbox::pooled().await;
    drop(with_ledger(&inbox).await);
    let options: webhook_postgres::PgOptions = inbox.database.pooler_url().parse().unwrap();
    let app = sqlx::postgres::PgPoolOptions::new()
        .max_connections(3)
        .connect_with(
            options
                .connection
                .extra_float_digits(None)
                .statement_cache_capacity(0),
        )
        .await
        .unwrap();
    for round in 0..20 {
        let key = format!("a-{round}");
        let mut transaction = app.begin().await.unwrap();
        let answers = inbox
            .store
            .accept_all_in(&mut transaction, &[event(&key)])
            .await
            .unwrap();
        assert_eq!(answers, [Accepted::New]);
        transaction.commit().await.unwrap();
        let claimed = inbox.claim_one().await;
        let mut transaction = app.begin().await.unwrap();
        let settled = inbox
            .store
            .settle_processed_in(&mut transaction, claimed.lease)
            .await;
        assert_eq!(settled.unwrap(), Settled::Applied);
        transaction.commit().await.unwrap();
        assert_eq!(inbox.state(&key).await, Some(State::Processed));
    }
    app.close().await;
    inbox.close().await;
}

#[derive(serde::Serialize)]
struct Placed {
    id: String,
}

impl Payload for Placed {
    const KIND: &'static str = "placed";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/id", &[])
    }

    fn decode(_: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        unreachable!("no worker takes it")
    }
}

#[tokio::test]
async fn a_payload_is_accepted_with_the_apps_transaction() {
    let inbox = Inbox::direct().await;
    let mut app = with_ledger(&inbox).await;
    let placed = |id: &str| Placed { id: id.to_owned() };
    for (key, commits) in [("a", true), ("b", false)] {
        let mut transaction = app.begin().await.unwrap();
        let accepted = inbox.store.accept_in(&mut transaction, &placed(key)).await;
        assert_eq!(accepted.unwrap(), Accepted::New);
        let again = inbox.store.accept_in(&mut transaction, &placed(key)).await;
        assert_eq!(again.unwrap(), Accepted::Duplicate);
        // Nothing is written for an invalid payload.
        let refused = inbox.store.accept_in(&mut transaction, &placed("")).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        if commits {
            transaction.commit().await.unwrap();
            inbox.store.notify_kind::<Placed>();
        } else {
            transaction.rollback().await.unwrap();
        }
        let kind = Kind::from_static(Placed::KIND);
        let key = Key::new(key).unwrap();
        let found = inbox.store.find(&[EventRef { kind, key }]).await.unwrap();
        assert_eq!(found[0].is_some(), commits);
    }
    inbox.close().await;
}
