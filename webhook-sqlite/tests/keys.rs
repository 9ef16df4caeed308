//! How events are found by their keys, before and after these are written to the index.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use sqlx::{Connection, query_as, query_scalar};
use webhook_core::{
    Accepted, Admin, Deleted, EventRef, NewEvent, Outcome, Prune, Scheduler, Settlement, Store,
    TerminalState,
};
use webhook_sqlite::{SqliteOptions, SqliteStore, sqlx};

use inbox::{KIND, claim, folder, plain};

/// Opens a file that writes its keys to the index when it has so many.
async fn open(file: &Path, recent_keys: usize) -> SqliteStore {
    let options = SqliteOptions::new(file).with_recent_keys(recent_keys);
    SqliteStore::open_with(options).await.unwrap()
}

fn event(number: usize) -> NewEvent {
    inbox::event(&format!("key-{number}"))
}

fn name(number: usize) -> EventRef {
    inbox::name(&format!("key-{number}"))
}

/// Accepts events with these numbers in calls of a few, and returns how many are new.
async fn accept(store: &SqliteStore, numbers: impl IntoIterator<Item = usize>) -> usize {
    let events: Vec<NewEvent> = numbers.into_iter().map(event).collect();
    let mut new = 0;
    for events in events.chunks(7) {
        let answers = store.accept(events).await.unwrap();
        new += answers.iter().filter(|it| **it == Accepted::New).count();
    }
    new
}

/// How many of the events with these numbers exist.
async fn found(store: &SqliteStore, numbers: impl IntoIterator<Item = usize>) -> usize {
    let names: Vec<EventRef> = numbers.into_iter().map(name).collect();
    let found = store.find(&names).await.unwrap();
    found.iter().flatten().count()
}

/// Checks the index against the events, and returns how many keys it has.
async fn indexed(file: &Path) -> i64 {
    let mut reader = plain(file).await;
    let checked = query_as(include_str!("check_key_index.sql"));
    let (missing, left): (i64, i64) = checked.fetch_one(&mut reader).await.unwrap();
    assert_eq!((missing, left), (0, 0), "missing and left over");
    let count = query_scalar("SELECT count(*) FROM key_index");
    count.fetch_one(&mut reader).await.unwrap()
}

#[tokio::test]
async fn keys_are_found_in_memory_and_in_the_index() {
    let (_folder, file) = folder();
    for recent_keys in [0, 1, 5, 50, 8_192] {
        let store = open(&file, recent_keys).await;
        let first = recent_keys * 1_000;
        assert_eq!(accept(&store, first..first + 300).await, 300);
        assert_eq!(accept(&store, first..first + 310).await, 10);
        assert_eq!(found(&store, first..first + 320).await, 310);
        let before = indexed(&file).await;
        store.close().await;
        // Keys that were in memory are read again.
        let store = open(&file, recent_keys).await;
        assert_eq!(found(&store, first..first + 320).await, 310);
        assert_eq!(accept(&store, first..first + 320).await, 10);
        assert_eq!(found(&store, [first, first + 319, first + 320]).await, 2);
        store.close().await;
        assert!(indexed(&file).await >= before);
    }
    assert!(indexed(&file).await > 1_000);
}

#[tokio::test]
async fn keys_of_one_call_are_written_in_parts() {
    let (_folder, file) = folder();
    let store = open(&file, 10).await;
    let events: Vec<NewEvent> = (0..5_000).map(event).collect();
    store.accept(&events).await.unwrap();
    assert_eq!(indexed(&file).await, 0);
    // For each event that is accepted, a key of an earlier one is written, or two.
    accept(&store, 5_000..5_100).await;
    let part = indexed(&file).await;
    assert!((100..=200).contains(&part), "{part}");
    let events: Vec<NewEvent> = (5_100..7_600).map(event).collect();
    store.accept(&events).await.unwrap();
    let part = indexed(&file).await;
    assert!((2_500..5_000).contains(&part), "{part}");
    accept(&store, 7_600..9_600).await;
    assert!(indexed(&file).await >= 5_000);
    assert_eq!(accept(&store, 0..9_600).await, 0);
    assert_eq!(found(&store, 0..9_601).await, 9_600);
}

#[tokio::test]
async fn deleted_events_are_not_in_the_index() {
    let (_folder, file) = folder();
    let store = open(&file, 10).await;
    let other = open(&file, 10).await;
    for round in 0..40 {
        let first = round * 20;
        assert_eq!(accept(&store, first..first + 20).await, 20);
        // Of events that are in memory, being written, or written; by the process that accepted them and by another one.
        for (store, number) in [
            (&store, first + 3),
            (&other, first + 4),
            (&other, first / 2),
        ] {
            let deleted = store.delete(&[name(number)]).await.unwrap();
            assert!(matches!(
                deleted[..],
                [Deleted::Applied | Deleted::NotFound]
            ));
            assert_eq!(found(store, [number]).await, 0);
        }
        assert_eq!(accept(&store, [first + 3]).await, 1);
        assert_eq!(accept(&other, [first + 3]).await, 0);
        indexed(&file).await;
    }
    let claimed = claim(&store, 300).await;
    let settlements = claimed.events.iter();
    let settlements: Vec<Settlement> = settlements
        .map(|event| Settlement::new(event.lease, Outcome::Processed))
        .collect();
    store.settle(&settlements).await.unwrap();
    let limit = NonZeroUsize::new(200).unwrap();
    let prune = Prune::new(KIND, TerminalState::Processed, Duration::ZERO, limit);
    assert_eq!(store.prune(&prune).await.unwrap(), 200);
    assert!(indexed(&file).await > 0);
}

#[tokio::test]
async fn keys_that_another_process_accepts_are_found() {
    let (_folder, file) = folder();
    let one = open(&file, 6).await;
    let other = open(&file, 9).await;
    for round in 0..60 {
        let first = round * 10;
        assert_eq!(accept(&one, first..first + 10).await, 10);
        assert_eq!(found(&other, first..first + 20).await, 10);
        assert_eq!(accept(&other, first..first + 15).await, 5);
        assert_eq!(found(&one, first..first + 20).await, 15);
        assert_eq!(accept(&one, first + 10..first + 15).await, 0);
        let id = one.find(&[name(first)]).await.unwrap();
        assert_eq!(other.find(&[name(first)]).await.unwrap(), id);
        // The next round begins with keys that are free.
        one.delete(&(first + 10..first + 15).map(name).collect::<Vec<_>>())
            .await
            .unwrap();
    }
    assert!(indexed(&file).await > 300);
}

#[tokio::test]
async fn a_process_that_only_reads_finds_the_keys_of_another_one() {
    let (_folder, file) = folder();
    let writer = open(&file, 1_000).await;
    let reader = open(&file, 1_000).await;
    for round in 0..6 {
        let first = round * 6_000;
        let events: Vec<NewEvent> = (first..first + 6_000).map(event).collect();
        writer.accept(&events).await.unwrap();
        let some = [0, first, first + 5_999, first + 6_000];
        // It looks for them in the file first, and then has their keys in memory.
        for _ in 0..2 {
            assert_eq!(found(&reader, some).await, 3);
        }
        assert_eq!(found(&reader, 0..first + 6_000).await, first + 6_000);
    }
    assert!(indexed(&file).await > 1_000);
}

#[tokio::test]
async fn keys_of_transactions_of_an_app_are_found_if_they_are_committed() {
    let (_folder, file) = folder();
    let store = open(&file, 10).await;
    let events: Vec<NewEvent> = (0..1_000).map(event).collect();

    let mut dropped = store.begin().await.unwrap();
    store.accept_all_in(&mut dropped, &events).await.unwrap();
    // Those of the transaction itself are duplicates.
    let again = store.accept_all_in(&mut dropped, &events[..3]).await;
    assert_eq!(again.unwrap(), [Accepted::Duplicate; 3]);
    drop(dropped);
    assert_eq!(found(&store, 0..1_000).await, 0);

    for events in events.chunks(100) {
        let mut transaction = store.begin().await.unwrap();
        let answers = store.accept_all_in(&mut transaction, events).await;
        assert!(answers.unwrap().iter().all(|it| *it == Accepted::New));
        transaction.commit().await.unwrap();
    }
    assert_eq!(found(&store, 0..1_000).await, 1_000);
    // They are written to the index although nothing but transactions of the app accepts events.
    assert!(indexed(&file).await > 0);
    assert_eq!(accept(&store, 0..1_000).await, 0);
}

#[tokio::test]
async fn keys_are_not_remembered_if_their_transaction_fails() {
    let (_folder, file) = folder();
    let store = open(&file, 2).await;
    assert_eq!(accept(&store, 0..10).await, 10);
    let mut plain = plain(&file).await;
    sqlx::raw_sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON queue WHEN new.id > 15
         BEGIN SELECT raise(ABORT, 'refused'); END",
    )
    .execute(&mut plain)
    .await
    .unwrap();
    let events: Vec<NewEvent> = (10..20).map(event).collect();
    store.accept(&events).await.unwrap_err();
    assert_eq!(found(&store, 10..20).await, 0);
    sqlx::raw_sql("DROP TRIGGER refuse")
        .execute(&mut plain)
        .await
        .unwrap();
    plain.close().await.unwrap();
    // The ids of the others are given to these.
    assert_eq!(accept(&store, 20..30).await, 10);
    assert_eq!(accept(&store, 10..30).await, 10);
    assert_eq!(found(&store, 0..40).await, 30);
    indexed(&file).await;
}

#[tokio::test]
async fn processes_that_do_not_live_long_leave_few_keys_to_the_next_one() {
    let (_folder, file) = folder();
    for number in 0..60 {
        let store = open(&file, 20).await;
        assert_eq!(accept(&store, [number]).await, 1);
        store.close().await;
        assert!(indexed(&file).await + 20 >= i64::try_from(number).unwrap());
    }

    for reads_first in [false, true] {
        let (_folder, file) = folder();
        for round in 0..10 {
            let store = open(&file, 2_000).await;
            if reads_first {
                found(&store, [0]).await;
            }
            let first = round * 1_500;
            let events: Vec<NewEvent> = (first..first + 1_500).map(event).collect();
            for events in events.chunks(150) {
                store.accept(events).await.unwrap();
            }
            // It ends without closing the file.
            std::mem::forget(store);
        }
        let written = indexed(&file).await;
        assert!(written > 10_000, "{written}");
    }
}
