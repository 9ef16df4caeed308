//! The claim loop: how much it asks for, and when.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::*;
use super::scripted::{SECOND, Scripted, Word, brings, due_in, event, start, start_with};
use crate::error::Error;
use crate::handler::Event;
use crate::scheduler::{Claimed, Outcome};

#[tokio::test(start_paused = true)]
async fn claims_ask_for_no_more_than_the_free_slots() {
    let scheduler = Scripted::new([brings((1..=3).map(|id| event(id, 1)))]);
    let running = Arc::new(AtomicUsize::new(0));
    let release = Arc::new(Notify::new());
    let options = WorkerOptions {
        concurrency: 3,
        ..WorkerOptions::default()
    };
    let worker = start_with(
        &scheduler,
        {
            let (running, release) = (Arc::clone(&running), Arc::clone(&release));
            move |_: Event<Word>| {
                let (running, release) = (Arc::clone(&running), Arc::clone(&release));
                async move {
                    running.fetch_add(1, Ordering::SeqCst);
                    release.notified().await;
                    Ok(())
                }
            }
        },
        options,
    );
    while running.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    // All slots are taken: a minute passes without a claim.
    sleep(60 * SECOND).await;
    let limits = || {
        let claims = scheduler.claims.lock().unwrap();
        claims.iter().map(|(_, limit)| *limit).collect::<Vec<_>>()
    };
    assert_eq!(limits(), [3]);
    release.notify_one();
    scheduler.settled(1).await;
    scheduler.claimed(2, Instant::now()).await;
    assert_eq!(limits(), [3, 1]);
    release.notify_waiters();
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn the_worker_sleeps_exactly_until_the_next_event_is_due() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(3 * SECOND), due_in(SECOND), due_in(60 * SECOND)]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    let claims = scheduler.claimed(5, start_time).await;
    let rounded: Vec<_> = claims.iter().map(|at| at.round()).collect();
    // Then the polling interval: before the 60 s, and when nothing is known to fall due.
    assert_eq!(rounded, [0.0, 3.0, 4.0, 9.0, 14.0]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_full_of_exhausted_events_is_followed_at_once() {
    let start_time = Instant::now();
    let exhausted = Ok(Claimed {
        exhausted: vec![event(1, 1).key],
        ..Claimed::default()
    });
    let scheduler = Scripted::new([exhausted, brings([event(2, 1)])]);
    let options = WorkerOptions {
        concurrency: 1,
        ..WorkerOptions::default()
    };
    let worker = start_with(&scheduler, async |_: Event<Word>| Ok(()), options);
    assert_eq!(scheduler.settled(1).await, [(2, Outcome::Processed)]);
    assert!(start_time.elapsed() < SECOND);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn limits_of_zero_are_taken_as_one() {
    let scheduler = Scripted::new([brings([event(1, 1)]), brings([event(2, 1)])]);
    let options = WorkerOptions {
        concurrency: 0,
        max_batch: 0,
        ..WorkerOptions::default()
    };
    let worker = start_with(&scheduler, async |_: Event<Word>| Ok(()), options);
    scheduler.settled(2).await;
    let limits = scheduler.claims.lock().unwrap().clone();
    assert!(limits.iter().all(|(_, limit)| *limit == 1));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn events_that_others_are_just_claiming_are_asked_for_again_after_a_pause() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(Duration::ZERO), due_in(Duration::ZERO)]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    let claims = scheduler.claimed(3, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.009));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_cuts_the_sleep_short() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([due_in(3 * SECOND), brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    scheduler.claimed(1, start_time).await;
    scheduler.wake.notify_one();
    scheduler.settled(1).await;
    assert!(start_time.elapsed() < SECOND);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn hints_without_end_do_not_make_claims_without_end() {
    let start_time = Instant::now();
    let scheduler = Scripted::new([]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    for count in 1..=10 {
        scheduler.claimed(count, start_time).await;
        scheduler.wake.notify_one();
    }
    let claims = scheduler.claimed(10, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.0009));
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again_by_and_by() {
    let start_time = Instant::now();
    let down = || Err(Error::unavailable(std::io::Error::other("down")));
    let script = (0..20).map(|_| down()).chain([brings([event(1, 1)])]);
    let scheduler = Scripted::new(script);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    let claims = scheduler.claimed(21, start_time).await;
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] > 0.0199));
    assert!(claims.windows(2).all(|pair| pair[1] - pair[0] <= 5.01));
    // The pauses grow, whatever the jitter.
    assert!(claims.windows(2).any(|pair| pair[1] - pair[0] > 0.5));
    worker.shutdown(SECOND).await;
}
