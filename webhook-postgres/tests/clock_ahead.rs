//! What a database's clock leaves behind that was ahead for a while, and how operators mend it.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::num::NonZeroUsize;
use std::time::Duration;

use inbox::{Inbox, claim, kind};
use webhook_core::{
    Attempt, EventRef, Extended, Key, LOST_REASON, MadeDue, Operator, Page, RunningLeases,
    Scheduler, State,
};
use webhook_postgres::sqlx;

/// Moves the times of all events, as if they had been written while the clock was a day ahead.
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
    let held = inbox.store.claim(&claim(1)).await.unwrap().events;
    assert_eq!(held.len(), 1);
    inbox.accept("waiting").await;
    set_clock_back(&inbox).await;
    assert!(
        inbox
            .store
            .claim(&claim(9))
            .await
            .unwrap()
            .events
            .is_empty()
    );

    let page = Page {
        kind: kind(),
        state: State::Processing,
        after: None,
        held_for_over: Some(Duration::from_secs(3_600)),
        limit: NonZeroUsize::new(9).unwrap(),
    };
    let listed = inbox.store.list(&page).await.unwrap();
    let keys: Vec<_> = listed.iter().map(|it| it.event.key.as_str()).collect();
    assert_eq!(keys, ["leased", "waiting"]);

    let keep = RunningLeases::Keep;
    assert_eq!(make_due(&inbox, "waiting", keep).await, MadeDue::Applied);
    assert_eq!(make_due(&inbox, "leased", keep).await, MadeDue::Leased);
    let claimed = inbox.store.claim(&claim(9)).await.unwrap().events;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease.attempt, Attempt::FIRST);

    let end = RunningLeases::End;
    assert_eq!(make_due(&inbox, "leased", end).await, MadeDue::Applied);
    let claimed = inbox.store.claim(&claim(9)).await.unwrap().events;
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
    assert_eq!(lost[0].reason, LOST_REASON);
    assert_eq!(inbox.store.list(&page).await.unwrap(), []);
    inbox.close().await;
}

#[tokio::test]
async fn an_expired_lease_on_an_event_due_far_ahead_is_no_obstacle() {
    let inbox = Inbox::direct().await;
    inbox.accept("a").await;
    assert_eq!(inbox.store.claim(&claim(1)).await.unwrap().events.len(), 1);
    set_clock_back(&inbox).await;
    let mut connection = inbox.database.connection().await;
    let expired = sqlx::raw_sql("UPDATE webhook.queue SET leased_until = now() - interval '1 s'");
    expired.execute(&mut connection).await.unwrap();
    drop(connection);
    let keep = RunningLeases::Keep;
    assert_eq!(make_due(&inbox, "a", keep).await, MadeDue::Applied);
    assert_eq!(make_due(&inbox, "a", keep).await, MadeDue::AlreadyDue);
    let claimed = inbox.store.claim(&claim(1)).await.unwrap().events;
    assert_eq!(claimed[0].lease.attempt.number(), 2);
    inbox.close().await;
}
