//! Leases: held, lost and released.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::*;
use super::scripted::{SECOND, Scripted, brings, event, start, until};
use crate::error::StoreError;
use crate::handler::Event;
use crate::scheduler::{Extended, MockScheduler, Outcome, Settled};
use crate::test_payload::Word;

#[tokio::test(start_paused = true)]
async fn long_handlers_keep_their_lease() {
    let mut mock = MockScheduler::new();
    let extends = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&extends);
    mock.expect_extend().returning(move |leases, lease| {
        assert_eq!(lease, 120 * SECOND);
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(vec![Extended::Renewed; leases.len()])
    });
    mock.expect_settle()
        .returning(|all| Ok(vec![Settled::Applied; all.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| {
        sleep(299 * SECOND).await;
        Ok(())
    });
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    assert_eq!(extends.load(Ordering::SeqCst), 9);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_is_repeated_before_the_lease_expires() {
    let mut mock = MockScheduler::new();
    let beats = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&beats);
    mock.expect_extend().returning(move |leases, _| {
        noted.lock().unwrap().push(Instant::now());
        match noted.lock().unwrap().len() {
            1 => Err(StoreError::unavailable(std::io::Error::other("down"))),
            _ => Ok(vec![Extended::Renewed; leases.len()]),
        }
    });
    mock.expect_settle()
        .returning(|all| Ok(vec![Settled::Applied; all.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| {
        sleep(119 * SECOND).await;
        Ok(())
    });
    scheduler.settled(1).await;
    let beats = beats.lock().unwrap().clone();
    assert!(beats[1] - beats[0] < 10 * SECOND);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_settlement_is_repeated_while_its_lease_lasts() {
    let mut mock = MockScheduler::new();
    mock.expect_extend()
        .returning(|leases, _| Ok(vec![Extended::Renewed; leases.len()]));
    mock.expect_settle()
        .times(1)
        .returning(|_| Err(StoreError::unavailable(std::io::Error::other("down"))));
    mock.expect_settle()
        .returning(|all| Ok(vec![Settled::Applied; all.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| {
        sleep(299 * SECOND).await;
        Ok(())
    });
    until(|| worker.engines[0].context.leases.held() > 0).await;
    sleep(310 * SECOND).await;
    assert_eq!(scheduler.settled(0).await, [(1, Outcome::Processed)]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_its_handler_and_is_not_settled() {
    let mut mock = MockScheduler::new();
    mock.expect_extend()
        .returning(|leases, _| Ok(vec![Extended::LeaseLost; leases.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let dropped = Arc::new(Notify::new());
    let started_at = Instant::now();
    let worker = start(&scheduler, {
        let dropped = Arc::clone(&dropped);
        move |_: Event<Word>| {
            let guard = NotifyOnDrop(Arc::clone(&dropped));
            async move {
                let _guard = guard;
                pending::<()>().await;
                Ok(())
            }
        }
    });
    dropped.notified().await;
    // By the first beat of the heart, not by the handler's time-out.
    assert!(started_at.elapsed() < 120 * SECOND);
    assert_eq!(worker.shutdown(SECOND).await, Drained::default());
    assert_eq!(scheduler.settled(0).await, []);
}

#[tokio::test(start_paused = true)]
async fn claiming_an_event_again_stops_its_earlier_handler() {
    // No beat of the heart comes in between.
    let scheduler = Scripted::new([brings([event(1, 1)]), brings([event(1, 2)])]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        if event.lease.attempt.number() == 1 {
            sleep(20 * SECOND).await;
        }
        sleep(SECOND).await;
        Ok(())
    });
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    sleep(30 * SECOND).await;
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    assert_eq!(worker.engines[0].context.leases.held(), 0);
    worker.shutdown(SECOND).await;
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(start_paused = true)]
async fn settlements_are_repeated_until_the_store_is_back() {
    let mut mock = MockScheduler::new();
    mock.expect_settle()
        .times(5)
        .returning(|_| Err(StoreError::unavailable(std::io::Error::other("down"))));
    mock.expect_settle()
        .returning(|all| Ok(vec![Settled::Applied; all.len()]));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn settlements_are_dropped_when_their_leases_expire() {
    let mut mock = MockScheduler::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    mock.expect_settle().returning(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::unavailable(std::io::Error::other("down")))
    });
    mock.expect_extend()
        .returning(|_, _| Err(StoreError::unavailable(std::io::Error::other("down"))));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    until(|| worker.engines[0].context.leases.held() > 0).await;
    sleep(130 * SECOND).await;
    assert_eq!(worker.engines[0].context.leases.held(), 0);
    // Every 5 s at the longest; 600 times if the pauses did not grow.
    let tries = tries.load(Ordering::SeqCst);
    assert!((24..500).contains(&tries), "{tries} tries");
    worker.shutdown(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_handlers_finish() {
    let scheduler = Scripted::new([brings([event(1, 1)])]);
    let started = Arc::new(Notify::new());
    let worker = start(&scheduler, {
        let started = Arc::clone(&started);
        move |_: Event<Word>| {
            started.notify_one();
            async {
                sleep(5 * SECOND).await;
                Ok(())
            }
        }
    });
    started.notified().await;
    assert_eq!(worker.shutdown(10 * SECOND).await, Drained::default());
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Processed)]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_releases_events_of_unfinished_handlers() {
    let scheduler = Scripted::new([brings((1..=3).map(|id| event(id, 1)))]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        if event.lease.event.get() > 1 {
            pending::<()>().await;
        }
        Ok(())
    });
    scheduler.settled(1).await;
    let drained = worker.shutdown(10 * SECOND).await;
    assert_eq!(
        drained,
        Drained {
            released: 2,
            unsettled: 0
        }
    );
    let expected = [
        (1, Outcome::Processed),
        (2, Outcome::Release),
        (3, Outcome::Release),
    ];
    assert_eq!(scheduler.settled(3).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_even_if_the_store_does_not_answer() {
    let mut mock = MockScheduler::new();
    mock.expect_settle()
        .returning(|_| Err(StoreError::unavailable(std::io::Error::other("down"))));
    let scheduler = Scripted::with(mock, [brings([event(1, 1)])]);
    let worker = start(&scheduler, async |_: Event<Word>| Ok(()));
    until(|| worker.engines[0].context.leases.held() > 0).await;
    let drained = worker.shutdown(SECOND).await;
    assert_eq!(
        drained,
        Drained {
            released: 0,
            unsettled: 1
        }
    );
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_for_settlement_are_not_released() {
    let mut mock = MockScheduler::new();
    let asked = Arc::new(Notify::new());
    let asking = Arc::clone(&asked);
    mock.expect_settle().returning(move |_| {
        asking.notify_one();
        Err(StoreError::unavailable(std::io::Error::other("down")))
    });
    let scheduler = Scripted::with(mock, [brings([event(1, 1), event(2, 1)])]);
    let worker = start(&scheduler, async |event: Event<Word>| {
        if event.lease.event.get() > 1 {
            pending::<()>().await;
        }
        Ok(())
    });
    asked.notified().await;
    let drained = worker.shutdown(SECOND).await;
    assert_eq!(
        drained,
        Drained {
            released: 1,
            unsettled: 2
        }
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_a_worker_releases_its_events() {
    let scheduler = Scripted::new([brings([event(1, 1)])]);
    let started = Arc::new(Notify::new());
    let worker = start(&scheduler, {
        let started = Arc::clone(&started);
        move |_: Event<Word>| {
            started.notify_one();
            async {
                pending::<()>().await;
                Ok(())
            }
        }
    });
    started.notified().await;
    drop(worker);
    assert_eq!(scheduler.settled(1).await, [(1, Outcome::Release)]);
}
