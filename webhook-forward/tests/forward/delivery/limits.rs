//! How much receivers get.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use webhook_forward::{DestinationState, Rate};

use super::receiver::{Receiver, answer, answer_with};
use super::*;

fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("evt_{number}")).collect()
}

impl Inbox {
    async fn accept_numbers(&self, numbers: std::ops::Range<usize>) {
        for name in names(numbers) {
            self.accept(&[&name]).await;
        }
    }
}

#[tokio::test]
async fn an_open_breaker_claims_nothing_and_probes_with_the_longest_due_event() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let receiver =
        Receiver::new(move |_, _| answer(if up.load(Ordering::SeqCst) { 200 } else { 500 })).await;
    let day = Schedule::list([Duration::from_secs(86_400)]).unwrap();
    let inbox = Inbox::new(destination(&receiver).with_schedule(day));
    inbox.accept_numbers(0..20).await;
    wait_until("open breaker", async || {
        matches!(
            inbox.forwarder.status().state,
            DestinationState::Open { .. }
        )
        .then_some(())
    })
    .await;
    inbox.until("retries", |counts| counts.waiting == 20).await;
    inbox.accept_numbers(20..30).await;
    // Longer than the polling interval, and shorter than the breaker is open.
    for _ in 0..2 {
        pass(Duration::from_secs(8)).await;
        let counts = inbox.until("due events", |counts| counts.due == 10).await;
        assert_eq!(counts.leased, 0);
    }
    assert_eq!(receiver.got().len(), 20);
    assert_eq!(inbox.forwarder.status().postponed, 0);
    // A probe that fails opens it again.
    pass(Duration::from_secs(18)).await;
    receiver.until_got(21).await;
    inbox
        .until("failed probe", |counts| {
            (counts.due, counts.leased) == (9, 0)
        })
        .await;
    pass(Duration::from_secs(40)).await;
    assert_eq!(receiver.got().len(), 21);
    is_up.store(true, Ordering::SeqCst);
    pass(Duration::from_secs(27)).await;
    inbox
        .until("delivery", |counts| counts.processed == 9)
        .await;
    assert_eq!(receiver.keys()[20..24], names(20..24));
    assert_eq!(receiver.most_running(), 1, "slow start");
    assert_eq!(inbox.forwarder.status().state, DestinationState::Closed);
}

#[tokio::test]
async fn a_throttled_destination_gets_nothing_until_then() {
    let receiver = Receiver::new(|number, _| match number {
        0 => answer_with(429, "retry-after", "120"),
        _ => answer(200),
    })
    .await;
    let inbox = Inbox::new(destination(&receiver).with_schedule(quick(3)));
    inbox.accept(&["evt_1", "evt_2", "evt_3"]).await;
    inbox
        .until("retry", |counts| (counts.waiting, counts.due) == (1, 2))
        .await;
    pass(Duration::from_secs(60)).await;
    inbox.until("due events", |counts| counts.due == 2).await;
    assert_eq!(receiver.keys(), ["evt_1"]);
    pass(Duration::from_secs(61)).await;
    inbox
        .until("delivery", |counts| counts.processed == 3)
        .await;
    // Only the event that was answered spent an attempt.
    let mut got = receiver.got();
    got.retain(|got| got.header("inbox-attempt") != Some("1/3"));
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].header("inbox-key"), Some("evt_1"));
}

#[tokio::test]
async fn a_destination_that_hangs_delays_no_other() {
    let hanging = Receiver::hanging().await;
    let other = Receiver::of(200).await;
    let slow_kind = Kind::from_static("slow");
    let store = Arc::<MemoryStore>::default();
    let forwarders = [(&hanging, &slow_kind), (&other, &KIND)].map(|(receiver, kind)| {
        let forwarder = Forwarder::new(destination(receiver)).unwrap();
        (kind.clone(), forwarder)
    });
    let mut worker = Worker::builder();
    for (kind, forwarder) in &forwarders {
        let options = forwarder.worker_options(WorkerOptions::default());
        worker = worker.handle_raw(kind.clone(), options, forwarder.clone());
    }
    let _worker = worker.start(store.clone());
    let inbox = |place: usize| Inbox {
        store: store.clone(),
        kind: forwarders[place].0.clone(),
        forwarder: forwarders[place].1.clone(),
        worker: None,
    };
    let (slow, quick) = (inbox(0), inbox(1));
    slow.accept_numbers(0..50).await;
    hanging.until_got(1).await;
    quick.accept_numbers(0..50).await;
    quick
        .until("delivery", |counts| counts.processed == 50)
        .await;
    assert_eq!((hanging.got().len(), hanging.running()), (1, 1));
    assert_eq!(slow.forwarder.status().in_flight, 1);
}

#[tokio::test]
async fn the_rate_is_kept() {
    let receiver = Receiver::of(200).await;
    let rate: Rate = "1/h".parse().unwrap();
    let rate = rate.with_burst(3.try_into().unwrap());
    let inbox = Inbox::new(destination(&receiver).with_rate(rate));
    inbox.accept_numbers(0..5).await;
    inbox.until("burst", |counts| counts.processed == 3).await;
    for delivered in [3, 4] {
        pass(Duration::from_secs(3_000)).await;
        let counts = inbox.until("due events", |counts| counts.leased == 0).await;
        assert_eq!(counts.processed, delivered);
        pass(Duration::from_secs(601)).await;
        inbox
            .until("next event", |counts| counts.processed == delivered + 1)
            .await;
    }
    assert_eq!(receiver.keys(), names(0..5));
}

#[tokio::test]
async fn a_destination_starts_slowly() {
    let gate = Arc::new(Semaphore::new(0));
    let receiver = Receiver::gated(Arc::clone(&gate)).await;
    let inbox = Inbox::new(destination(&receiver).with_concurrency(NonZeroUsize::new(4).unwrap()));
    inbox.accept_numbers(0..40).await;
    for (answers, running) in [(0, 1), (1, 2), (2, 4), (4, 4), (4, 4)] {
        gate.add_permits(answers);
        let what = format!("{running} requests at the same time");
        wait_until(&what, async || {
            let is_such = gate.available_permits() == 0 && receiver.running() == running;
            (is_such && inbox.forwarder.status().in_flight == running).then_some(())
        })
        .await;
        assert_eq!(receiver.most_running(), running);
    }
    gate.add_permits(40);
    inbox
        .until("delivery", |counts| counts.processed == 40)
        .await;
    assert_eq!(receiver.most_running(), 4);
    // It starts slowly again after a quiet time.
    pass(Duration::from_secs(11)).await;
    assert_eq!(inbox.forwarder.status().window, 1);
}
