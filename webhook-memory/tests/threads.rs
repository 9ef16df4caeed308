//! Uses the store from many threads at once, without a runtime.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use webhook_core::{
    Accepted, Admin, Claim, Counts, Envelope, Fingerprint, Key, Kind, NewEvent, Outcome, Scheduler,
    Settled, Settlement, Store,
};
use webhook_memory::MemoryStore;

const EVENTS: usize = 20_000;
const SENDERS: usize = 4;
const WORKERS: usize = 4;

#[test]
fn threads_that_send_and_work_at_once_process_each_event_once() {
    let store = MemoryStore::default();
    let new = Mutex::new(0);
    let processed = Mutex::new(HashMap::new());
    let deadline = Instant::now() + Duration::from_secs(300);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (store, new) = (&store, &new);
            scope.spawn(move || {
                // Each sender delivers every event, in its own order.
                let mut numbers: Vec<_> = (0..EVENTS).collect();
                numbers.rotate_left(sender * EVENTS / SENDERS);
                if sender % 2 == 1 {
                    numbers.reverse();
                }
                for batch in numbers.chunks(97) {
                    let batch: Vec<_> = batch.iter().map(|number| event(*number)).collect();
                    let accepted = block_on(store.accept(&batch)).unwrap();
                    let count = accepted.iter().filter(|it| **it == Accepted::New).count();
                    *new.lock().unwrap() += count;
                }
            });
        }
        for _ in 0..WORKERS {
            let (store, processed) = (&store, &processed);
            scope.spawn(move || {
                loop {
                    let claimed = block_on(store.claim(&[claim()])).unwrap().remove(0).events;
                    let settlements: Vec<_> = claimed
                        .iter()
                        .map(|event| Settlement::new(event.lease, Outcome::Processed))
                        .collect();
                    let settled = block_on(store.settle(&settlements)).unwrap();
                    assert!(settled.iter().all(|it| *it == Settled::Applied));
                    let mut processed = processed.lock().unwrap();
                    for event in claimed {
                        *processed.entry(event.key).or_insert(0) += 1;
                    }
                    if processed.len() == EVENTS {
                        return;
                    }
                    drop(processed);
                    assert!(Instant::now() < deadline, "the events are not processed");
                    thread::yield_now();
                }
            });
        }
    });
    assert_eq!(new.into_inner().unwrap(), EVENTS);
    let processed = processed.into_inner().unwrap();
    assert!(processed.values().all(|times| *times == 1));
    let expected = Counts::default().with_processed(EVENTS as u64);
    assert_eq!(block_on(store.counts(&kind())).unwrap(), expected);
}

/// Nothing here waits, so the first poll completes the future.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("no lock is held over an await, so nothing waits"),
    }
}

fn kind() -> Kind {
    Kind::new("test").unwrap()
}

fn event(number: usize) -> NewEvent {
    NewEvent::new(
        Envelope::new(
            kind(),
            Key::new(number.to_string()).unwrap(),
            Fingerprint::of(["content"]),
            "body".into(),
        ),
        Duration::ZERO,
    )
}

fn claim() -> Claim {
    Claim::new(
        kind(),
        NonZeroUsize::new(61).unwrap(),
        Duration::from_secs(3600),
        NonZeroU32::MIN,
    )
}
