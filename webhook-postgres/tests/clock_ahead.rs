//! Tests of the state that remains after a database's clock was ahead for a while, and of the
//! commands that repair it.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::num::NonZeroUsize;
use std::time::Duration;

use inbox::{Inbox, kind, until};
use webhook_core::{
    Admin, Attempt, EventRef, Extended, FailureReason, Key, MadeDue, Page, RunningLeases,
    Scheduler, State,
};
use webhook_postgres::sqlx::{self, Connection};

/// Moves the times of all events as if they had been written while the clock was a day ahead.
async fn set_clock_back(inbox: &Inbox) {
    let mut connection = inbox.database.connection().await;
    let moved = sqlx::raw_sql(
        "UPDATE webhook.queue
         SET due_at = due_at + interval '1 day', leased_until = leased_until + interval '1 day'",
    );
    moved.execute(&mut connection).await.unwrap();
}

async fn make_due(inbox: &Inbox, key: &str, leases: RunningLeases) -> MadeDue {
    let event = EventRef {
        kind: kind(),
        key: Key::new(key).unwrap(),
    };
    inbox.store.make_due(&[event], leases).await.unwrap()[0]
}

#[tokio::test]
async fn events_and_leases_from_a_clock_ahead_are_found_and_made_due() {
    let inbox = Inbox::direct().await;
    inbox.accept("leased").await;
    let held = inbox::claim_up_to(&inbox.store, 1).await.events;
    assert_eq!(held.len(), 1);
    inbox.accept("waiting").await;
    set_clock_back(&inbox).await;
    assert!(inbox::claim_up_to(&inbox.store, 9).await.events.is_empty());

    let page = Page::new(kind(), State::Processing, NonZeroUsize::new(9).unwrap())
        .held_for_over(Duration::from_secs(3_600));
    let listed = inbox.store.list(&page).await.unwrap();
    let keys: Vec<_> = listed.iter().map(|it| it.event.key.as_str()).collect();
    assert_eq!(keys, ["leased", "waiting"]);

    let keep = RunningLeases::Keep;
    assert_eq!(make_due(&inbox, "waiting", keep).await, MadeDue::Applied);
    assert_eq!(make_due(&inbox, "leased", keep).await, MadeDue::Leased);
    let claimed = inbox::claim_up_to(&inbox.store, 9).await.events;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease.attempt, Attempt::FIRST);

    let end = RunningLeases::End;
    assert_eq!(make_due(&inbox, "leased", end).await, MadeDue::Applied);
    let claimed = inbox::claim_up_to(&inbox.store, 9).await.events;
    assert_eq!(claimed[0].key.as_str(), "leased");
    assert_eq!(claimed[0].lease.attempt.number(), 2);
    let extended = inbox
        .store
        .extend(&[held[0].lease], Duration::from_secs(60))
        .await;
    assert_eq!(extended.unwrap(), [Extended::LeaseLost]);
    let lost = EventRef {
        kind: kind(),
        key: Key::new("leased").unwrap(),
    };
    let lost = inbox.store.failed_attempts(&lost).await.unwrap();
    assert_eq!(lost[0].reason, FailureReason::Lost);
    assert_eq!(inbox.store.list(&page).await.unwrap(), []);
    inbox.close().await;
}

#[tokio::test]
async fn an_expired_lease_on_a_far_event_does_not_block_claims() {
    let inbox = Inbox::direct().await;
    inbox.accept("a").await;
    assert_eq!(inbox::claim_up_to(&inbox.store, 1).await.events.len(), 1);
    set_clock_back(&inbox).await;
    let mut connection = inbox.database.connection().await;
    let expired = sqlx::raw_sql("UPDATE webhook.queue SET leased_until = now() - interval '1 s'");
    expired.execute(&mut connection).await.unwrap();
    drop(connection);
    let keep = RunningLeases::Keep;
    assert_eq!(make_due(&inbox, "a", keep).await, MadeDue::Applied);
    assert_eq!(make_due(&inbox, "a", keep).await, MadeDue::AlreadyDue);
    let claimed = inbox::claim_up_to(&inbox.store, 1).await.events;
    assert_eq!(claimed[0].lease.attempt.number(), 2);
    inbox.close().await;
}

/// The second command begins before the first one has made the event due, and waits for its lock.
#[tokio::test]
async fn operators_that_wait_for_each_other_move_an_event_once() {
    let inbox = Inbox::direct().await;
    inbox.accept("leased").await;
    assert_eq!(inbox::claim_up_to(&inbox.store, 1).await.events.len(), 1);
    inbox.accept("waiting").await;
    set_clock_back(&inbox).await;
    let mut first = inbox.database.connection().await;
    let mut onlooker = inbox.database.connection().await;
    for key in ["leased", "waiting"] {
        let mut transaction = first.begin().await.unwrap();
        sqlx::raw_sql("SELECT FROM webhook.queue FOR UPDATE")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let store = inbox.store.clone();
        let event = inbox::reference(key);
        let second =
            tokio::spawn(async move { store.make_due(&[event], RunningLeases::End).await });
        until("the second operator waits", async || {
            let waits = "SELECT FROM pg_stat_activity
                         WHERE wait_event_type = 'Lock' AND datname = current_database()";
            let found = sqlx::raw_sql(waits).fetch_optional(&mut onlooker).await;
            found.unwrap().is_some()
        })
        .await;
        let made_due = "UPDATE webhook.queue
                        SET due_at = least(due_at, clock_timestamp()),
                            leased_until = least(leased_until, clock_timestamp())";
        sqlx::raw_sql(made_due)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let answer = second.await.unwrap().unwrap();
        assert_eq!(answer, [MadeDue::AlreadyDue], "{key}");
        set_clock_back(&inbox).await;
    }
    inbox.close().await;
}
